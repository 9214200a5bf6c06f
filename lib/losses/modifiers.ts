/** What can be done to the inputs of the losses on pairs: other log-probs, weights, no reference. */
import { InputError } from '../errors';
import { RANGES, requireRange } from '../ranges';
import { tf } from '../tf';
import { masked, requireResponse, requireSameShape } from './mask';
import type { PreferenceInputs } from './preferenceInputs';

/** The tokens of one response a row, aligned column by column, as a `ForwardPass` has them. */
export interface ResponseTokens {
  /** [B, T'] float32, in nats. */
  perTokenLogps: tf.Tensor2D;
  /** [B, T']: 1 on the response's tokens; what lies outside is ignored. */
  responseMask: tf.Tensor2D;
}

/**
 * LD-DPO (https://arxiv.org/abs/2409.06411): log-probs of responses in which the tokens beyond the length of the pair's
 * shorter response count only ldAlpha. To be taken of the policy and of the reference alike, in the place of `logps`:
 *
 *     sum over t <= min(len_w, len_l) of logp_t + ldAlpha * sum over later t of logp_t
 *
 * @param chosen, rejected whose T' may differ. Differentiable.
 * @param options.ldAlpha in [0, 1]: 1 changes nothing, 0 drops them. TRL: `ld_alpha`.
 * @returns [B] float32 each, in nats.
 * @throws InputError if the shapes do not fit, a row has no response token, or ldAlpha is out of its range.
 */
export function lengthDesensitisedLogps(
  { chosen, rejected }: { chosen: ResponseTokens; rejected: ResponseTokens },
  { ldAlpha }: { ldAlpha: number },
): { chosenLogps: tf.Tensor1D; rejectedLogps: tf.Tensor1D } {
  requireRange('ldAlpha', ldAlpha, RANGES.aroundPairs.ldAlpha);
  for (const tokens of [chosen, rejected]) requireTokens({ ...tokens });
  const [pairs, others] = [chosen.responseMask.shape[0], rejected.responseMask.shape[0]];
  if (pairs !== others) throw new InputError(`chosen has ${pairs} rows, rejected ${others}; they must be pairs`);
  return tf.tidy(() => {
    const shared = tf.minimum(chosen.responseMask.sum(1, true), rejected.responseMask.sum(1, true));
    const sum = ({ perTokenLogps, responseMask }: ResponseTokens): tf.Tensor1D => {
      const isShared = tf.lessEqual(tf.cumsum(responseMask, 1), shared);
      return tf.mul(masked(perTokenLogps, responseMask), tf.where(isShared, tf.scalar(1), tf.scalar(ldAlpha))).sum(1);
    };
    return { chosenLogps: sum(chosen), rejectedLogps: sum(rejected) };
  });
}

/**
 * WPO (https://arxiv.org/abs/2406.11827, Eq. 2, sampled alignment): the weight of a response, by how likely the policy
 * is to
 * write it itself, so that pairs of another model count less. The `pairWeights` are the product of chosen's and
 * rejected's.
 *
 *     exp(1 / len * sum over t of [log p(token t) - log sum_v p(v)^2])
 *
 * TRL: `use_weighting`.
 *
 * @param tokens.logSumSquaredProbs [B, T'], at the same positions.
 * @returns [B] float32, a constant.
 * @throws InputError if the shapes do not fit or a row has no response token.
 */
export function wpoWeights({
  perTokenLogps,
  logSumSquaredProbs,
  responseMask,
}: ResponseTokens & { logSumSquaredProbs: tf.Tensor2D }): tf.Tensor1D {
  requireTokens({ perTokenLogps, logSumSquaredProbs, responseMask });
  return tf.tidy(() => {
    const aligned = masked(tf.sub<tf.Tensor2D>(perTokenLogps, logSumSquaredProbs), responseMask);
    return tf.exp(aligned.sum(1).div<tf.Tensor1D>(responseMask.sum(1)));
  });
}

/**
 * log sum_v p(v)^2 of p = softmax(logits), in nats: the mean log-prob, near enough, of what the policy itself would
 * write.
 * From -ln V (uniform) to 0 (certain).
 *
 * @param logits [..., V] float32.
 * @returns [...] float32.
 */
export function logSumSquaredProbs(logits: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.logSumExp(tf.mul(2, tf.logSoftmax(logits)), -1));
}

/**
 * The inputs with a reference that finds all responses equally probable (`reference_free` of eric-mitchell's DPO).
 * Meant
 * for the losses over the margin of two log-ratios, from which what the reference says then falls out.
 *
 * @returns the same tensors, and two new ones [B] of zeros.
 */
export function withoutReference(inputs: PreferenceInputs): PreferenceInputs {
  const { shape } = inputs.policyChosenLogps;
  return { ...inputs, refChosenLogps: tf.zeros(shape), refRejectedLogps: tf.zeros(shape) };
}

function requireTokens(tensors: Record<string, tf.Tensor2D> & { responseMask: tf.Tensor2D }): void {
  requireSameShape(2, tensors);
  requireResponse(tensors.responseMask);
}
