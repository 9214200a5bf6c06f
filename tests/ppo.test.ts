import assert from 'node:assert/strict';
import { test } from 'node:test';

import { entropy, perTokenLogps, ppoLoss, stopGradient, tf, valueLoss } from 'alignbook';

import { cases, close, keepsNothing, refused, weighted } from './lossCases';

type Rows = tf.Tensor2D;
const mask2d = (values: number[][]) => tf.tensor2d(values, undefined, 'int32');
const row = (...values: number[]) => tf.tensor2d([values]);

test('ppoLoss, its metrics and its gradient are those of PyTorch', () => {
  for (const c of cases('ppo')) {
    const [oldLogps, advantages] = [c.floats<Rows>('oldLogps'), c.floats<Rows>('advantages')];
    const given = { oldLogps, advantages, responseMask: c.ints<Rows>('responseMask') };
    const options = { clipRange: c.number('clipRange') };
    const logps = c.floats<Rows>('logps');
    const { loss, ratio, clipFraction, approxKl } = ppoLoss({ ...given, logps }, options);
    c.check(loss, 'loss');
    c.check(ratio, 'ratio');
    c.check(clipFraction, 'clipFraction');
    c.check(approxKl, 'approxKl');
    c.check(tf.grad((x) => ppoLoss({ ...given, logps: x as Rows }, options).loss)(logps), 'grad.logps');
  }
});

test('ppoLoss by hand: each side of the clip, with either sign of the advantage', () => {
  // Ratios 0.5, 1.5 and 1.1 against a clip at 0.8 and 1.2.
  const logps = row(...[0.5, 1.5, 0.5, 1.5, 1.1, 1.1].map(Math.log));
  const given = {
    oldLogps: tf.zerosLike(logps),
    advantages: row(2, 2, -2, -2, 2, -2),
    responseMask: tf.onesLike(logps),
  };
  const { loss, clipFraction } = ppoLoss({ ...given, logps });
  close(loss, -(2 * 0.5 + 2 * 1.2 - 2 * 0.8 - 2 * 1.5 + 2 * 1.1 - 2 * 1.1) / 6, 'loss');
  close(clipFraction, 2 / 6, 'clipFraction');
  const gradient = tf.grad((x) => ppoLoss({ ...given, logps: x as Rows }).loss)(logps);
  close(gradient, [[-2 * 0.5, 0, 0, 2 * 1.5, -2 * 1.1, 2 * 1.1].map((x) => x / 6)], 'gradient: 0 where the clip holds');
});

test('at the first step the ratio is 1 and the gradient is that of REINFORCE, not 0', () => {
  const [logits, inputIds] = [
    tf.tensor3d([
      [
        [1, 2, 1, 1],
        [0, 0, 0, 0],
      ],
    ]),
    mask2d([[0, 1]]),
  ];
  const oldLogps = perTokenLogps(logits, inputIds);
  const given = { oldLogps, advantages: row(1), responseMask: mask2d([[1]]) };
  const loss = (x: tf.Tensor) => ppoLoss({ ...given, logps: perTokenLogps(x as tf.Tensor3D, inputIds) }).loss;
  close(loss(logits), -1, 'loss');
  close(
    tf.grad(loss)(logits),
    [
      [
        [0.1749, -0.5246, 0.1749, 0.1749],
        [0, 0, 0, 0],
      ],
    ],
    'gradient',
    5e-5,
  ); // values are given to four decimals
});

test('log-ratios of 1e4 give neither NaN nor infinity', () => {
  const logps = row(1e4, -1e4, -1e4, 1e4);
  const given = { oldLogps: tf.zerosLike(logps), advantages: row(1, 1, -1, -1), responseMask: tf.onesLike(logps) };
  close(tf.grad((x) => ppoLoss({ ...given, logps: x as Rows }).loss)(logps), [[0, 0, 0, 0]], 'gradient');
  assert.ok(Number.isFinite(ppoLoss({ ...given, logps }).loss.dataSync()[0]));
  const harmless = { ...given, logps, responseMask: mask2d([[1, 1, 1, 0]]) };
  close(ppoLoss(harmless).loss, (-1.2 - 0 + 0.8) / 3, 'loss');
});

test('values outside the mask do not affect the losses', () => {
  const responseMask = mask2d([[0, 1, 1, 0]]);
  const policy = {
    logps: row(NaN, -1, -2, 1e30),
    oldLogps: row(0, -1.1, -2, -1e30),
    advantages: row(NaN, 1, -1, 5),
    responseMask,
  };
  const expected = -(Math.exp(0.1) - 1) / 2;
  close(ppoLoss(policy).loss, expected, 'policy');
  close(ppoLoss(policy).ratio, [[1, Math.exp(0.1), 1, 1]], 'ratio');
  const gradient = tf.grad((x) => ppoLoss({ ...policy, logps: x as Rows }).loss)(policy.logps);
  close(gradient, [[0, -Math.exp(0.1) / 2, 0.5, 0]], 'gradient');

  const value = {
    values: row(NaN, 1, 2, 1e30),
    oldValues: row(0, 1, 2, NaN),
    returns: row(NaN, 2, 2, 0),
    responseMask,
  };
  close(valueLoss(value).loss, 0.25, 'value');
  close(tf.grad((x) => valueLoss({ ...value, values: x as Rows }).loss)(value.values), [[0, -0.5, 0, 0]], 'gradient');
});

