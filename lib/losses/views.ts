/**
 * What a loss on pairs sees of its inputs. A view names the inputs and options that it needs; the reference is a
 * constant.
 */
import { tf } from '../tf';
import { divergenceScore, type Divergence } from './divergence';
import { logRatios, type LogRatios } from './logRatios';
import type { InputName, Inputs, Options, PreferenceOptions } from './preferenceInputs';
import { stopGradient } from './stopGradient';

export interface View<Seen> {
  readonly needs: readonly InputName[];
  readonly defaults: PreferenceOptions;
  /** Whether element r is of rank r in the batch rather than of pair r. */
  readonly byRank?: true;
  see(inputs: Inputs, options: Options): Seen;
}

const LOGPS = ['policyChosenLogps', 'policyRejectedLogps', 'refChosenLogps', 'refRejectedLogps'] as const;
const LENGTHS = ['chosenLengths', 'rejectedLengths'] as const;
const DIVERGENCE = { divergence: 'reverse_kl' as Divergence, divergenceAlpha: 0.5 };

/** u = log(policy / reference) of each response. */
export const eachLogRatio: View<LogRatios> = { needs: LOGPS, defaults: {}, see: logRatios };

/** h = u_w - u_l, or the margin of the two scores that another divergence makes of them. */
export const margin: View<tf.Tensor1D> = {
  needs: LOGPS,
  defaults: DIVERGENCE,
  see(inputs, options) {
    const { chosen, rejected } = scores(inputs, options);
    return tf.sub(chosen, rejected);
  },
};

/** The same per token: u_w / len_w - u_l / len_l. */
export const meanMargin: View<tf.Tensor1D> = {
  needs: [...LOGPS, ...LENGTHS],
  defaults: DIVERGENCE,
  see(inputs, options) {
    const { chosen, rejected } = scores(inputs, options);
    return tf.sub(tf.div(chosen, inputs.chosenLengths), tf.div(rejected, inputs.rejectedLengths));
  },
};

/**
 * Alignment by optimal transport, section 3 of https://arxiv.org/abs/2406.05882: lp_w - lp_l of policy and reference,
 * each
 * sorted over the batch, subtracted rank by rank.
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

/** The same for answers that form no pairs: u_w and u_l, each sorted over the batch, subtracted rank by rank. */
export const rankedLogRatios: View<tf.Tensor1D> = {
  needs: LOGPS,
  defaults: {},
  byRank: true,
  see(inputs) {
    const { chosen, rejected } = logRatios(inputs);
    return tf.sub(sorted(chosen), sorted(rejected));
  },
};

/** The inputs of these names, as they are. */
export function given<K extends InputName>(...needs: K[]): View<Inputs<K>> {
  return { needs, defaults: {}, see: (inputs) => inputs as unknown as Inputs<K> };
}

function scores(inputs: Inputs, { divergence, divergenceAlpha }: Options<'divergence' | 'divergenceAlpha'>): LogRatios {
  const { chosen, rejected } = logRatios(inputs);
  return {
    chosen: divergenceScore(chosen, divergence, divergenceAlpha),
    rejected: divergenceScore(rejected, divergence, divergenceAlpha),
  };
}

/** Smallest first; the gradient goes back to where each element came from. tfjs has none for topk. */
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
