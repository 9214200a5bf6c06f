/**
 * Losses over one number a pair, the margin h [B]: how much more the policy prefers the chosen response than the
 * reference
 * does, in nats. All fall as h grows (`ipo` to a point), and none overflows at any h.
 */
import { InputError } from '../errors';
import { tf } from '../tf';
import type { Options } from './preferenceInputs';

/**
 * -(1 - labelSmoothing) log s(z) - labelSmoothing log s(-z), s being the logistic function.
 *
 * -log s(z) is softplus(-z), stable at either end. Not tf.logSigmoid: its gradient reads an argument that it does not
 * keep,
 * which a surrounding tf.tidy has disposed of by then (tfjs 4.22).
 */
export function logistic(z: tf.Tensor1D, labelSmoothing: number): tf.Tensor1D {
  return tf.add(tf.mul(1 - labelSmoothing, tf.softplus(tf.neg(z))), tf.mul(labelSmoothing, tf.softplus(z)));
}

/**
 * DPO, Eq. 7 of https://arxiv.org/abs/2305.18290, and with label smoothing conservative DPO, Eq. 3 of
 * https://ericmitchell.ai/cdpo.pdf:  -(1 - e) log s(beta h) - e log s(-beta h).  ln 2 at h = 0.
 */
export function sigmoid(h: tf.Tensor1D, { beta, labelSmoothing }: Options<'beta' | 'labelSmoothing'>): tf.Tensor1D {
  return logistic(tf.mul(beta, h), labelSmoothing);
}

/**
 * Robust DPO, section 3.1 of https://arxiv.org/abs/2403.00409: where a share e of the labels is flipped, its mean is
 * that of
 * DPO's loss without the flips.  [-(1 - e) log s(beta h) + e log s(-beta h)] / (1 - 2e).  ln 2 at h = 0; it has no
 * least value.
 */
export function robust(h: tf.Tensor1D, { beta, labelSmoothing }: Options<'beta' | 'labelSmoothing'>): tf.Tensor1D {
  const kept = tf.mul(1 - labelSmoothing, tf.softplus(tf.mul(-beta, h)));
  const flipped = tf.mul(labelSmoothing, tf.softplus(tf.mul(beta, h)));
  return tf.div(tf.sub(kept, flipped), 1 - 2 * labelSmoothing);
}

/** SLiC's hinge, section 2 of https://arxiv.org/abs/2305.10425, on DPO's margin:  max(0, 1 - beta h).  1 at h = 0. */
export function hinge(h: tf.Tensor1D, { beta }: Options<'beta'>): tf.Tensor1D {
  return tf.relu(tf.sub<tf.Tensor1D>(1, tf.mul(beta, h)));
}

/**
 * IPO, Eq. 17 of https://arxiv.org/abs/2310.12036, beta being its tau:  (h - 1 / (2 beta))^2.  25 at h = 0, beta = 0.1.
 * The paper's margin is of sums over tokens; over means, as here and in TRL, its authors say they ran it.
 */
export function ipo(h: tf.Tensor1D, { beta }: Options<'beta'>): tf.Tensor1D {
  return tf.square(tf.sub<tf.Tensor1D>(h, 1 / (2 * beta)));
}

/**
 * EXO for pairs, Eq. 16 of https://arxiv.org/abs/2402.00856: the KL of (s(beta h), s(-beta h)) from the labels (1 - e,
 * e),
 *
 *     s(beta h) [log s(beta h) - log(1 - e)] + s(-beta h) [log s(-beta h) - log e].      2.7612 at h = 0, e = 1e-3
 */
export function exoPair(h: tf.Tensor1D, { beta, labelSmoothing }: Options<'beta' | 'labelSmoothing'>): tf.Tensor1D {
  requireSmoothing(labelSmoothing);
  const divergence = (z: tf.Tensor1D, label: number) =>
    tf.mul(tf.sigmoid(z), tf.add(tf.softplus(tf.neg(z)), Math.log(label)));
  const chosen = divergence(tf.mul(beta, h), 1 - labelSmoothing);
  return tf.neg(tf.add<tf.Tensor1D>(chosen, divergence(tf.mul(-beta, h), labelSmoothing)));
}

/** @throws InputError at 0, whose logarithm EXO takes. */
export function requireSmoothing(labelSmoothing: number): void {
  if (labelSmoothing === 0)
    throw new InputError('exo_pair: labelSmoothing must be above 0 (the paper takes 1e-3), got 0');
}

/**
 * DiscoPOP, Eq. 5 of https://arxiv.org/abs/2406.08414: with z = beta h and m = s(z / tau),  (1 - m)(-log s(z)) + m
 * exp(-z).
 * 0.8466 at h = 0. m exp(-z) is taken as one exponential: apart, as in TRL, they come to 0 * infinity at large negative
 * z.
 */
export function discopop(h: tf.Tensor1D, { beta, discopopTau }: Options<'beta' | 'discopopTau'>): tf.Tensor1D {
  const z = tf.mul<tf.Tensor1D>(beta, h);
  const mix = tf.mul<tf.Tensor1D>(1 / discopopTau, z);
  const logistic = tf.mul(tf.sigmoid(tf.neg(mix)), tf.softplus(tf.neg(z)));
  return tf.add(logistic, tf.exp(tf.neg(tf.add(z, tf.softplus(tf.neg(mix))))));
}
