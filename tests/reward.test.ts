import assert from 'node:assert/strict';
import { test } from 'node:test';

import { InputError, rewardLoss, tf } from 'alignbook';

import { cases, close, keepsNothing, refused, weighted } from './lossCases';

const gradients = (
  loss: (chosen: tf.Tensor1D, rejected: tf.Tensor1D) => tf.Scalar,
  scores: [tf.Tensor1D, tf.Tensor1D],
) => tf.grads((chosen, rejected) => loss(chosen as tf.Tensor1D, rejected as tf.Tensor1D))(scores);

test('losses and gradients are those of PyTorch', () => {
  for (const c of cases('reward')) {
    const [chosen, rejected] = [c.floats<tf.Tensor1D>('chosenScores'), c.floats<tf.Tensor1D>('rejectedScores')];
    c.check(rewardLoss(chosen, rejected), 'losses');
    const [chosenGradient, rejectedGradient] = gradients(
      (w, l) => weighted(rewardLoss(w, l), c.floats('weight')),
      [chosen, rejected],
    );
    c.check(chosenGradient!, 'grad.chosenScores');
    c.check(rejectedGradient!, 'grad.rejectedScores');
  }
});

test("with margins and centering, they are those of TRL's RewardTrainer", () => {
  for (const c of cases('reward_options')) {
    const [chosen, rejected] = [c.floats<tf.Tensor1D>('chosenScores'), c.floats<tf.Tensor1D>('rejectedScores')];
    const options = {
      centerRewards: c.number('centerRewards'),
      ...(c.has('margins') && { margins: c.floats<tf.Tensor1D>('margins') }),
    };
    c.check(rewardLoss(chosen, rejected, options), 'losses');
    const [chosenGradient, rejectedGradient] = gradients(
      (w, l) => weighted(rewardLoss(w, l, options), c.floats('weight')),
      [chosen, rejected],
    );
    c.check(chosenGradient!, 'grad.chosenScores');
    c.check(rejectedGradient!, 'grad.rejectedScores');
  }
});

test('numbers worked by hand', () => {
  const loss = rewardLoss(tf.tensor1d([3, 0.6, 1e4, -1e4]), tf.tensor1d([3, 0, -1e4, 1e4]));
  close(loss, [Math.LN2, 0.437488, 0, 2e4], 'losses');
  close(
    rewardLoss(tf.tensor1d([2, 1]), tf.tensor1d([1, -1]), { margins: tf.tensor1d([1, 2]), centerRewards: 0.1 }),
    [Math.LN2 + 0.9, Math.LN2],
    'with options',
  );
});

test('scores of different lengths and options out of range are refused', () => {
  assert.throws(() => rewardLoss(tf.tensor1d([1]), tf.tensor1d([1, 2])), InputError);
  refused(
    () => rewardLoss(tf.tensor1d([1]), tf.tensor1d([1]), { margins: tf.tensor1d([1, 2]) }),
    /^margins has shape \[2\], chosenScores has \[1\]/,
  );
  for (const centerRewards of [-0.1, NaN, Infinity])
    refused(
      () => rewardLoss(tf.tensor1d([1]), tf.tensor1d([1]), { centerRewards }),
      /^centerRewards must be (a number from 0 up|at most 1000000), got/,
    );
});

test('no tensor stays behind', () => {
  const [chosen, rejected] = [tf.tensor1d([1, 2]), tf.tensor1d([0, 3])];
  keepsNothing(() => rewardLoss(chosen, rejected));
  keepsNothing(() => gradients((w, l) => rewardLoss(w, l).sum(), [chosen, rejected]));
  const options = { margins: tf.tensor1d([1, 0]), centerRewards: 0.01 };
  keepsNothing(() => gradients((w, l) => rewardLoss(w, l, options).sum(), [chosen, rejected]));
});
