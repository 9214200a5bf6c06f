/**
 * The layers of GPT-2, each a forward and a backward.
 *
 * A forward returns its output `y` and `saved`, the intermediates that its backward needs; the caller owns both, and
 * releases `saved` where no backward will follow. A backward takes dy, the gradient of the loss with respect to y,
 * gives
 * that with respect to x, and puts those of the layer's weights into `gradients`. It releases nothing that it was
 * given.
 *
 * Axes: B rows of the batch, T positions, N = B * T, C channels, nh heads, hs = C / nh channels a head.
 * Activations are matrices [N, C], as in llm.c: every product is then one MatMul.
 */
import { attentionScale, type GPT2Config } from '../formats/config';
import { activate, activateBackward } from './activations';
import type { Gradient } from './embeddingGradient';
import { release, type Handle } from './handle';
import {
  add,
  addRows,
  batchMatmul,
  biasAdd,
  concat,
  constantScalar,
  gather,
  matmul,
  meanLast,
  mul,
  putRows,
  reshape,
  rsqrt,
  segmentSum,
  softmax,
  split,
  squaredDifference,
  sub,
  sumLast,
  sumRows,
  transpose,
} from './ops';

/** A weight by the name that GPT-2's checkpoints give it. */
export type Read = (name: string) => Handle;

/**
 * Takes the gradient of the loss with respect to each weight, by the same names; calls `make` only for those that it
 * wants.
 */
export interface WeightGradients {
  wants(name: string): boolean;
  put(name: string, make: () => Gradient): void;
}

/** Layer normalization of each row (arXiv 1607.06450): (x - mean) / sqrt(variance + epsilon) * weight + bias. */
export function layerNorm(x: Handle, read: Read, name: string, epsilon: number) {
  using mean = meanLast(x);
  using squares = squaredDifference(x, mean);
  using variance = meanLast(squares);
  using shifted = add(variance, constantScalar(epsilon));
  using centred = sub(x, mean);
  const inverseStd = rsqrt(shifted);
  const normalized = mul(centred, inverseStd);
  using scaled = mul(normalized, read(`${name}.weight`));
  const y = add(scaled, read(`${name}.bias`));
  return { y, saved: { normalized, inverseStd } };
}

/** dx = (dn - mean(dn) - normalized mean(dn normalized)) / std, where dn = dy weight. */
export function layerNormBackward(
  dy: Handle,
  saved: LayerNormSaved,
  read: Read,
  name: string,
  gradients: WeightGradients,
): Handle {
  const { normalized, inverseStd } = saved;
  gradients.put(`${name}.weight`, () => {
    using weighted = mul(dy, normalized);
    return sumRows(weighted);
  });
  gradients.put(`${name}.bias`, () => sumRows(dy));

  using dn = mul(dy, read(`${name}.weight`));
  using dnMean = meanLast(dn);
  using projected = mul(dn, normalized);
  using projectedMean = meanLast(projected);
  using along = mul(normalized, projectedMean);
  using shifted = sub(dn, dnMean);
  using across = sub(shifted, along);
  return mul(across, inverseStd);
}

/** x W + b. GPT-2's checkpoints keep W as [in, out], so nothing is transposed. */
export function linear(x: Handle, read: Read, name: string): Handle {
  const bias = read(`${name}.bias`);
  using product = matmul(x, read(`${name}.weight`), { columns: bias.shape[0]! });
  return biasAdd(product, bias);
}

export function linearBackward(dy: Handle, x: Handle, read: Read, name: string, gradients: WeightGradients): Handle {
  gradients.put(`${name}.weight`, () => matmul(x, dy, { transposeX: true }));
  gradients.put(`${name}.bias`, () => sumRows(dy));
  return matmul(dy, read(`${name}.weight`), { transposeY: true });
}

/**
 * Where tokens [N] stand in the rows of attention, which are padded. All else is computed for each token by itself,
 * without padding.
 */
