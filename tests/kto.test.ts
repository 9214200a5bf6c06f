import { test } from 'node:test';

import { ktoLoss, tf, type KtoInputs } from 'alignbook';

import { cases, close, keepsNothing, refused } from './lossCases';

/** Log-ratios u = 2, -3; mismatched ones whose mean is `drift`. */
function inputsWith(drift: number): KtoInputs {
  return {
    policyLogps: tf.tensor1d([-10, -20]),
    refLogps: tf.tensor1d([-12, -17]),
    desirable: tf.tensor1d([true, false], 'bool'),
    policyMismatchedLogps: tf.tensor1d([-30 + drift, -40 + drift]),
    refMismatchedLogps: tf.tensor1d([-30, -40]),
  };
}

const gradient = (inputs: KtoInputs, name: keyof KtoInputs) =>
  tf.grad((x) => ktoLoss({ ...inputs, [name]: x }).losses.sum())(inputs[name]);

const s = (x: number) => 1 / (1 + Math.exp(-x));

test('losses, the reference point and gradients are those of TRL', () => {
  for (const c of cases('kto', 'preferenceLosses.json')) {
    const vector = (name: string) => c.floats<tf.Tensor1D>(name);
    const [policyLogps, refLogps, desirable] = [
      vector('policyLogps'),
      vector('refLogps'),
      c.ints<tf.Tensor1D>('desirable'),
    ];
    const [policyMismatchedLogps, refMismatchedLogps] = [vector('policyMismatchedLogps'), vector('refMismatchedLogps')];
    const inputs = { policyLogps, refLogps, desirable, policyMismatchedLogps, refMismatchedLogps };
    const options = {
      beta: c.number('beta'),
      desirableWeight: c.number('desirableWeight'),
      undesirableWeight: c.number('undesirableWeight'),
    };
    const { losses, kl } = ktoLoss(inputs, options);
    c.check(losses, 'losses');
    c.check(kl, 'kl');
    c.checkGradient(
      tf.grad((x) => ktoLoss({ ...inputs, policyLogps: x as tf.Tensor1D }, options).losses.sum())(policyLogps),
      'grad.policyLogps',
    );
  }
});

test('numbers worked by hand', () => {
  const { losses, rewards, kl } = ktoLoss(inputsWith(1), { beta: 0.5, desirableWeight: 2, undesirableWeight: 3 });
  close(kl, 1, 'kl');
  close(losses, [2 * s(-0.5 * (2 - 1)), 3 * s(-0.5 * (1 + 3))], 'losses');
  close(rewards, [1, -1.5], 'rewards');
  close(ktoLoss(inputsWith(-5)).kl, 0, 'a negative KL counts as 0');
  const { policyLogps, policyMismatchedLogps } = inputsWith(0);
  const same = { ...inputsWith(0), refLogps: policyLogps, refMismatchedLogps: policyMismatchedLogps };
  close(ktoLoss(same).losses, [0.5, 0.5], 'where policy and reference agree');
});

test('the gradient reaches only the policy', () => {
  const slope = (x: number) => 0.1 * s(x) * s(-x);
  close(gradient(inputsWith(1), 'policyLogps'), [-slope(0.1), slope(0.4)], 'policy');
  for (const name of ['refLogps', 'policyMismatchedLogps', 'refMismatchedLogps'] as const)
    close(gradient(inputsWith(1), name), [0, 0], name);
});

test('inputs that do not fit are refused', () => {
  const one = Object.fromEntries(
    Object.entries(inputsWith(0)).map(([name, x]) => [name, (x as tf.Tensor1D).slice(0, 1)]),
  );
  refused(() => ktoLoss(one as unknown as KtoInputs), /at least 2 rows/);
  refused(() => ktoLoss({ ...inputsWith(0), refLogps: tf.tensor1d([1]) }), /refLogps has shape \[1\]/);
  for (const beta of [0, NaN]) refused(() => ktoLoss(inputsWith(0), { beta }), /beta must be a number above 0/);
  refused(() => ktoLoss(inputsWith(0), { desirableWeight: -1 }), /desirableWeight must be a number from 0 up, got -1/);
  refused(() => ktoLoss(inputsWith(0), { undesirableWeight: Infinity }), /undesirableWeight/);
});

test('no tensor stays behind', () => {
  const inputs = inputsWith(1);
  keepsNothing(() => ({ ...ktoLoss(inputs) }));
  keepsNothing(() => gradient(inputs, 'policyLogps'));
});
