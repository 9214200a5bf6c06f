/** The loss on single responses, each marked desirable or undesirable, without pairs. */
import { InputError } from '../errors';
import { RANGES, requireRanges } from '../ranges';
import { tf } from '../tf';
import { requireSameShape, stopGradient } from './mask';

/** Each [B]; log-probs are those of whole responses (`logps`), float32, in nats. */
export interface KtoInputs {
  policyLogps: tf.Tensor1D;
  refLogps: tf.Tensor1D;
  /** bool or int32: 1 where the response is desirable. */
  desirable: tf.Tensor1D;
  /** Log-probs of mismatched pairs: each prompt with the response of another row, such as the previous. Constants. */
  policyMismatchedLogps: tf.Tensor1D;
  refMismatchedLogps: tf.Tensor1D;
}

export interface KtoOptions {
  /** As in DPO. Default 0.1. */
  beta?: number;
  /** The weights of the two kinds of responses, to compensate for unequal counts. Default 1. */
  desirableWeight?: number;
  undesirableWeight?: number;
}

export interface KtoLoss {
  /** [B], in the order of the batch; take the mean to train. */
  losses: tf.Tensor1D;
  /** [B], beta * (policy - reference), in nats. This and the next are constants, for logging. */
  rewards: tf.Tensor1D;
  /** The reference point: an estimate of the KL, in nats, at least 0. */
  kl: tf.Scalar;
}

/**
 * Kahneman-Tversky optimization, Eq. 7 of https://arxiv.org/abs/2402.01306. With u = policyLogps - refLogps and kl the
 * batch's mean of policyMismatchedLogps - refMismatchedLogps, or 0 if that is negative:
 *
 *     desirable: desirableWeight (1 - s(beta (u - kl)))       undesirable: undesirableWeight (1 - s(beta (kl - u)))
 *
 * It is half the weight where policy and reference agree. TRL: KTOTrainer, `loss_type` 'kto'.
 *
 * @throws InputError if the shapes differ, the batch has only one row, or an option is out of its range.
 */
export function ktoLoss(inputs: KtoInputs, options: KtoOptions = {}): KtoLoss {
  requireSameShape(1, { ...inputs });
  if (inputs.policyLogps.size < 2)
    throw new InputError('KTO needs a batch of at least 2 rows: one row alone cannot form a mismatched pair');
  return tf.tidy(() => {
    const kl = ktoReferencePoint(inputs);
    return { ...ktoLosses(inputs, kl, options), kl };
  });
}

/** The reference point: the mean log-ratio of the mismatched pairs, or 0 if that is negative. A constant. */
export function ktoReferencePoint({
  policyMismatchedLogps,
  refMismatchedLogps,
}: Pick<KtoInputs, 'policyMismatchedLogps' | 'refMismatchedLogps'>): tf.Scalar {
  return tf.tidy(() => tf.relu(stopGradient(tf.sub(policyMismatchedLogps, refMismatchedLogps)).mean()));
}

/**
 * The losses of some rows of a batch whose reference point is known.
 *
 * @throws InputError if the shapes differ or an option is out of its range.
 */
export function ktoLosses(
  { policyLogps, refLogps, desirable }: Pick<KtoInputs, 'policyLogps' | 'refLogps' | 'desirable'>,
  kl: tf.Scalar,
  { beta = 0.1, desirableWeight = 1, undesirableWeight = 1 }: KtoOptions = {},
): Omit<KtoLoss, 'kl'> {
  requireSameShape(1, { policyLogps, refLogps, desirable });
  requireRanges({ beta, desirableWeight, undesirableWeight }, RANGES.kto);
  return tf.tidy(() => {
    const logRatios = tf.sub<tf.Tensor1D>(policyLogps, stopGradient(refLogps));
    const isDesirable = desirable.cast('bool');
    const gain = tf.where(isDesirable, tf.sub(logRatios, kl), tf.sub(kl, logRatios));
    const weights = tf.where(isDesirable, tf.scalar(desirableWeight), tf.scalar(undesirableWeight));
    return {
      losses: tf.mul<tf.Tensor1D>(weights, tf.sigmoid(tf.mul(-beta, gain))),
      rewards: stopGradient(tf.mul<tf.Tensor1D>(beta, logRatios)),
    };
  });
}
