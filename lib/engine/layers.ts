/**
 * The layers of GPT-2, each a forward and a backward: layer norm, linear, GELU and the other activations. Attention has
 * a file of its own.
 *
 * A forward returns its output `y` and `saved`, the intermediates that its backward needs; the caller owns both, and
 * releases `saved` where no backward will follow. A backward takes dy, the gradient of the loss with respect to y,
 * returns the gradient with respect to x, and puts those of the layer's weights into `gradients`. It releases none of
 * its arguments.
 *
 * Axes: B rows of the batch, T positions, N = B * T tokens, C channels, nh heads, hs = C / nh channels per head.
 * Activations are float32 matrices [N, C], as in llm.c: every product is then one MatMul. Those that only products
 * read are kept as products read them (`asFactor`).
 */
import type { Activation } from '../formats/config';
import type { Gradient } from './gradients';
import { scoped, type Handle } from './handle';
import {
  add,
  biasAdd,
  constantScalar,
  erf,
  exp,
  meanLast,
  mul,
  relu,
  reluGradient,
  rsqrt,
  sigmoid,
  sigmoidGradient,
  square,
  squaredDifference,
  sub,
  sumRows,
} from './ops';
import { asFactor, matmul, weightFactor } from './products';

/** Reads a weight by its name in GPT-2's checkpoints. */
export type Read = (name: string) => Handle;

/** Receives the gradient of the loss with respect to each weight, by the same names. */
export interface WeightGradients {
  wants(name: string): boolean;
  /** Calls `make` only if the gradient is wanted, and frees everything made in it except the result. */
  put(name: string, make: () => Gradient): void;
}

/** Layer normalization of each row (arXiv 1607.06450): (x - mean) / sqrt(variance + epsilon) * weight + bias. */
export const layerNorm = scoped((x: Handle, read: Read, name: string, epsilon: number) => {
  const mean = meanLast(x); // [N, 1]
  const variance = meanLast(squaredDifference(x, mean)); // [N, 1]
  const inverseStd = rsqrt(add(variance, constantScalar(epsilon)));
  const normalized = mul(sub(x, mean), inverseStd); // [N, C]
  const y = add(mul(normalized, read(`${name}.weight`)), read(`${name}.bias`));
  return { y, saved: { normalized, inverseStd } };
});

/** dx = (dn - mean(dn) - normalized mean(dn normalized)) / std, where dn = dy weight. */
export const layerNormBackward = scoped(
  (
    dy: Handle,
    { normalized, inverseStd }: LayerNormSaved,
    read: Read,
    name: string,
    gradients: WeightGradients,
  ): Handle => {
    gradients.put(`${name}.weight`, () => sumRows(mul(dy, normalized)));
    gradients.put(`${name}.bias`, () => sumRows(dy));
    const dn = mul(dy, read(`${name}.weight`)); // [N, C]
    const along = mul(normalized, meanLast(mul(dn, normalized)));
    return mul(sub(sub(dn, meanLast(dn)), along), inverseStd);
  },
);

export type LayerNormSaved = ReturnType<typeof layerNorm>['saved'];

/** x W + b. GPT-2's checkpoints store W as [in, out], so nothing is transposed. */
export const linear = scoped((x: Handle, read: Read, name: string): { y: Handle; saved: LinearSaved } => {
  const bias = read(`${name}.bias`);
  const { factor, kept } = weightFactor(read(`${name}.weight`));
  const input = asFactor(x);
  const y = biasAdd(matmul(input, factor, { columns: bias.shape[0]! }), bias);
  return { y, saved: { x: input, ...kept } };
});

export const linearBackward = scoped(
  (dy: Handle, { x, weight }: LinearSaved, read: Read, name: string, gradients: WeightGradients): Handle => {
    const factor = asFactor(dy);
    gradients.put(`${name}.weight`, () => matmul(x, factor, { transposeX: true }));
    gradients.put(`${name}.bias`, () => sumRows(dy));
    return matmul(factor, weight ?? read(`${name}.weight`), { transposeY: true });
  },
);

export type LinearSaved = {
  /** [N, in], as products read it. */
  readonly x: Handle;
  /** [in, out], where the forward rounded it; else the backward reads it again. */
  readonly weight?: Handle;
};

/** y = x gate(x), the nonlinearity between the two linear layers of a block's MLP; relu has no gate, but a kernel. */
export const activate = scoped((x: Handle, activation: Activation) => {
  if (activation === 'relu') return { y: relu(x), saved: { x, gate: x } };
  const gate = activation === 'gelu' ? normalCdf(x) : sigmoidGate(x, GATES[activation]);
  return { y: mul(x, gate), saved: { x, gate } };
});

/** dx = dy gate + dy x gate'. */
export const activateBackward = scoped((dy: Handle, { x, gate }: ActivationSaved, activation: Activation): Handle => {
  if (activation === 'relu') return reluGradient(dy, x);
  const direct = mul(dy, gate);
  const dGate = mul(dy, x);
  return add(
    direct,
    activation === 'gelu' ? normalCdfBackward(dGate, x) : sigmoidGateBackward(dGate, x, gate, GATES[activation]),
  );
});

export type ActivationSaved = ReturnType<typeof activate>['saved'];

/** sigmoid(slope (x + cubic x^3)). */
interface SigmoidGate {
  readonly slope: number;
  readonly cubic: number;
}

/**
 * gelu_new is the tanh form of arXiv 1606.08415, x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))), computed as
 * x * sigmoid(2 sqrt(2/pi) * (x + 0.044715 x^3)), which is the same function with fewer operations; quick_gelu and silu
 * are x * sigmoid(slope x).
 */
const GATES: Readonly<Record<'gelu_new' | 'quick_gelu' | 'silu', SigmoidGate>> = {
  gelu_new: { slope: 2 * Math.sqrt(2 / Math.PI), cubic: 0.044715 },
  quick_gelu: { slope: 1.702, cubic: 0 },
  silu: { slope: 1, cubic: 0 },
};

const sigmoidGate = scoped((x: Handle, { slope, cubic }: SigmoidGate): Handle => {
  const factor = cubic === 0 ? constantScalar(slope) : plusSquare(x, slope, slope * cubic);
  return sigmoid(mul(factor, x));
});

const sigmoidGateBackward = scoped((dGate: Handle, x: Handle, gate: Handle, { slope, cubic }: SigmoidGate): Handle => {
  const dArgument = sigmoidGradient(gate, dGate);
  return mul(dArgument, cubic === 0 ? constantScalar(slope) : plusSquare(x, slope, 3 * slope * cubic));
});

/** slope + factor x^2. */
const plusSquare = scoped((x: Handle, slope: number, factor: number): Handle =>
  add(mul(square(x), constantScalar(factor)), constantScalar(slope)),
);

/** The normal distribution's cumulative function, (1 + erf(x / sqrt(2))) / 2. */
const normalCdf = scoped((x: Handle): Handle => {
  const half = mul(erf(mul(x, constantScalar(Math.SQRT1_2))), constantScalar(0.5));
  return add(half, constantScalar(0.5));
});

/** Its derivative is the normal density, exp(-x^2 / 2) / sqrt(2 pi). */
const normalCdfBackward = scoped((dGate: Handle, x: Handle): Handle => {
  const bell = exp(mul(square(x), constantScalar(-0.5)));
  return mul(dGate, mul(bell, constantScalar(1 / Math.sqrt(2 * Math.PI))));
});