test('valueLoss, its clip fraction and its gradient are those of PyTorch', () => {
  for (const c of cases('value')) {
    const [oldValues, returns] = [c.floats<Rows>('oldValues'), c.floats<Rows>('returns')];
    const given = { oldValues, returns, responseMask: c.ints<Rows>('responseMask') };
    const options = { valueClipRange: c.number('valueClipRange') };
    const values = c.floats<Rows>('values');
    const { loss, clipFraction } = valueLoss({ ...given, values }, options);
    c.check(loss, 'loss');
    c.check(clipFraction, 'clipFraction');
    c.check(tf.grad((x) => valueLoss({ ...given, values: x as Rows }, options).loss)(values), 'grad.values');
  }
});

test('valueLoss by hand', () => {
  // Moved from 0 to 1, toward a return of 2: the clipped value 0.2 has the larger loss, (2 - 0.2)^2, and no gradient.
  const given = { oldValues: row(0, 0), returns: row(2, 0), responseMask: mask2d([[1, 1]]) };
  const { loss, clipFraction } = valueLoss({ ...given, values: row(1, 0.1) });
  close(loss, (1.8 ** 2 + 0.1 ** 2) / 2 / 2, 'loss');
  close(clipFraction, 0.5, 'clipFraction');
  close(tf.grad((x) => valueLoss({ ...given, values: x as Rows }).loss)(row(1, 0.1)), [[0, 0.1 / 2]], 'gradient');
});

test('everything recorded at rollout is a constant', () => {
  const [x, responseMask] = [row(0.1, -0.3), mask2d([[1, 1]])];
  const policy = tf.grads((oldLogps, advantages) => {
    return ppoLoss({ logps: row(0, 0), oldLogps: oldLogps as Rows, advantages: advantages as Rows, responseMask }).loss;
  });
  const value = tf.grads((oldValues, returns) => {
    return valueLoss({ values: row(1, 1), oldValues: oldValues as Rows, returns: returns as Rows, responseMask }).loss;
  });
  for (const gradient of [...policy([x, x]), ...value([x, row(2, 2)])]) close(gradient, [[0, 0]], 'gradient');

  const metrics = tf.grad((logps) => {
    const { ratio, approxKl } = ppoLoss({ logps: logps as Rows, oldLogps: row(0, 0), advantages: x, responseMask });
    return ratio.sum().add(approxKl);
  });
  close(metrics(x), [[0, 0]], 'metrics');
});

test('stopGradient keeps the value', () => {
  const x = row(1, 2);
  close(stopGradient(x), [[1, 2]], 'value');
  close(tf.grad((y) => tf.mul(y, stopGradient(y)).sum())(x), [[1, 2]], 'y times a constant');
});

test('entropy and its gradient are those of TRL', () => {
  for (const c of cases('entropy')) {
    const [logits, weight] = [c.floats('logits'), c.floats('weight')];
    c.check(entropy(logits), 'entropy');
    c.check(tf.grad((x) => weighted(entropy(x), weight))(logits), 'grad.logits');
  }
  close(
    entropy(
      tf.tensor2d([
        [5, 5, 5, 5],
        [1e4, 0, 0, -1e4],
      ]),
    ),
    [Math.log(4), 0],
    'uniform and certain',
  );
});

test('inputs that do not fit are refused', () => {
  const x = row(1, 2);
  const short = { logps: x, oldLogps: x, advantages: row(1), responseMask: tf.onesLike(x) };
  refused(() => ppoLoss(short), /advantages has shape \[1,1\], logps has \[1,2\]/);
  refused(
    () => ppoLoss({ logps: x, oldLogps: x, advantages: x, responseMask: tf.zerosLike(x) }),
    /selects 0 positions/,
  );
  refused(
    () => valueLoss({ values: x, oldValues: x, returns: x, responseMask: mask2d([[1]]) }),
    /responseMask has shape/,
  );
});

test('no tensor stays behind', () => {
  const [x, y, responseMask] = [row(0.1, 0.2), row(0.3, -0.1), mask2d([[1, 1]])];
  const policy = (logps: tf.Tensor) => ppoLoss({ logps: logps as Rows, oldLogps: y, advantages: y, responseMask });
  const value = (values: tf.Tensor) => valueLoss({ values: values as Rows, oldValues: y, returns: y, responseMask });
  keepsNothing(() => ({ ...policy(x) }));
  keepsNothing(() => value(x));
  keepsNothing(() => entropy(x));
  for (const loss of [policy, value]) keepsNothing(() => tf.grad((z) => loss(z).loss)(x));
  keepsNothing(() => tf.grad((z) => entropy(z).sum())(x));
});
