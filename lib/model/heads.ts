/**
 * GPT-2's heads over the hidden states that predict a response's tokens: log-probs, values, statistics, and the way
 * back. Log-probs of the whole vocabulary are never kept.
 */
import { headGradient, type HeadGradient } from '../engine/gradients';
import { release, scoped, type Handle } from '../engine/handle';
import { layerNorm, layerNormBackward, type LayerNormSaved, type Read, type WeightGradients } from '../engine/layers';
import { add, argMaxLast, biasAdd, crossEntropy, floats, mul, scalar, sumLast, sumRows } from '../engine/ops';
import { asFactor, matmul, weightFactor } from '../engine/products';
import { suppression } from './sampling';
import type { Weights } from './weights';

/** The final layer norm's output [M, C], and what its backward needs. */
export type FinalNorm = { readonly y: Handle; readonly saved: LayerNormSaved };

export type HeadsSaved = {
  readonly norm: FinalNorm;
  /** [M, V]: softmax - onehot for each of the M scored tokens. */
  readonly dLogits: Handle;
  /** The head's matrix [V, C], where the forward rounded it; else the backward reads it again. */
  readonly weight?: Handle;
};

/** The model's distribution at each of the M scored tokens, response after response. */
export interface TokenStatistics {
  /** [M], in nats: the entropy of the next token's distribution, 0 where the model is certain. */
  readonly entropy: Float32Array;
  /** [M]: the model's top choice for the token. */
  readonly topTokens: Int32Array;
}

export interface HeadOptions {
  /** Whether to compute statistics too, which takes another [M, V] for a moment. Default false. */
  statistics?: boolean;
  /** Divides the logits, as in sampling, so that log-probs are those of the distribution drawn from. Default 1. */
  temperature?: number;
  /** Ids that sampling never draws, and that get probability 0 here too. Default: none. */
  suppressTokens?: readonly number[] | undefined;
}

/** The heads' results for the M scored tokens. */
export interface TokenScores {
  /** [M], in nats. */
  readonly logps: Float32Array;
  /** [M], if the model has a value head. */
  readonly values?: Float32Array;
  readonly statistics?: TokenStatistics;
}

/**
 * The log-probs of the tokens `labels`, and their values. A token's value is that of the state before it.
 *
 * @param hidden [M, C]: the states that predict the scored tokens, before the final layer norm.
 * @param labels [M] int32: the scored tokens.
 * @param weights tells which matrix is the head, and whether there is one for values.
 */
export const scoreTokens = scoped(
  (
    hidden: Handle,
    labels: Handle,
    read: Read,
    weights: Weights,
    epsilon: number,
    { statistics = false, temperature = 1, suppressTokens = [] }: HeadOptions,
  ): TokenScores & { saved: HeadsSaved } => {
    const norm = layerNorm(hidden, read, 'ln_f', epsilon); // [M, C]
    const values = weights.hasValueHead ? valuesOf(norm.y, read) : undefined;
    const { factor, kept } = weightFactor(read(weights.headName));
    const logits = logitsOf(norm.y, factor, temperature, suppressTokens); // [M, V]
    const [losses, dLogits] = crossEntropy(logits, labels); // [M], [M, V]
    const logps = (losses.values() as Float32Array).map((loss) => -loss);
    return {
      logps,
      ...(values && { values }),
      ...(statistics && { statistics: statisticsOf(logits, dLogits, logps) }),
      saved: { norm, dLogits, ...kept },
    };
  },
);

/** The hidden states, the smaller factor of the product, are divided by the temperature. */
const logitsOf = scoped((y: Handle, head: Handle, temperature: number, suppressTokens: readonly number[]): Handle => {
  const cooled = temperature === 1 ? y : mul(y, scalar(1 / temperature));
  const logits = matmul(cooled, head, { transposeY: true });
  if (suppressTokens.length === 0) return logits;
  // With -1e9 the probability, and so the gradient, is exactly 0; -Infinity would make the entropy NaN.
  const V = logits.shape[1]!;
  return biasAdd(logits, floats(suppression(V, suppressTokens, -1e9), [V]));
});

const valuesOf = scoped(
  (y: Handle, read: Read): Float32Array =>
    biasAdd(matmul(y, read('v_head.weight')), read('v_head.bias')).values() as Float32Array,
);

/** With dLogits = p - onehot, the entropy logsumexp(logits) - sum(p logits) is -log p(token) - sum(dLogits logits). */
const statisticsOf = scoped((logits: Handle, dLogits: Handle, logps: Float32Array): TokenStatistics => {
  const topTokens = argMaxLast(logits).values() as Int32Array;
  const rest = sumLast(mul(dLogits, logits)).values();
  return { entropy: logps.map((logp, n) => -logp - rest[n]!), topTokens };
});

/**
 * From the gradients of the losses, -log p, and of the values, to that of the hidden states [M, C]. Frees `dLogits` and
 * `weight`.
 *
 * @param dLosses [M, 1].
 * @param dValues [M, 1], if the loss depends on values.
 * @returns also `dHead`, the head's part of the gradient of `wte.weight`, where the head is tied and it is wanted.
 */
export const scoreTokensBackward = scoped(
  (
    dLosses: Handle,
    dValues: Handle | undefined,
    { norm, dLogits, weight }: HeadsSaved,
    read: Read,
    weights: Weights,
    gradients: WeightGradients,
  ): { dHidden: Handle; dHead?: HeadGradient } => {
    // The logits' gradient is dLogits * dLosses; the factor of each row is applied to the smaller side of both
    // products.
    const weighted = mul(norm.y, dLosses); // [M, C]
    const tied = weights.headName === 'wte.weight';
    const factor = asFactor(dLogits);
    const dHead = tied && gradients.wants('wte.weight') ? headGradient(dLogits, weighted, factor) : undefined;
    if (!tied) gradients.put(weights.headName, () => matmul(factor, weighted, { transposeX: true }));
    const unweighted = matmul(factor, weight ?? read(weights.headName)); // [M, C]
    release(dLogits, factor, weight); // by far the largest tensors here
    const throughLogits = mul(unweighted, dLosses);
    const dNorm = dValues ? add(throughLogits, valuesBackward(dValues, norm.y, read, gradients)) : throughLogits;
    return { dHidden: layerNormBackward(dNorm, norm.saved, read, 'ln_f', gradients), ...(dHead && { dHead }) };
  },
);

function valuesBackward(dValues: Handle, y: Handle, read: Read, gradients: WeightGradients): Handle {
  gradients.put('v_head.weight', () => matmul(y, dValues, { transposeX: true }));
  gradients.put('v_head.bias', () => sumRows(dValues));
  return matmul(dValues, read('v_head.weight'), { transposeY: true });
}
