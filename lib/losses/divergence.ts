/**
 * f-DPO (https://arxiv.org/abs/2309.16240): DPO for other measures of the distance between policy and reference
 * than the reverse KL. In the place of the log-ratio u = log(policy / reference) stands a score f'(exp(u)), up to a
 * constant
 * that the margin of two scores cancels.
 */
import { tf } from '../tf';

export const DIVERGENCES = ['reverse_kl', 'forward_kl', 'js', 'alpha'] as const;
export type Divergence = (typeof DIVERGENCES)[number];

/** exp(40) = 2e17: even squared (IPO), and in the square of a gradient's norm, it stays within float32. */
const MAX_EXPONENT = 40;

/**
 * The score of each log-ratio. 0 where policy and reference agree.
 *
 *     reverse_kl: u      forward_kl: 1 - exp(-u)      js: ln 2 + log sigmoid(u)      alpha: (1 - exp(-alpha u)) / alpha
 *
 * Exponents stop at 40, where the gradient is 0 from then on. TRL: `f_divergence_type` 'js_divergence',
 * 'alpha_divergence'
 * with `f_alpha_divergence_coef` = 1 - alpha; it stops alpha's exponent at 80 and forward_kl's nowhere.
 *
 * @param u [B], in nats. Differentiable.
 */
export function divergenceScore(u: tf.Tensor1D, divergence: Divergence, alpha: number): tf.Tensor1D {
  switch (divergence) {
    case 'reverse_kl':
      return u;
    case 'forward_kl':
      return divergenceScore(u, 'alpha', 1);
    case 'js':
      return tf.sub(Math.LN2, tf.softplus(tf.neg(u)));
    case 'alpha':
      return tf.div(tf.neg(tf.expm1(tf.minimum(tf.mul(-alpha, u), MAX_EXPONENT))), alpha);
  }
}