export type Padding = {
  /** int32 [B * T]: the token that stands there; where none does, some token, of which nothing comes through. */
  readonly padded: Handle;
  /** int32 [N]: where each stands. */
  readonly tokens: Handle;
};

/** Rows of tokens [N, …] into places [B * T, …]. */
const pad = (x: Handle, padding?: Padding): Handle => (padding ? gather(x, padding.padded) : x);
/** And back; takes over `x`. */
function unpad(x: Handle, padding?: Padding): Handle {
  if (!padding) return x;
  using padded = x;
  return gather(padded, padding.tokens);
}

/**
 * Multi-head attention softmax(q k' / sqrt(hs) + bias) v (arXiv 1706.03762, Eq. 1) over `qkv` [N, 3C].
 *
 * @param bias [B, T, S]: 0 where a query (row) may look at a key (column), a large negative number elsewhere. Padding
 *   looks at itself
 *   alone, and nobody else at it, so that what stands there changes nothing.
 * @param scale what the scores of a query and a key are multiplied by.
 * @param past keys and values of earlier positions, in which those of this one, T = 1, take their places; `saved` then
 *   has the same
 *   memory. Without them S is T.
 */
export function attention(
  qkv: Handle,
  bias: Handle,
  nHead: number,
  scale: number,
  { past, padding }: { past?: Past | undefined; padding?: Padding | undefined } = {},
) {
  const [B, T] = bias.shape as [number, number, number];
  const C = qkv.shape[1]! / 3;
  const hs = C / nHead;

  const inRows = pad(qkv, padding);
  using byHead = reshape(inRows, [B, T, 3 * nHead, hs]);
  if (padding) release(inRows);
  using headsFirst = transpose(byHead, [2, 0, 1, 3]); // [3 nh, B, T, hs]
  const [unscaled, newK, newV] = split(headsFirst, 3) as [Handle, Handle, Handle]; // each [nh, B, T, hs]
  const q = mul(unscaled, constantScalar(scale));
  const k = past ? withRows(past.k, past.places, newK) : newK; // [nh, B, S, hs]
  const v = past ? withRows(past.v, past.places, newV) : newV;
  release(unscaled);
  if (past) release(newK, newV);

  using scores = batchMatmul(q, k, { transposeY: true }); // [nh, B, T, S]
  using biased = add(scores, bias);
  const weights = softmax(biased);
  const mixed = batchMatmul(weights, v); // [nh, B, T, hs]
  using rowsFirst = transpose(mixed, [1, 2, 0, 3]); // [B, T, nh, hs]
  return { y: unpad(reshape(rowsFirst, [B * T, C]), padding), saved: { q, k, v, weights, mixed } };
}

/**
 * The softmax's backward needs sum(dWeights weights) over the keys, which is sum(dMixed mixed) over the head's
 * channels.
 */
export function attentionBackward(
  dy: Handle,
  { q, k, v, weights, mixed }: AttentionSaved,
  scale: number,
  padding?: Padding,
): Handle {
  const [nHead, B, T, hs] = q.shape as [number, number, number, number];

  const inRows = pad(dy, padding);
  using rowsFirst = reshape(inRows, [B, T, nHead, hs]);
  if (padding) release(inRows);
  using dMixed = transpose(rowsFirst, [2, 0, 1, 3]); // [nh, B, T, hs]
  using dv = batchMatmul(weights, dMixed, { transposeX: true });
  using dWeights = batchMatmul(dMixed, v, { transposeY: true }); // [nh, B, T, T]
  using products = mul(dMixed, mixed);
  using sums = sumLast(products);
  using centred = sub(dWeights, sums);
  using dScores = mul(weights, centred);

  using dScaled = batchMatmul(dScores, k);
  using dq = mul(dScaled, constantScalar(scale));
  using dk = batchMatmul(dScores, q, { transposeX: true });
  using headsFirst = concat([dq, dk, dv], 0); // [3 nh, B, T, hs]
  using byHead = transpose(headsFirst, [1, 2, 0, 3]);
  return unpad(reshape(byHead, [B * T, 3 * nHead * hs]), padding);
}

