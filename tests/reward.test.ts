import assert from 'node:assert/strict';
import { test } from 'node:test';

import { InputError, rewardLoss, tf } from 'alignbook';

import { cases, close, keepsNothing, weighted } from './lossCases';

const gradients = (loss: (chosen: tf.Tensor1D, rejected: tf.Tensor1D) => tf.Scalar, scores: [tf.Tensor1D, tf.Tensor1D]) =>
  tf.grads((chosen, rejected) => loss(chosen as tf.Tensor1D, rejected as tf.Tensor1D))(scores);

test('losses and gradients are those of PyTorch', () => {
  for (const c of cases('reward')) {
    const [chosen, rejected] = [c.floats<tf.Tensor1D>('chosenScores'), c.floats<tf.Tensor1D>('rejectedScores')];
    c.check(rewardLoss(chosen, rejected), 'losses');
    const [chosenGradient, rejectedGradient] = gradients((w, l) => weighted(rewardLoss(w, l), c.floats('weight')), [chosen, rejected]);
    c.check(chosenGradient!, 'grad.chosenScores');
    c.check(rejectedGradient!, 'grad.rejectedScores');
  }
});

test('numbers worked by hand', () => {
  const loss = rewardLoss(tf.tensor1d([3, 0.6, 1e4, -1e4]), tf.tensor1d([3, 0, -1e4, 1e4]));
  close(loss, [Math.LN2, 0.437488, 0, 2e4], 'losses');
});

test('scores of different lengths are refused', () => {
  assert.throws(() => rewardLoss(tf.tensor1d([1]), tf.tensor1d([1, 2])), InputError);
});

test('no tensor stays behind', () => {
  const [chosen, rejected] = [tf.tensor1d([1, 2]), tf.tensor1d([0, 3])];
  keepsNothing(() => rewardLoss(chosen, rejected));
  keepsNothing(() => gradients((w, l) => rewardLoss(w, l).sum(), [chosen, rejected]));
});
