/**
 * Multi-head attention (arXiv 1706.03762, section 3.2.2), forward and backward (see layers.ts for axes and ownership).
 * The formulas are `attend` and `attendBackward`; around them stand heads, padding, and the keys and values of earlier
 * positions.
 */
import { bfloat16By, hasVectorOperations } from '../tf';
import { float, op, type } from './call';
import { scoped, type Handle } from './handle';
import {
  add,
  concat,
  constantScalar,
  gather,
  inFloat32,
  mul,
  putRows,
  reshape,
  softmax,
  split,
  sub,
  sumLast,
  transpose,
} from './ops';
import { asFactor, batchMatmul, factorType } from './products';

/**
 * softmax(q k' + bias) v, with q [nh, B, T, hs] already scaled, and k and v [nh, B, S, hs], all as products read them;
 * so is `mixed`, which the next layer multiplies.
 */
const attend = scoped((q: Handle, k: Handle, v: Handle, bias: Handle) => {
  const scores = add(batchMatmul(q, k, { transposeY: true }), bias); // [nh, B, T, S]
  const weights = softmax(scores); // [nh, B, T, S]
  return { mixed: batchMatmul(weights, v, { asFactor: true }), weights }; // [nh, B, T, hs]
});

/**
 * The softmax's backward needs sum(dWeights weights) over the keys, which equals sum(dMixed mixed) over the head's
 * channels.
 *
 * @returns the gradients of q, k and v, each [nh, B, T, hs]; that of q before scaling.
 */
const attendBackward = scoped(
  (dMixed: Handle, { q, k, v, weights, mixed }: AttentionSaved, scale: number): [Handle, Handle, Handle] => {
    const factor = asFactor(dMixed);
    const dv = batchMatmul(weights, factor, { transposeX: true });
    const dWeights = batchMatmul(factor, v, { transposeY: true }); // [nh, B, T, T]
    const along = sumLast(mul(dMixed, inFloat32(mixed))); // [nh, B, T, 1]
    const dScores = asFactor(mul(weights, sub(dWeights, along))); // [nh, B, T, T]
    const dq = mul(batchMatmul(dScores, k), constantScalar(scale));
    const dk = batchMatmul(dScores, q, { transposeX: true });
    return [dq, dk, dv];
  },
);

/** [B * T, heads * hs] -> [heads, B, T, hs]. */
const toHeads = scoped((x: Handle, [B, T]: readonly [number, number], heads: number): Handle => {
  const hs = x.shape[1]! / heads;
  return transpose(reshape(x, [B, T, heads, hs]), [2, 0, 1, 3]);
});

/** [heads, B, T, hs] -> [B * T, heads * hs]. */
const fromHeads = scoped((x: Handle): Handle => {
  const [heads, B, T, hs] = x.shape as [number, number, number, number];
  return reshape(transpose(x, [1, 2, 0, 3]), [B * T, heads * hs]);
});

/**
 * Attention over `qkv` [N, 3C], the queries, keys and values of each token side by side.
 *
 * @param bias [B, T, T]: 0 where a query (row) may attend to a key (column), a large negative number elsewhere. Padding
 *   attends only to itself, and no token attends to it, so the values at its places change nothing.
 * @param scale factor of the scores of a query and a key.
 * @returns y [N, C], as products read it.
 */
export const attention = scoped((qkv: Handle, bias: Handle, nHead: number, scale: number, padding?: Padding) => {
  const [B, T] = bias.shape as [number, number, number];
  const { q, k, v } = queriesKeysValues(pad(qkv, padding), [B, T], nHead, scale);
  const { mixed, weights } = attend(q, k, v, bias); // [nh, B, T, hs], [nh, B, T, T]
  return { y: unpad(fromHeads(mixed), padding), saved: { q, k, v, weights, mixed } };
});

/** @param dy [N, C]. @returns the gradient of `qkv`, [N, 3C]. */
export const attentionBackward = scoped(
  (dy: Handle, saved: AttentionSaved, scale: number, padding?: Padding): Handle => {
    const [nHead, B, T] = saved.q.shape as [number, number, number, number];
    const dMixed = toHeads(pad(dy, padding), [B, T], nHead); // [nh, B, T, hs]
    const dHeads = concat(attendBackward(dMixed, saved, scale), 0); // [3 nh, B, T, hs]
    return unpad(fromHeads(dHeads), padding);
  },
);

export type AttentionSaved = ReturnType<typeof attention>['saved'];

/** [B * T, 3C] -> scaled queries, keys, values: each [nh, B, T, hs], as products read it. */
const queriesKeysValues = scoped(
  (qkv: Handle, shape: readonly [B: number, T: number], nHead: number, scale: number) => {
    const [q, k, v] = split(toHeads(qkv, shape, 3 * nHead), 3) as [Handle, Handle, Handle];
    return { q: asFactor(mul(q, constantScalar(scale))), k: asFactor(k), v: asFactor(v) };
  },
);

// --- padding ---

/** Where tokens [N] stand in attention's padded rows. Everything else is computed once per token, without padding. */
export type Padding = {
  /** int32 [B * T]: the token at each place; at places without one, any token, whose result is never used. */
  readonly padded: Handle;
  /** int32 [N]: the place of each token. */
  readonly tokens: Handle;
};

/** Tokens [N, …] -> places [B * T, …]. */
const pad = (x: Handle, padding?: Padding): Handle => (padding ? gather(x, padding.padded) : x);
/** And back. */
const unpad = (x: Handle, padding?: Padding): Handle => (padding ? gather(x, padding.tokens) : x);

// --- earlier positions ---

/** [nh, B, S, hs] each, as products read it. */
export type KeysAndValues = { readonly k: Handle; readonly v: Handle };

/** Keys and values with room for more. */
export type Past = KeysAndValues & {
  /** int32 [nh * B]: the next free row of [nh * B * S, hs], for each head and row of the batch. */
  readonly places: Handle;
};

/**
 * Attention of one more token of each row.
 *
 * @param qkv [B, 3C]: the tokens' queries, keys and values. Keys and values take their places among those of `past`.
 * @param bias [B, 1, S], which allows the positions up to each token's own.
 * @param scale as for `attention`.
 * @returns [B, C], as products read it.
 */
export const attentionToPast = scoped((qkv: Handle, bias: Handle, scale: number, past: Past): Handle => {
  if (hasVectorOperations && bfloat16By !== 'oneDNN') {
    const attributes = [float('scale', scale), type('Ty', factorType)];
    return op('AlignbookAttendToPast', attributes, qkv, past.k, past.v, past.places);
  }
  const [nHead, B] = past.k.shape as [number, number, number, number];
  const { q, k, v } = queriesKeysValues(qkv, [B, 1], nHead, scale);
  return fromHeads(attend(q, putHeads(past.k, past.places, k), putHeads(past.v, past.places, v), bias).mixed);
});

const putHeads = scoped((x: Handle, places: Handle, rows: Handle): Handle => {
  const hs = x.shape[3]!;
  return reshape(putRows(reshape(x, [-1, hs]), places, reshape(rows, [-1, hs])), x.shape);
});