/** [nh, B, S, hs] each. */
export type KeysAndValues = { readonly k: Handle; readonly v: Handle };

/** Keys and values with room for more. */
export type Past = KeysAndValues & {
  /** int32 [nh * B]: the row of [nh * B * S, hs] that is next, of each head and row of the batch. */
  readonly places: Handle;
};

function withRows(x: Handle, places: Handle, rows: Handle): Handle {
  const hs = x.shape[3]!;
  using flat = reshape(x, [-1, hs]);
  using flatRows = reshape(rows, [-1, hs]);
  using changed = putRows(flat, places, flatRows);
  return reshape(changed, x.shape);
}

export type BlockRows = {
  /** Where the N tokens are fewer than the B * T places. */
  readonly padding?: Padding | undefined;
  /**
   * int32 [M]: the tokens whose output is wanted, of the last block; the others have done their part as keys and
   * values. Default: all.
   */
  readonly only?: Handle | undefined;
};

/** One pre-norm transformer block, the layer-th: x + attention(ln_1(x)), then + mlp(ln_2(·)). */
export function block(
  x: Handle,
  bias: Handle,
  read: Read,
  layer: number,
  config: GPT2Config,
  { past, padding, only }: { past?: Past | undefined } & BlockRows,
) {
  const name = `h.${layer}`;
  const { nHead, layerNormEpsilon: epsilon, activation: kind = 'gelu_new' } = config;
  const norm1 = layerNorm(x, read, `${name}.ln_1`, epsilon);
  using qkv = linear(norm1.y, read, `${name}.attn.c_attn`);
  const heads = attention(qkv, bias, nHead, attentionScale(config, layer), { past, padding });
  const [residual, mixed] = only ? [gather(x, only), gather(heads.y, only)] : [x, heads.y];
  using attended = linear(mixed, read, `${name}.attn.c_proj`);
  using middle = add(residual, attended);
  if (only) release(residual, heads.y);

  const norm2 = layerNorm(middle, read, `${name}.ln_2`, epsilon);
  const activation = activate(linear(norm2.y, read, `${name}.mlp.c_fc`), kind);
  using projected = linear(activation.y, read, `${name}.mlp.c_proj`);
  return { y: add(middle, projected), saved: { norm1, heads: { y: mixed, saved: heads.saved }, norm2, activation } };
}

export function blockBackward(
  dy: Handle,
  saved: BlockSaved,
  read: Read,
  layer: number,
  config: GPT2Config,
  gradients: WeightGradients,
  { padding, only }: BlockRows,
): Handle {
  const name = `h.${layer}`;
  const { norm1, heads, norm2, activation } = saved;
  using dActivated = linearBackward(dy, activation.y, read, `${name}.mlp.c_proj`, gradients);
  using dWide = activateBackward(dActivated, activation.saved, config.activation ?? 'gelu_new');
  using dNorm2 = linearBackward(dWide, norm2.y, read, `${name}.mlp.c_fc`, gradients);
  using throughMlp = layerNormBackward(dNorm2, norm2.saved, read, `${name}.ln_2`, gradients);
  using dMiddle = add(dy, throughMlp);

  using dMixed = linearBackward(dMiddle, heads.y, read, `${name}.attn.c_proj`, gradients);
  const dHeads = only ? segmentSum(dMixed, only, norm1.y.shape[0]!) : dMixed;
  using dQkv = attentionBackward(dHeads, heads.saved, attentionScale(config, layer), padding);
  if (only) release(dHeads);
  using dNorm1 = linearBackward(dQkv, norm1.y, read, `${name}.attn.c_attn`, gradients);
  using throughAttention = layerNormBackward(dNorm1, norm1.saved, read, `${name}.ln_1`, gradients);
  return only ? addRows(throughAttention, only, dMiddle) : add(dMiddle, throughAttention);
}

export type LayerNormSaved = ReturnType<typeof layerNorm>['saved'];
export type AttentionSaved = ReturnType<typeof attention>['saved'];
export type BlockSaved = ReturnType<typeof block>['saved'];
