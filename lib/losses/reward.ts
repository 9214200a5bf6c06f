/** The loss that trains a reward model on pairs. */
import { RANGES, requireRange } from '../ranges';
import { tf } from '../tf';
import { requireSameShape } from './mask';

export interface RewardLossOptions {
  /** [B] float32: how much each chosen score should exceed the rejected one. Default 0. */
  margins?: tf.Tensor1D;
  /** The weight of the term that keeps scores near 0, at least 0; the paper uses 0.01. Default 0. */
  centerRewards?: number;
}

/**
 * The Bradley-Terry model (https://arxiv.org/abs/2203.02155, Eq. 1, for K = 2), with the margins of Llama 2
 * (https://arxiv.org/abs/2307.09288, Eq. 2) and the centering of https://arxiv.org/abs/2312.09244 (section 2), which
 * settles what differences leave open: adding a constant to all scores changes none of them.
 *
 *     -log sigmoid(chosen - rejected - margin) + centerRewards (chosen + rejected)^2
 *
 * As in TRL's RewardTrainer, whose `center_rewards_coefficient` is `centerRewards`.
 *
 * @param chosenScores [B] float32, one score per chosen response. Differentiable, as is the next.
 * @param rejectedScores [B] float32.
 * @returns [B] float32, one per pair; without options, ln 2 where the scores are equal.
 * @throws InputError if the shapes differ, or centerRewards is out of its range.
 */
export function rewardLoss(
  chosenScores: tf.Tensor1D,
  rejectedScores: tf.Tensor1D,
  { margins, centerRewards = 0 }: RewardLossOptions = {},
): tf.Tensor1D {
  requireSameShape(1, { chosenScores, rejectedScores, ...(margins && { margins }) });
  requireRange('centerRewards', centerRewards, RANGES.reward.centerRewards);
  return tf.tidy(() => {
    const shortfall = tf.sub<tf.Tensor1D>(rejectedScores, chosenScores);
    // -log sigmoid(x) as softplus(-x), for the reasons given in preferenceLosses.ts.
    const losses = tf.softplus<tf.Tensor1D>(margins ? tf.add(shortfall, margins) : shortfall);
    if (centerRewards === 0) return losses;
    return tf.add(losses, tf.mul(centerRewards, tf.square(tf.add(chosenScores, rejectedScores))));
  });
}
