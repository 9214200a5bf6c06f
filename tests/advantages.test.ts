import assert from 'node:assert/strict';
import { test } from 'node:test';

import { gae, klK1, klK2, klK3, maskedMean, maskedVariance, tf, tokenRewards, whiten } from 'alignbook';

import { cases, close, keepsNothing, refused, weighted } from './lossCases';

const mask2d = (values: number[][]) => tf.tensor2d(values, undefined, 'int32');

test('tokenRewards: a KL penalty on each response token, the score on the last', () => {
  for (const c of cases('token_rewards')) {
    const rewards = tokenRewards(
      {
        logps: c.floats('logps'),
        refLogps: c.floats('refLogps'),
        responseMask: c.ints('responseMask'),
        scores: c.floats('scores'),
      },
      { klCoef: c.number('klCoef') },
    );
    c.check(rewards, 'rewards');
  }
  const byHand = tokenRewards({
    logps: tf.tensor2d([
      [NaN, -1, -2, Infinity],
      [-1, -1, -1, -1],
    ]),
    refLogps: tf.tensor2d([
      [0, -3, -1, 0],
      [-2, -1, -1, 0],
    ]),
    responseMask: mask2d([
      [0, 1, 1, 0],
      [1, 1, 1, 1],
    ]),
    scores: tf.tensor1d([5, -7]),
  });
  close(
    byHand,
    [
      [0, -0.1, 5.05, 0],
      [-0.05, 0, 0, -7 + 0.05],
    ],
    'by hand',
  );

  const rewards = (logps: tf.Tensor) =>
    tokenRewards({
      logps: logps as tf.Tensor2D,
      refLogps: tf.zeros([1, 2]),
      responseMask: mask2d([[1, 1]]),
      scores: tf.ones([1]),
    });
  close(tf.grad((logps) => rewards(logps).sum())(tf.ones([1, 2])), [[0, 0]], 'rewards are constants');
});

test('gae is the sum of its definition, for any mask', () => {
  for (const c of cases('gae')) {
    const { advantages, returns } = gae(
      { rewards: c.floats('rewards'), values: c.floats('values'), responseMask: c.ints('responseMask') },
      { gamma: c.number('gamma'), gaeLambda: c.number('gaeLambda') },
    );
    c.check(advantages, 'advantages');
    c.check(returns, 'returns');
  }
});

test('gae by hand; the values of padding on either side do not matter', () => {
  // Deltas -0.1, -0.1, 0.7; backward 0.7, -0.1 + 0.95 * 0.7, -0.1 + 0.95 * 0.565.
  const [advantages, returns] = [
    [0.43675, 0.565, 0.7],
    [0.93675, 0.965, 1],
  ];
  const plain = gae({
    rewards: tf.tensor2d([[0, 0, 1]]),
    values: tf.tensor2d([[0.5, 0.4, 0.3]]),
    responseMask: mask2d([[1, 1, 1]]),
  });
  close(plain.advantages, [advantages], 'advantages');
  close(plain.returns, [returns], 'returns');
  const padded = gae({
    rewards: tf.tensor2d([
      [0, 0, 1, 99, NaN],
      [NaN, 99, 0, 0, 1],
    ]),
    values: tf.tensor2d([
      [0.5, 0.4, 0.3, 99, NaN],
      [NaN, 99, 0.5, 0.4, 0.3],
    ]),
    responseMask: mask2d([
      [1, 1, 1, 0, 0],
      [0, 0, 1, 1, 1],
    ]),
  });
  close(
    padded.advantages,
    [
      [...advantages, 0, 0],
      [0, 0, ...advantages],
    ],
    'advantages',
  );
  close(
    padded.returns,
    [
      [...returns, 0, 0],
      [0, 0, ...returns],
    ],
    'returns',
  );
});

test('masked statistics, their gradients, and whitening are those of TRL', () => {
  for (const c of cases('masked_statistics')) {
    const [x, mask, weight] = [c.floats('x'), c.ints('mask'), c.floats('weight')];
    c.check(maskedMean(x, mask), 'mean');
    c.check(maskedVariance(x, mask), 'variance');
    c.check(maskedVariance(x, mask, { unbiased: false }), 'biasedVariance');
    c.check(tf.grad((y) => maskedMean(y, mask))(x), 'meanGrad');
    c.check(tf.grad((y) => maskedVariance(y, mask))(x), 'varianceGrad');
    c.inner('whitened').forEach((inner, index) => {
      const options = { shiftMean: index < 2, unbiased: index % 2 === 0 };
      inner.check(whiten(x, mask, options), 'result');
      inner.check(tf.grad((y) => weighted(whiten(y, mask, options), weight))(x), 'grad');
    });
  }
});

