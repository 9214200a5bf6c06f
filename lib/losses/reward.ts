/** The loss that trains a reward model on pairs. */
import { tf } from '../tf';
import { requireSameShape } from './mask';

/**
 * -log sigmoid(chosen - rejected), the Bradley-Terry model (https://arxiv.org/abs/2203.02155, Eq. 1, for K = 2).
 *
 * @param chosenScores [B] float32, one score for each preferred response. Differentiable, as the next.
 * @param rejectedScores [B] float32.
 * @returns [B] float32, one for each pair; ln 2 where the scores are equal.
 * @throws InputError if the shapes differ.
 */
export function rewardLoss(chosenScores: tf.Tensor1D, rejectedScores: tf.Tensor1D): tf.Tensor1D {
  requireSameShape(1, { chosenScores, rejectedScores });
  // -log sigmoid(x) as softplus(-x), for the reasons given at `logistic` in margin.ts.
  return tf.tidy(() => tf.softplus(tf.sub(rejectedScores, chosenScores)));
}
