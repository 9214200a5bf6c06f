/**
 * The layers of GPT-2. Each returns its output `y` and `saved`, the intermediates that its backward needs; who called
 * it owns both, and releases `saved` where no backward will follow.
 *
 * Axes: B rows of the batch, T positions, N = B * T, C channels, nh heads, hs = C / nh channels a head.
 * Activations are matrices [N, C], as in llm.c: every product is then one MatMul.
 */
import {
  add,
  batchMatmul,
  biasAdd,
  matmul,
  meanLast,
  mul,
  release,
  reshape,
  rsqrt,
  scalar,
  sigmoid,
  softmax,
  split,
  square,
  squaredDifference,
  sub,
  transpose,
  type Handle,
} from './ops';

/** A weight by the name that GPT-2's checkpoints give it. */
export type Read = (name: string) => Handle;

/** Layer normalization of each row (arXiv 1607.06450): (x - mean) / sqrt(variance + epsilon) * weight + bias. */
export function layerNorm(x: Handle, read: Read, name: string, epsilon: number) {
  using mean = meanLast(x);
  using squares = squaredDifference(x, mean);
  using variance = meanLast(squares);
  using shifted = add(variance, scalar(epsilon));
  using centred = sub(x, mean);
  const inverseStd = rsqrt(shifted);
  const normalized = mul(centred, inverseStd);
  using scaled = mul(normalized, read(`${name}.weight`));
  const y = add(scaled, read(`${name}.bias`));
  return { y, saved: { normalized, inverseStd } };
}

/** x W + b. GPT-2's checkpoints keep W as [in, out], so nothing is transposed. */
export function linear(x: Handle, read: Read, name: string): Handle {
  using product = matmul(x, read(`${name}.weight`));
  return biasAdd(product, read(`${name}.bias`));
}

/**
 * gelu_new, the tanh form of arXiv 1606.08415: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))), computed as
 * x * sigmoid(2 sqrt(2/pi) * (x + 0.044715 x^3)), which is the same function with fewer operations.
 */
export function gelu(x: Handle) {
  const slope = 2 * Math.sqrt(2 / Math.PI);
  using squared = square(x);
  using cubic = mul(squared, scalar(slope * 0.044715));
  using factor = add(cubic, scalar(slope));
  using argument = mul(factor, x);
  const gate = sigmoid(argument);
  return { y: mul(x, gate), saved: { x, gate } };
}

/**
 * Multi-head attention softmax(q k' / sqrt(hs) + bias) v (arXiv 1706.03762, Eq. 1) over `qkv` [N, 3C].
 *
 * @param bias [B, T, T]: 0 where a query (row) may look at a key (column), a large negative number elsewhere.
 */
export function attention(qkv: Handle, bias: Handle, nHead: number) {
  const [B, T] = bias.shape as [number, number, number];
  const C = qkv.shape[1]! / 3;
  const hs = C / nHead;

  using byHead = reshape(qkv, [B, T, 3 * nHead, hs]);
  using headsFirst = transpose(byHead, [2, 0, 1, 3]); // [3 nh, B, T, hs]
  const [unscaled, k, v] = split(headsFirst, 3) as [Handle, Handle, Handle]; // each [nh, B, T, hs]
  const q = mul(unscaled, scalar(1 / Math.sqrt(hs)));
  release(unscaled);

  using scores = batchMatmul(q, k, { transposeY: true }); // [nh, B, T, T]
  using biased = add(scores, bias);
  const weights = softmax(biased);
  const mixed = batchMatmul(weights, v); // [nh, B, T, hs]
  using rowsFirst = transpose(mixed, [1, 2, 0, 3]); // [B, T, nh, hs]
  return { y: reshape(rowsFirst, [B * T, C]), saved: { q, k, v, weights, mixed } };
}

/** One pre-norm transformer block: x + attention(ln_1(x)), then + mlp(ln_2(·)). */
export function block(x: Handle, bias: Handle, read: Read, name: string, { nHead, epsilon }: { nHead: number; epsilon: number }) {
  const norm1 = layerNorm(x, read, `${name}.ln_1`, epsilon);
  using qkv = linear(norm1.y, read, `${name}.attn.c_attn`);
  const heads = attention(qkv, bias, nHead);
  using attended = linear(heads.y, read, `${name}.attn.c_proj`);
  using middle = add(x, attended);

  const norm2 = layerNorm(middle, read, `${name}.ln_2`, epsilon);
  const activation = gelu(linear(norm2.y, read, `${name}.mlp.c_fc`));
  using projected = linear(activation.y, read, `${name}.mlp.c_proj`);
  return { y: add(middle, projected), saved: { norm1, heads, norm2, activation } };
}
