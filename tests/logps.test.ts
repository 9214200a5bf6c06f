import assert from 'node:assert/strict';
import { test } from 'node:test';

import { logps, meanLogps, perTokenLogps, tf } from 'alignbook';

import { cases, close, keepsNothing, refused, weighted } from './lossCases';

const ids = (values: number[][]) => tf.tensor2d(values, undefined, 'int32');

/** The form in the docstring of `perTokenLogps`. */
function naive(logits: tf.Tensor3D, inputIds: tf.Tensor2D): tf.Tensor2D {
  const [B, T, V] = logits.shape;
  const logProbs = tf.logSoftmax(logits.slice([0, 0, 0], [B, T - 1, V]));
  return tf.sum(tf.mul(logProbs, tf.oneHot(inputIds.slice([0, 1], [B, T - 1]), V)), -1);
}

test('perTokenLogps and its gradient are those of TRL, and of the naive form', () => {
  for (const c of cases('per_token_logps')) {
    const [logits, inputIds, weight] = [
      c.floats<tf.Tensor3D>('logits'),
      c.ints<tf.Tensor2D>('inputIds'),
      c.floats('weight'),
    ];
    for (const form of [perTokenLogps, naive]) {
      c.check(form(logits, inputIds), 'logps');
      c.check(tf.grad((x) => weighted(form(x as tf.Tensor3D, inputIds), weight))(logits), 'grad.logits');
    }
  }
});

test('logits at t score the token at t + 1', () => {
  // The two rows of logits that count have cross-entropy 1.4185 with respect to targets 0 and 2.
  const row = (first: number, last: number[]) =>
    perTokenLogps(tf.tensor3d([[[2, 1, 0.1], [0.5, 2.5, 0.3], last]]), ids([[first, 0, 2]]));
  close(row(0, [0, 0, 0]).mean().neg(), 1.4185, 'mean', 5e-5); // values are given to four decimals
  close(row(2, [9, -9, 0]).mean().neg(), 1.4185, 'the first token and the last logits have no part in it', 5e-5);
  close(perTokenLogps(tf.zeros([1, 2, 4]), ids([[3, 1]])), [[-Math.log(4)]], 'uniform');
});

test('perTokenLogps holds one array as large as the logits, the naive form more', async () => {
  const logits = tf.zeros<tf.Rank.R3>([2, 64, 512]);
  const inputIds = tf.zeros<tf.Rank.R2>([2, 64], 'int32');
  const peak = async (form: typeof perTokenLogps) => {
    const before = tf.memory().numBytes;
    const { peakBytes } = await tf.profile(() => form(logits, inputIds));
    return (peakBytes - before) / (logits.size * 4);
  };
  const [ours, theirs] = [await peak(perTokenLogps), await peak(naive)];
  assert.ok(ours - 1 < 1.1, `${ours - 1} times the logits`); // less the reshaped logits: tfjs counts the view as a copy
  assert.ok(theirs > 3, `the naive form: ${theirs} times`);
});

test('logps is the sum over the response, meanLogps the mean; both with their gradients', () => {
  for (const c of cases('response_logps')) {
    const [tokenLogps, mask, weight] = [
      c.floats<tf.Tensor2D>('tokenLogps'),
      c.ints<tf.Tensor2D>('responseMask'),
      c.floats('weight'),
    ];
    c.check(logps(tokenLogps, mask), 'logps');
    c.check(meanLogps(tokenLogps, mask), 'meanLogps');
    c.check(tf.grad((x) => weighted(logps(x as tf.Tensor2D, mask), weight))(tokenLogps), 'grad.tokenLogps');
    c.check(tf.grad((x) => weighted(meanLogps(x as tf.Tensor2D, mask), weight))(tokenLogps), 'meanGrad');
  }
});

test('what lies outside the response has no part in the sum, infinite or not', () => {
  const tokenLogps = tf.tensor2d([[-Infinity, -1, -2, NaN]]);
  const mask = ids([[1, 0, 1, 1, 0]]); // the 1 on the first token has no log-prob
  close(logps(tokenLogps, mask), [-3], 'logps');
  close(meanLogps(tokenLogps, mask), [-1.5], 'meanLogps');
  close(tf.grad((x) => logps(x as tf.Tensor2D, mask).sum())(tokenLogps), [[0, 1, 1, 0]], 'gradient');
});

test('inputs that do not fit are refused', () => {
  const logits = tf.zeros<tf.Rank.R3>([1, 3, 5]);
  refused(() => perTokenLogps(logits, ids([[1, 2]])), /\[1,3,5\] and \[1,2\]/);
  refused(() => perTokenLogps(logits, tf.tensor2d([[1, 2, 3]])), /must be int32, got float32/);
  refused(() => perTokenLogps(logits, ids([[1, 2, 5]])), /id 5 is outside the vocabulary of 5/);
  refused(() => perTokenLogps(logits, ids([[1, -1, 2]])), /id -1/);
  refused(() => perTokenLogps(tf.zeros([1, 1, 5]), ids([[1]])), /nothing to predict/);
  for (const sum of [logps, meanLogps]) {
    refused(
      () =>
        sum(
          tf.zeros([2, 3]),
          ids([
            [0, 1, 0, 0],
            [1, 0, 0, 0],
          ]),
        ),
      /row 1 has no response token/,
    );
    refused(() => sum(tf.zeros([1, 3]), ids([[0, 1, 1]])), /\[1,2\], tokenLogps has \[1,3\]/);
  }
});

test('no tensor stays behind', () => {
  const [logits, inputIds, mask] = [
    tf.zeros<tf.Rank.R3>([2, 3, 5]),
    ids([
      [1, 2, 3],
      [3, 2, 1],
    ]),
    ids([
      [0, 1, 1],
      [0, 0, 1],
    ]),
  ];
  const tokenLogps = perTokenLogps(logits, inputIds);
  const loss = (sum: typeof logps) => (x: tf.Tensor) => sum(perTokenLogps(x as tf.Tensor3D, inputIds), mask);
  keepsNothing(() => perTokenLogps(logits, inputIds));
  keepsNothing(() => logps(tokenLogps, mask));
  keepsNothing(() => meanLogps(tokenLogps, mask));
  for (const sum of [logps, meanLogps]) keepsNothing(() => tf.grad(loss(sum))(logits));
});
