/**
 * Proximal Policy Optimization's losses over tokens.
 *
 * All tensors [B, T'] are aligned with one another, one column for each token; means are over the tokens of the mask,
 * of
 * all rows together. The gradient flows to the policy's `logps`, the value function's `values` and `logits` only:
 * everything that was recorded at rollout is a constant.
 */
import { RANGES, requireRange } from '../ranges';
import { tf } from '../tf';
import { klK2, maskedMean } from './advantages';
import { masked, requireSameShape } from './mask';
import { stopGradient } from './stopGradient';

/** exp(60) = 1e26: a larger log-ratio would come to infinity in float32, and its gradient to 0 * infinity = NaN. */
const MAX_LOG_RATIO = 60;

export interface PpoLoss {
  loss: tf.Scalar;
  /** [B, T'], exp(logps - oldLogps), 1 outside the mask. This and the rest are constants, for the log. */
  ratio: tf.Tensor2D;
  /** The share of tokens on which the clipped term is the one that counts. */
  clipFraction: tf.Scalar;
  /** Mean of (logps - oldLogps)^2 / 2, in nats: how far the policy has moved since rollout. */
  approxKl: tf.Scalar;
}

/**
 * The clipped surrogate objective, Eq. 7 of https://arxiv.org/abs/1707.06347, negated so that less is better:
 *
 *     loss = -mean(min(ratio A, clip(ratio, 1 - clipRange, 1 + clipRange) A))
 *
 * @param logps [B, T'] float32, of the policy being trained, in nats. Differentiable.
 * @param oldLogps [B, T'], of the policy that sampled the tokens, recorded then: were they computed anew at each step,
 *   the ratio would always be 1.
 * @param advantages [B, T'].
 * @param options.clipRange above 0. Default 0.2.
 * @throws InputError if the shapes differ, the mask is empty, or clipRange is out of its range.
 */
export function ppoLoss(
  {
    logps,
    oldLogps,
    advantages,
    responseMask,
  }: Record<'logps' | 'oldLogps' | 'advantages' | 'responseMask', tf.Tensor2D>,
  { clipRange = 0.2 }: { clipRange?: number } = {},
): PpoLoss {
  requireRange('clipRange', clipRange, RANGES.ppo.clipRange);
  requireSameShape(2, { logps, oldLogps, advantages, responseMask });
  return tf.tidy(() => {
    // Masked before use, not after: 0 times an overflow outside the mask would reach the gradient as NaN.
    const old = stopGradient(oldLogps);
    const logRatio = masked(tf.sub<tf.Tensor2D>(logps, old), responseMask);
    const gain = masked(stopGradient(advantages), responseMask);

    const ratio = tf.exp(tf.clipByValue(logRatio, -MAX_LOG_RATIO, MAX_LOG_RATIO));
    const clippedRatio = tf.clipByValue(ratio, 1 - clipRange, 1 + clipRange);
    const unclipped = tf.neg(tf.mul(gain, ratio));
    const clipped = tf.neg(tf.mul(gain, clippedRatio));
    return {
      loss: maskedMean(tf.maximum(unclipped, clipped), responseMask),
      ratio: stopGradient(ratio),
      clipFraction: maskedMean(tf.greater(clipped, unclipped).cast('float32'), responseMask),
      approxKl: maskedMean(klK2(stopGradient(logps), old), responseMask),
    };
  });
}

/**
 * Half the squared error of the value function, the change since rollout clipped
 * (https://arxiv.org/abs/2005.12729, section 3; TRL's form):
 *
 *     loss = mean(max((values - returns)^2, (clip(values, oldValues ± valueClipRange) - returns)^2)) / 2
 *
 * @param values [B, T'] float32, of the value function being trained. Differentiable.
 * @param oldValues, returns [B, T'], recorded at rollout.
 * @param options.valueClipRange above 0. Default 0.2.
 * @returns the loss, and the share of tokens on which the clipped term counts.
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
    const inside = (x: tf.Tensor2D) => masked(x, responseMask); // before use, as in ppoLoss
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
