/**
 * Losses that look at the two responses apart: `chosen` and `rejected` [B] are log-ratios u = log(policy / reference),
 * in
 * nats. 1 - s(x) is written s(-x), s being the logistic function: it keeps its digits as s nears 1.
 */
import { tf } from '../tf';
import type { LogRatios } from './logRatios';
import type { Options } from './preferenceInputs';

/**
 * Noise contrastive alignment for pairs, section 4.1 of https://arxiv.org/abs/2402.05369:
 * -log s(beta u_w) - 1/2 log s(-beta u_w) - 1/2 log s(-beta u_l).  2 ln 2 at the start.
 */
export function ncaPair({ chosen, rejected }: LogRatios, { beta }: Options<'beta'>): tf.Tensor1D {
  const pull = tf.softplus(tf.mul(-beta, chosen));
  const push = tf.add(tf.softplus(tf.mul(beta, chosen)), tf.softplus(tf.mul(beta, rejected)));
  return tf.add(pull, tf.mul(0.5, push));
}

/**
 * Binary classifier optimization for pairs, section 4 of https://arxiv.org/abs/2404.04656, its reward shift 0:
 * -log s(beta u_w) - log s(-beta u_l).  2 ln 2 at the start.
 */
export function bcoPair({ chosen, rejected }: LogRatios, { beta }: Options<'beta'>): tf.Tensor1D {
  return tf.add(tf.softplus(tf.mul(-beta, chosen)), tf.softplus(tf.mul(beta, rejected)));
}

/**
 * Self-play preference optimization with hard probabilities, Eq. 4.7 of https://arxiv.org/abs/2405.00675 with P = 1 for
 * the
 * chosen response and 0 for the rejected:  (u_w - 1 / (2 beta))^2 + (u_l + 1 / (2 beta))^2.  50 at the start for beta =
 * 0.1.
 */
export function sppoHard({ chosen, rejected }: LogRatios, { beta }: Options<'beta'>): tf.Tensor1D {
  return tf.add(tf.square(tf.sub(chosen, 1 / (2 * beta))), tf.square(tf.add(rejected, 1 / (2 * beta))));
}

/**
 * Anchored preference optimization where the chosen responses are better than the model's own, Eq. 7 of
 * https://arxiv.org/abs/2408.06266:  1 - s(beta u_w) + s(beta u_l).  1 at the start.
 */
export function apoZero({ chosen, rejected }: LogRatios, { beta }: Options<'beta'>): tf.Tensor1D {
  return tf.add(tf.sigmoid(tf.mul(-beta, chosen)), tf.sigmoid(tf.mul(beta, rejected)));
}

/** The same where they are worse, Eq. 8:  s(beta u_w) + 1 - s(beta (u_w - u_l)).  1 at the start. */
export function apoDown({ chosen, rejected }: LogRatios, { beta }: Options<'beta'>): tf.Tensor1D {
  return tf.add(tf.sigmoid(tf.mul(beta, chosen)), tf.sigmoid(tf.mul(-beta, tf.sub(chosen, rejected))));
}