test('masked statistics by hand', () => {
  const [x, mask] = [tf.tensor1d([1, 2, 3, 4]), tf.tensor1d([0, 1, 1, 0], 'int32')];
  close(maskedMean(x, mask), 2.5, 'mean');
  close(maskedVariance(x, mask), 0.5, 'variance');
  close(maskedVariance(x, mask, { unbiased: false }), 0.25, 'biased variance');
  close(maskedMean(tf.tensor1d([NaN, 2, 3, Infinity]), mask), 2.5, 'what lies outside the mask has no part in it');
  close(maskedMean(x, mask.cast('bool')), 2.5, 'a mask of booleans');
  for (const statistic of [maskedMean, maskedVariance, whiten]) {
    const [gradient] = tf.grads((y) => statistic(y, mask).sum())([tf.tensor1d([NaN, 2, 3, Infinity])]);
    assert.ok(gradient!.dataSync().every(Number.isFinite), `${statistic.name}: ${gradient}`);
  }

  const rewards = tf.tensor2d([
    [1.2, 1.3, 1.4],
    [1.5, 1.6, 1.7],
    [1.8, 1.9, 2],
  ]);
  const whitened = whiten(rewards, tf.onesLike(rewards), { shiftMean: false, unbiased: false });
  close(
    whitened,
    [
      [0.0508, 0.4381, 0.8254],
      [1.2127, 1.6, 1.9873],
      [2.3746, 2.7619, 3.1492],
    ],
    'whitened',
    5e-5,
  ); // values are given to four decimals
});

test('whitening equal values gives zeros, or their mean', () => {
  // The mean's rounding error, at most 6e-8 of the mean, is divided by sqrt(1e-8).
  const [x, mask] = [tf.fill([3, 5], 0.7), tf.ones([3, 5], 'int32')];
  close(whiten(x, mask), tf.zeros([3, 5]).arraySync(), 'shifted', 6e-4);
  close(whiten(x, mask, { shiftMean: false }), x.arraySync(), 'with the mean', 6e-4);
  close(whiten(tf.tensor1d([3, 9]), tf.tensor1d([1, 0], 'int32'), { unbiased: false }), [0, 0], 'a single value');
});

test('KL estimators and their gradients are those of PyTorch', () => {
  for (const c of cases('kl')) {
    const [logps, refLogps, weight] = [c.floats('logps'), c.floats('refLogps'), c.floats('weight')];
    for (const [name, estimator] of Object.entries({ k1: klK1, k2: klK2, k3: klK3 })) {
      const inner = c.inner(name)[0]!;
      inner.check(estimator(logps, refLogps), 'value');
      const [gradient, refGradient] = tf.grads((p, q) => weighted(estimator(p, q), weight))([logps, refLogps]);
      inner.check(gradient!, 'grad.logps');
      inner.check(refGradient!, 'grad.refLogps');
    }
  }
});

test('klK3 keeps its digits if the policies are close', () => {
  // x^2 / 2 is about 5e-7 here; exp(-x) - 1, which rounds to multiples of 6e-8, would keep at most one digit of it.
  for (const x of [7e-4, 1e-3, 1.3e-3].map(Math.fround)) {
    const k3 = klK3(tf.tensor1d([x]), tf.tensor1d([0])).dataSync()[0]!;
    const exact = Math.expm1(-x) + x;
    assert.ok(Math.abs(k3 / exact - 1) < 1e-3, `expected ${exact}, got ${k3}`);
  }
  close(klK3(tf.tensor1d([1e4, -1]), tf.tensor1d([0, 0])), [9999, Math.E - 2], 'far apart');
});

test('inputs that do not fit are refused', () => {
  const [x, mask] = [
    tf.zeros<tf.Rank.R2>([2, 3]),
    mask2d([
      [1, 1, 0],
      [0, 0, 0],
    ]),
  ];
  refused(() => gae({ rewards: x, values: x, responseMask: mask }), /row 1 has no response token/);
  refused(() => gae({ rewards: x, values: tf.zeros([2, 4]), responseMask: mask }), /values has shape \[2,4\]/);
  refused(
    () => tokenRewards({ logps: x, refLogps: x, responseMask: mask, scores: tf.zeros([2]) }),
    /row 1 has no response token/,
  );
  refused(
    () => tokenRewards({ logps: x, refLogps: x, responseMask: tf.onesLike(x), scores: tf.zeros([3]) }),
    /scores must be \[2\]/,
  );
  refused(() => maskedMean(x, tf.zerosLike(x)), /selects 0 positions; at least 1/);
  refused(() => maskedMean(x, tf.ones([2, 4])), /mask has shape \[2,4\]/);
  refused(() => maskedVariance(tf.tensor1d([1]), tf.tensor1d([1])), /selects 1 position; at least 2/);
  refused(() => whiten(tf.tensor1d([1]), tf.tensor1d([1])), /at least 2/);
  refused(() => klK3(x, tf.zeros([2, 1])), /refLogps has shape/);
});

test('no tensor stays behind', () => {
  const [x, y] = [
    tf.tensor2d([
      [1, 2, 3],
      [4, 5, 6],
    ]),
    tf.ones<tf.Rank.R2>([2, 3]),
  ];
  const [responseMask, scores] = [
    mask2d([
      [1, 1, 0],
      [0, 0, 1],
    ]),
    tf.zeros<tf.Rank.R1>([2]),
  ];
  keepsNothing(() => tokenRewards({ logps: x, refLogps: y, responseMask, scores }));
  keepsNothing(() => ({ ...gae({ rewards: x, values: y, responseMask }) }));
  for (const statistic of [maskedMean, maskedVariance, whiten]) {
    keepsNothing(() => statistic(x, responseMask));
    keepsNothing(() => tf.grad((z) => statistic(z, responseMask).sum())(x));
  }
  for (const estimator of [klK1, klK2, klK3]) keepsNothing(() => estimator(x, y));
});
