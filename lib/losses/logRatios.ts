/**
 * What the losses on pairs compare: log-ratios of policy and reference, pair by pair or rank by rank. The gradient
 * flows to the policy's log-probs only; the reference's are constants.
 */
import { tf } from '../tf';
import { stopGradient } from './mask';
import type { Divergence, InputName, Inputs, Options, View } from './preferenceInputs';

/** Log-probs of whole responses (`logps`), each [B] float32, in nats. */
export type PairLogps = Inputs<'policyChosenLogps' | 'policyRejectedLogps' | 'refChosenLogps' | 'refRejectedLogps'>;

/** u = log(policy / reference) of each response, [B] float32, in nats. */
export interface LogRatios {
  chosen: tf.Tensor1D;
  rejected: tf.Tensor1D;
}

export function logRatios(pair: PairLogps): LogRatios {
  return {
    chosen: tf.sub(pair.policyChosenLogps, stopGradient(pair.refChosenLogps)),
    rejected: tf.sub(pair.policyRejectedLogps, stopGradient(pair.refRejectedLogps)),
  };
}

const LOGPS = ['policyChosenLogps', 'policyRejectedLogps', 'refChosenLogps', 'refRejectedLogps'] as const;
const LENGTHS = ['chosenLengths', 'rejectedLengths'] as const;
const DIVERGENCE = { divergence: 'reverse_kl' as Divergence, divergenceAlpha: 0.5 };

/** The two log-ratios u_w and u_l. */
export const eachLogRatio: View<LogRatios> = { needs: LOGPS, defaults: {}, see: logRatios };

/** The margin h = u_w - u_l, or that of the two scores by which another divergence replaces the log-ratios. */
export const margin: View<tf.Tensor1D> = {
  needs: LOGPS,
  defaults: DIVERGENCE,
  see(inputs, options) {
    const { chosen, rejected } = divergenceScores(inputs, options);
    return tf.sub(chosen, rejected);
  },
};

/** The margin per token: u_w / len_w - u_l / len_l. */
export const meanMargin: View<tf.Tensor1D> = {
  needs: [...LOGPS, ...LENGTHS],
  defaults: DIVERGENCE,
  see(inputs, options) {
    const { chosen, rejected } = divergenceScores(inputs, options);
    return tf.sub(tf.div(chosen, inputs.chosenLengths), tf.div(rejected, inputs.rejectedLengths));
  },
};

/**
 * Alignment by optimal transport, section 3 of https://arxiv.org/abs/2406.05882: lp_w - lp_l of the policy and of the
 * reference, each sorted over the batch, subtracted rank by rank.
 */
export const rankedMargin: View<tf.Tensor1D> = {
  needs: LOGPS,
  defaults: {},
  byRank: true,
  see: ({ policyChosenLogps, policyRejectedLogps, refChosenLogps, refRejectedLogps }) =>
    tf.sub(
      sorted(tf.sub(policyChosenLogps, policyRejectedLogps)),
      sorted(stopGradient(tf.sub(refChosenLogps, refRejectedLogps))),
    ),
};

/** The same for answers that are not paired: u_w and u_l, each sorted over the batch, subtracted rank by rank. */
export const rankedLogRatios: View<tf.Tensor1D> = {
  needs: LOGPS,
  defaults: {},
  byRank: true,
  see(inputs) {
    const { chosen, rejected } = logRatios(inputs);
    return tf.sub(sorted(chosen), sorted(rejected));
  },
};

/** The named inputs, unchanged. */
export function given<K extends InputName>(...needs: K[]): View<Inputs<K>> {
  return { needs, defaults: {}, see: (inputs) => inputs as unknown as Inputs<K> };
}

type DivergenceOptions = Options<'divergence' | 'divergenceAlpha'>;

function divergenceScores(inputs: Inputs, { divergence, divergenceAlpha }: DivergenceOptions): LogRatios {
  const { chosen, rejected } = logRatios(inputs);
  return {
    chosen: divergenceScore(chosen, divergence, divergenceAlpha),
    rejected: divergenceScore(rejected, divergence, divergenceAlpha),
  };
}

/** exp(40) = 2e17 stays within float32 even when squared, as by IPO and in the norm of a gradient. */
const MAX_EXPONENT = 40;

/**
 * f-DPO (https://arxiv.org/abs/2309.16240) measures the distance between policy and reference by a divergence other
 * than the reverse KL. A score f'(exp(u)) replaces the log-ratio u, up to a constant that the margin of two scores
 * cancels. It is 0 where policy and reference agree.
 *
 *     reverse_kl: u      forward_kl: 1 - exp(-u)      js: ln 2 + log sigmoid(u)      alpha: (1 - exp(-alpha u)) / alpha
 *
 * Exponents are capped at 40; beyond that the gradient is 0. In TRL these are `f_divergence_type` 'js_divergence' and
 * 'alpha_divergence', with `f_alpha_divergence_coef` = 1 - alpha; TRL caps the exponent of alpha at 80, and that of
 * forward_kl not at all.
 *
 * @param u [B], in nats. Differentiable.
 */
function divergenceScore(u: tf.Tensor1D, divergence: Divergence, alpha: number): tf.Tensor1D {
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

/** Smallest first; the gradient goes back to where each element came from. tfjs has no gradient for topk. */
function sorted(values: tf.Tensor1D): tf.Tensor1D {
  return tf.customGrad((x, save) => {
    const { values: negated, indices } = tf.topk((x as tf.Tensor).neg(), values.size);
    (save as tf.GradSaveFunc)([indices]);
    return {
      value: negated.neg(),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => tf.unsortedSegmentSum(dy, saved[0] as tf.Tensor1D, values.size),
    };
  })(values) as tf.Tensor1D;
}
