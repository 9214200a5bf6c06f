/**
 * Scores -> rewards -> advantages, as PPO for language models takes them.
 *
 * All tensors [B, T'] are aligned with one another, one column for each token; which T' they share does not matter.
 * `responseMask` [B, T'] may have any form: what lies outside it counts as not being there, so padding on either side
 * and tokens of others between two stretches of a response (a tool's answer) are skipped.
 */
import { InputError } from '../errors';
import { RANGES, requireRange, requireRanges } from '../ranges';
import { tf } from '../tf';
import { masked, requireResponse, requireSameShape } from './mask';
import { stopGradient } from './stopGradient';

/**
 * The reward of each token: -klCoef * (logp - refLogp), and the score added at the row's last response token
 * (https://arxiv.org/abs/1909.08593, Eq. 2). Rewards are constants: no gradient flows through them.
 *
 * @param logps, refLogps [B, T'] float32, per token, of the policy that sampled and of the reference, in nats.
 * @param scores [B] float32, the reward model's.
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
    throw new InputError(`scores must be [${B}], one a row, got [${scores.shape}]`);
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
  /** advantages + values: what the value function is trained toward. */
  returns: tf.Tensor2D;
}

/**
 * Generalized advantage estimation (https://arxiv.org/abs/1506.02438, Eq. 16), backward over each row's response:
 *
 *     delta_t = reward_t + gamma value_{t+1} - value_t,    advantage_t = delta_t + gamma gaeLambda advantage_{t+1}
 *
 * The value after the last response token is 0. Results are constants: no gradient flows through them.
 *
 * @param rewards, values [B, T'] float32; what they hold outside the mask is ignored.
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

/**
 * The mean over all positions where the mask is 1, of all rows together. Differentiable.
 *
 * @param x float32, any shape; the mask has the same.
 * @throws InputError if the shapes differ or the mask is empty.
 */
export function maskedMean(x: tf.Tensor, mask: tf.Tensor): tf.Scalar {
  requireTokens(x, mask, 1);
  return tf.tidy(() => masked(x, mask).sum().div<tf.Scalar>(mask.sum()));
}

/** The variance over the same positions, with Bessel's correction n / (n - 1) unless `unbiased` is false. */
export function maskedVariance(
  x: tf.Tensor,
  mask: tf.Tensor,
  { unbiased = true }: { unbiased?: boolean } = {},
): tf.Scalar {
  const count = requireTokens(x, mask, unbiased ? 2 : 1);
  return tf.tidy(() => {
    const centred = masked(x.sub(maskedMean(x, mask)), mask);
    const biased = maskedMean(centred.square(), mask);
    return unbiased ? biased.mul(count / (count - 1)) : biased;
  });
}

/**
 * (x - mean) / sqrt(variance + 1e-8) over the mask, 0 outside it: TRL's `masked_whiten`.
 *
 * @param options.shiftMean false gives the mean back afterwards, as rewards are whitened. Default true.
 * @param options.unbiased as in `maskedVariance`. Default true.
 * @throws InputError if the shapes differ or the mask holds fewer than two positions (one, if not `unbiased`).
 */
export function whiten<T extends tf.Tensor>(
  x: T,
  mask: tf.Tensor,
  { shiftMean = true, unbiased = true }: { shiftMean?: boolean; unbiased?: boolean } = {},
): T {
  return tf.tidy(() => {
    const mean = maskedMean(x, mask);
    const whitened = masked(x.sub(mean), mask).mul<T>(maskedVariance(x, mask, { unbiased }).add(1e-8).rsqrt());
    return shiftMean ? whitened : masked(whitened.add<T>(mean), mask);
  });
}

/** How many positions the mask holds. */
function requireTokens(x: tf.Tensor, mask: tf.Tensor, least: number): number {
  requireSameShape(x.rank, { x, mask });
  const count = tf.tidy(() => mask.cast('int32').sum<tf.Scalar>().arraySync());
  if (count < least) throw new InputError(`the mask holds ${count} positions, at least ${least} needed`);
  return count;
}

/**
 * Three estimators of KL(policy || reference) from tokens that the policy sampled, each of them a value per token in
 * nats (http://joschu.net/blog/kl-approx.html). With x = logp - refLogp: k1 = x, unbiased, of either sign.
 *
 * @param logps, refLogps float32, of the same shape. Differentiable.
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

/** k3 = exp(-x) - 1 + x: unbiased, never negative. Infinite in float32 from x = -89 down. */
export function klK3<T extends tf.Tensor>(logps: T, refLogps: T): T {
  return tf.tidy(() => {
    const x = klK1(logps, refLogps);
    return tf.add<T>(tf.expm1(tf.neg(x)), x); // expm1, because exp(-x) - 1 loses its digits where x is small
  });
}
