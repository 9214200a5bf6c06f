import { test } from 'node:test';

import { dpoLoss, tf, type DpoOptions } from 'alignbook';

import { cases, close, keepsNothing, refused, weighted, type Case } from './lossCases';

function pairOf(c: Case) {
  return {
    policyChosenLogps: c.floats<tf.Tensor1D>('policyChosenLogps'),
    policyRejectedLogps: c.floats<tf.Tensor1D>('policyRejectedLogps'),
    refChosenLogps: c.floats<tf.Tensor1D>('refChosenLogps'),
    refRejectedLogps: c.floats<tf.Tensor1D>('refRejectedLogps'),
  };
}

/** A pair with h = policyChosen - refChosen - (policyRejected - refRejected), distributed unevenly over the four. */
function pairWith(h: number) {
  const [policyChosenLogps, policyRejectedLogps, refChosenLogps, refRejectedLogps] = [h - 12, -9, -14, -11].map((x) =>
    tf.tensor1d([x]),
  );
  return { policyChosenLogps, policyRejectedLogps, refChosenLogps, refRejectedLogps } as ReturnType<typeof pairOf>;
}

/** Gradients of `loss` with respect to the four log-probs, in the order of the paper's arguments. */
function gradients(pair: ReturnType<typeof pairOf>, loss: (pair: ReturnType<typeof pairOf>) => tf.Scalar) {
  return tf.grads((policyChosenLogps, policyRejectedLogps, refChosenLogps, refRejectedLogps) =>
    loss({ policyChosenLogps, policyRejectedLogps, refChosenLogps, refRejectedLogps } as ReturnType<typeof pairOf>),
  )([pair.policyChosenLogps, pair.policyRejectedLogps, pair.refChosenLogps, pair.refRejectedLogps]);
}

test('losses, rewards and gradients are those of TRL, up to h = 1e4 on either side', () => {
  for (const c of cases('dpo')) {
    const pair = pairOf(c);
    const options = { beta: c.number('beta'), labelSmoothing: c.number('labelSmoothing') };
    const { losses, chosenRewards, rejectedRewards } = dpoLoss(pair, options);
    c.check(losses, 'losses');
    c.check(chosenRewards, 'chosenRewards');
    c.check(rejectedRewards, 'rejectedRewards');
    const [chosen, rejected] = gradients(pair, (given) => weighted(dpoLoss(given, options).losses, c.floats('weight')));
    c.check(chosen!, 'grad.policyChosenLogps');
    c.check(rejected!, 'grad.policyRejectedLogps');
  }
});

test('numbers worked by hand', () => {
  const check = (h: number, options: DpoOptions, loss: number, slope: number) => {
    const pair = pairWith(h);
    close(dpoLoss(pair, options).losses, [loss], `loss at h = ${h}`);
    const [chosen, rejected] = gradients(pair, (given) => dpoLoss(given, options).losses.sum());
    close(chosen!, [slope], `slope at h = ${h}`);
    close(rejected!, [-slope], `slope at h = ${h}`);
  };
  check(6, {}, 0.437488, -0.035434); // -log sigmoid(0.6); -beta sigmoid(-0.6)
  check(0, {}, Math.LN2, -0.05); // policy and reference agree: the slope is -beta / 2, whatever the other values
  check(0, { beta: 0.5, labelSmoothing: 0.1 }, Math.LN2, -0.2);
  check(6, { labelSmoothing: 0.1 }, 0.9 * 0.437488 + 0.1 * 1.037488, -0.035434 + 0.1 * 0.1);
  check(1e4, {}, 0, 0);
  check(-1e4, {}, 1000, -0.1);
  check(6, { beta: 0 }, Math.LN2, 0);
});

test('rewards are beta times the log-ratio, and constants', () => {
  const { chosenRewards, rejectedRewards } = dpoLoss(pairWith(6), { beta: 0.25 });
  close(chosenRewards, [0.25 * 8], 'chosen');
  close(rejectedRewards, [0.25 * 2], 'rejected');
  const rewards = (pair: ReturnType<typeof pairWith>) =>
    tf.add<tf.Tensor1D>(dpoLoss(pair).chosenRewards, dpoLoss(pair).rejectedRewards);
  for (const gradient of gradients(pairWith(6), (pair) => rewards(pair).sum())) close(gradient, [0], 'gradient');
});

test('no gradient reaches the reference', () => {
  const [, , refChosen, refRejected] = gradients(pairWith(6), (pair) => dpoLoss(pair).losses.sum());
  close(refChosen!, [0], 'chosen');
  close(refRejected!, [0], 'rejected');
});

test('an identical pair has no gradient', () => {
  const same = tf.tensor1d([-12]);
  const loss = (x: tf.Tensor) => {
    const policy = x as tf.Tensor1D;
    return dpoLoss({
      policyChosenLogps: policy,
      policyRejectedLogps: policy,
      refChosenLogps: same,
      refRejectedLogps: same,
    }).losses.sum();
  };
  close(tf.grad(loss)(tf.tensor1d([-8])), [0], 'gradient');
});

test('inputs that do not fit are refused', () => {
  refused(() => dpoLoss({ ...pairWith(1), refChosenLogps: tf.tensor1d([1, 2]) }), /refChosenLogps has shape \[2\]/);
  refused(
    () => dpoLoss({ ...pairWith(1), policyChosenLogps: tf.scalar(1) as unknown as tf.Tensor1D }),
    /must have 1 axes/,
  );
  for (const beta of [-0.1, NaN, Infinity]) refused(() => dpoLoss(pairWith(1), { beta }), /beta/);
  for (const labelSmoothing of [-0.1, 0.5, NaN])
    refused(() => dpoLoss(pairWith(1), { labelSmoothing }), /labelSmoothing/);
});

test('no tensor stays behind', () => {
  const pair = pairWith(6);
  keepsNothing(() => ({ ...dpoLoss(pair) }));
  keepsNothing(() => gradients(pair, (given) => dpoLoss(given).losses.sum()));
});
