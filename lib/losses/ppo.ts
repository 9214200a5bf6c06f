/**
 * The losses of Proximal Policy Optimization over tokens, and the clipped surrogate that PPO, GRPO and RLOO share.
 *
 * All tensors [B, T'] are aligned, one column per token; means are over the tokens of the mask in all rows together.
 * The gradient flows only to the policy's `logps`, the value function's `values` and `logits`: everything recorded at
 * rollout is a constant.
 */
import { RANGES, requireRange } from '../ranges';
import { tf } from '../tf';
import { klK2 } from './advantages';
import { masked, maskedMean, requireSameShape, stopGradient } from './mask';

/** exp(60) = 1e26: a larger log-ratio would become infinite in float32, and its gradient 0 * infinity = NaN. */
const MAX_LOG_RATIO = 60;

type SurrogateTensors = Record<'logps' | 'oldLogps' | 'advantages' | 'responseMask', tf.Tensor2D>;

/**
 * The clipped surrogate objective of each action, negated into a loss, Eq. 7 of https://arxiv.org/abs/1707.06347:
 *
 *     -min(ratio A, clip(ratio, 1 - clipRange, 1 + clipHigh) A),    ratio = exp(logps - oldLogps)
 *
 * An action is a token for PPO and GRPO, a whole response for RLOO. Call it within tf.tidy.
 *
 * @param clipHigh how far above 1 the ratio may go; in the paper, as far as below.
 * @returns [B, T'] each: the losses, 0 outside the mask; the ratio, 1 outside it; and whether the clipped term is the
 *   larger loss, so that it counts.
 * @throws InputError if clipRange or clipHigh is out of its range.
 */
export function clippedSurrogate(
  { logps, oldLogps, advantages, responseMask }: SurrogateTensors,
  clipRange: number,
  clipHigh = clipRange,
): Record<'losses' | 'ratio' | 'isClipped', tf.Tensor2D> {
  requireRange('clipRange', clipRange, RANGES.ppo.clipRange);
  requireRange('epsilonHigh', clipHigh, RANGES.grpo.epsilonHigh);
  // Masked before use, not after: 0 times an overflow outside the mask would reach the gradient as NaN.
  const logRatio = masked(tf.sub<tf.Tensor2D>(logps, stopGradient(oldLogps)), responseMask);
  const gain = masked(stopGradient(advantages), responseMask);

  const ratio = tf.exp(tf.clipByValue(logRatio, -MAX_LOG_RATIO, MAX_LOG_RATIO));
  const clippedRatio = tf.clipByValue(ratio, 1 - clipRange, 1 + clipHigh);
  const unclipped = tf.neg(tf.mul<tf.Tensor2D>(gain, ratio));
  const clipped = tf.neg(tf.mul<tf.Tensor2D>(gain, clippedRatio));
  return { losses: tf.maximum(unclipped, clipped), ratio, isClipped: tf.greater(clipped, unclipped) };
}

export interface PpoLoss {
  loss: tf.Scalar;
  /** [B, T'], exp(logps - oldLogps), 1 outside the mask. This and the next two are constants, for logging. */
  ratio: tf.Tensor2D;
  /** Fraction of tokens on which the clipped term counts. */
  clipFraction: tf.Scalar;
  /** Mean of (logps - oldLogps)^2 / 2, in nats: how far the policy has moved since the rollout. */
  approxKl: tf.Scalar;
}

/**
 * PPO's policy loss: the mean of `clippedSurrogate` over the tokens.
 *
 * @param logps [B, T'] float32, of the policy being trained, in nats. Differentiable.
 * @param oldLogps [B, T'], of the policy that sampled the tokens, recorded then: if they were recomputed at each step,
 *   the ratio would always be 1.
 * @param advantages [B, T'].
 * @param options.clipRange above 0. Default 0.2.
 * @throws InputError if the shapes differ, the mask is empty, or clipRange is out of its range.
 */
export function ppoLoss(tensors: SurrogateTensors, { clipRange = 0.2 }: { clipRange?: number } = {}): PpoLoss {
  const { logps, oldLogps, advantages, responseMask } = tensors;
  requireSameShape(2, { logps, oldLogps, advantages, responseMask });
  return tf.tidy(() => {
    const { losses, ratio, isClipped } = clippedSurrogate(tensors, clipRange);
    return {
      loss: maskedMean(losses, responseMask),
      ratio: stopGradient(ratio),
      clipFraction: maskedMean(isClipped.cast('float32'), responseMask),
      approxKl: maskedMean(klK2(stopGradient(logps), stopGradient(oldLogps)), responseMask),
    };
  });
}

/**
 * Half the squared error of the value function, whose change since the rollout is clipped
 * (https://arxiv.org/abs/2005.12729, section 3; TRL's form):
 *
 *     loss = mean(max((values - returns)^2, (clip(values, oldValues ± valueClipRange) - returns)^2)) / 2
 *
 * @param values [B, T'] float32, of the value function being trained. Differentiable.
 * @param oldValues, returns [B, T'], recorded at rollout.
 * @param options.valueClipRange above 0. Default 0.2.
 * @returns the loss, and the fraction of tokens on which the clipped term counts.
 * @throws InputError if the shapes differ, the mask is empty, or valueClipRange is out of its range.
 */
export function valueLoss(
  {
    values,
    oldValues,
    returns,
    responseMask,
  }: Record<'values' | 'oldValues' | 'returns' | 'responseMask', tf.Tensor2D>,
  { valueClipRange = 0.2 }: { valueClipRange?: number } = {},
): { loss: tf.Scalar; clipFraction: tf.Scalar } {
  requireRange('valueClipRange', valueClipRange, RANGES.ppo.valueClipRange);
  requireSameShape(2, { values, oldValues, returns, responseMask });
  return tf.tidy(() => {
    const inside = (x: tf.Tensor2D) => masked(x, responseMask); // before use, as in clippedSurrogate
    const [current, old, target] = [inside(values), inside(stopGradient(oldValues)), inside(stopGradient(returns))];
    const clippedValues = tf.minimum(tf.maximum(current, old.sub(valueClipRange)), old.add(valueClipRange));
    const unclipped = tf.squaredDifference(current, target);
    const clipped = tf.squaredDifference(clippedValues, target);
    return {
      loss: maskedMean(tf.maximum(unclipped, clipped), responseMask).mul<tf.Scalar>(0.5),
      clipFraction: maskedMean(tf.greater(clipped, unclipped).cast('float32'), responseMask),
    };
  });
}

/**
 * The entropy of softmax(logits) at each position, -sum p log p, in nats: from 0 (certain) to ln V (uniform).
 *
 * @param logits [..., V] float32, finite. Differentiable.
 * @returns [...] float32.
 */
export function entropy(logits: tf.Tensor): tf.Tensor {
  return tf.tidy(() => {
    const logProbs = tf.logSoftmax(logits);
    return tf.neg(tf.sum(tf.mul(tf.exp(logProbs), logProbs), -1));
  });
}
