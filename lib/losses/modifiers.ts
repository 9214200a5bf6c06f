/** Variations on the losses on pairs: sums of losses, other log-probs, weights per pair, no reference. */
import { InputError, plural } from '../errors';
import { RANGES, requireRange } from '../ranges';
import { tf } from '../tf';
import { masked, requireResponse, requireSameShape } from './mask';
import type { PreferenceInputs, PreferenceOptions } from './preferenceInputs';
import { preferenceLoss, type PreferenceLossName } from './preferenceLosses';

/** One loss of a sum: its name, its weight (at least 0, default 1) and its options. */
export interface LossTerm extends PreferenceOptions {
  loss: PreferenceLossName;
  weight?: number;
}

/**
 * The sum of weight * loss over the terms, as in MPO (https://arxiv.org/abs/2411.10442), whose preference, quality and
 * generation losses are sigmoid, bco_pair and sft here. In TRL, `loss_type` and `loss_weights` as lists.
 *
 * @returns [B] float32; take the mean to train.
 * @throws InputError if there is no term or one does not fit.
 */
export function weightedLosses(inputs: PreferenceInputs, terms: readonly LossTerm[]): tf.Tensor1D {
  if (terms.length === 0) throw new InputError('no losses to add: give at least one term, such as { loss: "sigmoid" }');
  return tf.tidy(() =>
    tf.addN(
      terms.map(({ loss: name, weight = 1, ...options }) => {
        const loss = preferenceLoss(name);
        requireRange(`the weight of ${name}`, weight, RANGES.aroundPairs.weight);
        return tf.mul<tf.Tensor1D>(weight, loss(inputs, options));
      }),
    ),
  );
}

/** One response per row, aligned column by column, as a `ForwardPass` has them. */
export interface ResponseTokens {
  /** [B, T'] float32, in nats. */
  perTokenLogps: tf.Tensor2D;
  /** [B, T']: 1 on the response's tokens; values elsewhere are ignored. */
  responseMask: tf.Tensor2D;
}

/**
 * LD-DPO (https://arxiv.org/abs/2409.06411): log-probs in which tokens beyond the length of the pair's shorter response
 * are multiplied by ldAlpha. Compute those of the policy and those of the reference this way, in place of `logps`:
 *
 *     sum over t <= min(len_w, len_l) of logp_t + ldAlpha * sum over later t of logp_t
 *
 * @param tokens.chosen, tokens.rejected may have different T'. Differentiable.
 * @param options.ldAlpha in [0, 1]: 1 changes nothing, 0 drops the later tokens. TRL: `ld_alpha`.
 * @returns [B] float32 each, in nats.
 * @throws InputError if the shapes do not fit, a row has no response token, or ldAlpha is out of its range.
 */
export function lengthDesensitizedLogps(
  { chosen, rejected }: { chosen: ResponseTokens; rejected: ResponseTokens },
  { ldAlpha }: { ldAlpha: number },
): { chosenLogps: tf.Tensor1D; rejectedLogps: tf.Tensor1D } {
  requireRange('ldAlpha', ldAlpha, RANGES.aroundPairs.ldAlpha);
  for (const tokens of [chosen, rejected]) requireTokens({ ...tokens });
  const [pairs, others] = [chosen.responseMask.shape[0], rejected.responseMask.shape[0]];
  if (pairs !== others)
    throw new InputError(`chosen has ${plural(pairs, 'row')}, rejected ${others}; they must be pairs`);
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
 * WPO (https://arxiv.org/abs/2406.11827, Eq. 2, sampled alignment): the weight of a response grows with the probability
 * that the policy would write it itself, so pairs written by another model count less. Multiply the weights of chosen
 * and rejected to get `pairWeights`.
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
 * log sum_v p(v)^2 of p = softmax(logits), in nats: roughly the mean log-prob of what the policy itself would write.
 * From -ln V (uniform) to 0 (certain).
 *
 * @param logits [..., V] float32.
 * @returns [...] float32.
 */
export function logSumSquaredProbs(logits: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.logSumExp(tf.mul(2, tf.logSoftmax(logits)), -1));
}

/**
 * The inputs with a reference that gives all responses the same probability (`reference_free` in eric-mitchell's DPO).
 * Use it with the losses of the margin of two log-ratios, in which the reference then cancels.
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
