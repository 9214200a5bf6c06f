/**
 * Scores -> rewards -> advantages: what PPO and GRPO for language models learn from, and estimates of the KL.
 *
 * All tensors [B, T'] are aligned, one column per token; any T' will do. `responseMask` [B, T'] may have any pattern:
 * positions outside it are skipped, be they padding on either side or tokens that the policy did not write between two
 * stretches of a response (a tool's answer).
 */
import { InputError, plural } from '../errors';
import { average, variance } from '../moments';
import { RANGES, requireRange, requireRanges } from '../ranges';
import { tf } from '../tf';
import { masked, requireResponse, requireSameShape, stopGradient } from './mask';

/**
 * The reward of each token: -klCoef * (logp - refLogp), plus the score at the row's last response token
 * (https://arxiv.org/abs/1909.08593, Eq. 2). Rewards are constants: no gradient flows through them.
 *
 * @param logps, refLogps [B, T'] float32, per token, of the policy that sampled and of the reference, in nats.
 * @param scores [B] float32, from the reward model.
 * @returns [B, T'] float32, 0 outside the mask.
 * @throws InputError if the shapes do not fit, a row has no response token, or klCoef is below 0.
 */
export function tokenRewards(
  {
    logps,
    refLogps,
    responseMask,
    scores,
  }: Record<'logps' | 'refLogps' | 'responseMask', tf.Tensor2D> & { scores: tf.Tensor1D },
  { klCoef = 0.05 }: { klCoef?: number } = {},
): tf.Tensor2D {
  requireRange('klCoef', klCoef, RANGES.ppo.klCoef);
  requireSameShape(2, { logps, refLogps, responseMask });
  requireResponse(responseMask);
  const [B] = logps.shape;
  if (!tf.util.arraysEqual(scores.shape, [B]))
    throw new InputError(`scores must be [${B}], one per row, got [${scores.shape}]`);
  return tf.tidy(() => {
    const penalties = masked(tf.mul<tf.Tensor2D>(-klCoef, klK1(logps, refLogps)), responseMask);
    const left = tf.cumsum(responseMask.cast('int32'), 1, false, true); // response tokens from here to the row's end
    const isLast = tf.mul(tf.equal(left, 1).cast('int32'), responseMask);
    return stopGradient(tf.add(penalties, tf.mul(isLast, scores.expandDims(1))));
  });
}

export interface Advantages {
  /** [B, T'] float32, 0 outside the mask. */
  advantages: tf.Tensor2D;
  /** advantages + values: the target of the value function. */
  returns: tf.Tensor2D;
}

/**
 * Generalized advantage estimation (https://arxiv.org/abs/1506.02438, Eq. 16), backward over each row's response:
 *
 *     delta_t = reward_t + gamma value_{t+1} - value_t,    advantage_t = delta_t + gamma gaeLambda advantage_{t+1}
 *
 * The value after the last response token is 0. Results are constants: no gradient flows through them.
 *
 * @param rewards, values [B, T'] float32; their values outside the mask are ignored.
 * @param options.gamma, options.gaeLambda in [0, 1].
 * @throws InputError if the shapes differ, a row has no response token, or an option is out of its range.
 */
export function gae(
  { rewards, values, responseMask }: Record<'rewards' | 'values' | 'responseMask', tf.Tensor2D>,
  { gamma = 1, gaeLambda = 0.95 }: { gamma?: number; gaeLambda?: number } = {},
): Advantages {
  requireRanges({ gamma, gaeLambda }, RANGES.ppo);
  requireSameShape(2, { rewards, values, responseMask });
  requireResponse(responseMask);
  const [B, T] = rewards.shape;
  const [reward, value, mask] = [rewards.dataSync(), values.dataSync(), responseMask.dataSync()];
  const advantages = new Float32Array(B * T);
  const returns = new Float32Array(B * T);
  for (let b = 0; b < B; b += 1) {
    let nextValue = 0;
    let nextAdvantage = 0;
    for (let i = b * T + T - 1; i >= b * T; i -= 1) {
      if (mask[i] === 0) continue;
      const delta = reward[i]! + gamma * nextValue - value[i]!;
      nextAdvantage = delta + gamma * gaeLambda * nextAdvantage;
      nextValue = value[i]!;
      advantages[i] = nextAdvantage;
      returns[i] = nextAdvantage + nextValue;
    }
  }
  return { advantages: tf.tensor2d(advantages, [B, T]), returns: tf.tensor2d(returns, [B, T]) };
}

export interface GroupAdvantageOptions {
  /**
   * What a score is compared with: `group`, the mean of its group (GRPO), or `leaveOneOut`, the mean of the others
   * (RLOO, arXiv 2402.14740, Eq. 8). Default group.
   */
  baseline?: 'group' | 'leaveOneOut';
  /**
   * Divide GRPO's advantages by the group's standard deviation (with Bessel's correction, plus 1e-4, as in TRL). RLOO's
   * are never divided. Default true.
   */
  scaleRewards?: boolean;
}

/**
 * Advantages without a value function: the samples of a prompt are each other's baseline (GRPO, arXiv 2402.03300).
 *
 * @param scores of groups of `groupSize`, one group after another.
 * @returns one advantage per score; all 0 in a group whose scores are equal.
 * @throws InputError if groupSize is below 2 or does not divide the number of scores.
 */
export function groupAdvantages(
  scores: readonly number[],
  groupSize: number,
  { baseline = 'group', scaleRewards = true }: GroupAdvantageOptions = {},
): number[] {
  requireRange('groupSize', groupSize, RANGES.grpo.groupSize);
  if (scores.length % groupSize !== 0)
    throw new InputError(`${plural(scores.length, 'score')} cannot be split into groups of ${groupSize}`);
  return scores.map((score, n) => {
    const start = n - (n % groupSize);
    const group = scores.slice(start, start + groupSize);
    const difference = score - average(group);
    if (baseline === 'leaveOneOut') return (difference * groupSize) / (groupSize - 1); // score - mean of the others
    return difference / (scaleRewards ? Math.sqrt(variance(group, { unbiased: true })) + 1e-4 : 1);
  });
}

/**
 * Three estimators of KL(policy || reference) from tokens that the policy sampled, each a value per token in nats
 * (http://joschu.net/blog/kl-approx.html). With x = logp - refLogp: k1 = x, unbiased, positive or negative.
 *
 * @param logps, refLogps float32, of one shape. Differentiable.
 * @throws InputError if the shapes differ.
 */
export function klK1<T extends tf.Tensor>(logps: T, refLogps: T): T {
  requireSameShape(logps.rank, { logps, refLogps });
  return tf.sub(logps, refLogps);
}

/** k2 = x^2 / 2: biased, never negative. */
export function klK2<T extends tf.Tensor>(logps: T, refLogps: T): T {
  return tf.tidy(() => klK1(logps, refLogps).square().mul<T>(0.5));
}

/** k3 = exp(-x) - 1 + x: unbiased, never negative. Infinite in float32 for x of -89 or less. */
export function klK3<T extends tf.Tensor>(logps: T, refLogps: T): T {
  return tf.tidy(() => {
    const x = klK1(logps, refLogps);
    return tf.add<T>(tf.expm1(tf.neg(x)), x); // expm1, because exp(-x) - 1 loses digits where x is small
  });
}
