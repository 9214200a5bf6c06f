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
import { binding, hasVectorOperations } from '../tf';
import { execute, float, op, type } from './call';
import type { Gradient } from './gradients';
import { scoped, type Handle } from './handle';
import {
  add,
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
import { asFactor, factorType, matmul, weightFactor } from './products';

/** Reads a weight by its name in GPT-2's checkpoints. */
export type Read = (name: string) => Handle;

/** Receives the gradient of the loss with respect to each weight, by the same names. */
export interface WeightGradients {
  wants(name: string): boolean;
  /** Calls `make` only if the gradient is wanted, and frees everything made in it except the result. */
  put(name: string, make: () => Gradient): void;
}

/**
 * Layer normalization of each row (arXiv 1607.06450): (x - mean) / sqrt(variance + epsilon) * weight + bias.
 *
 * @param isFactor whether to return y as products read it.
 */
export const layerNorm = scoped((x: Handle, read: Read, name: string, epsilon: number, isFactor = false) => {
  const [weight, bias] = [read(`${name}.weight`), read(`${name}.bias`)];
  if (hasVectorOperations) {
    const attributes = [float('epsilon', epsilon), type('Ty', isFactor ? factorType : binding.TF_FLOAT)];
    const made = execute('AlignbookLayerNorm', attributes, [x, weight, bias], 3);
    const [y, normalized, inverseStd] = made as [Handle, Handle, Handle];
    return { y, saved: { normalized, inverseStd } };
  }
  const mean = meanLast(x); // [N, 1]
  const variance = meanLast(squaredDifference(x, mean)); // [N, 1]
  const inverseStd = rsqrt(add(variance, constantScalar(epsilon)));
  const normalized = mul(sub(x, mean), inverseStd); // [N, C]
  const y = add(mul(normalized, weight), bias);
  return { y: isFactor ? asFactor(y) : y, saved: { normalized, inverseStd } };
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
    const weight = read(`${name}.weight`);
    if (hasVectorOperations) {
      const made = execute('AlignbookLayerNormGradient', [], [dy, normalized, inverseStd, weight], 3);
      const [dx, dWeight, dBias] = made as [Handle, Handle, Handle];
      gradients.put(`${name}.weight`, () => dWeight);
      gradients.put(`${name}.bias`, () => dBias);
      return dx;
    }
    gradients.put(`${name}.weight`, () => sumRows(mul(dy, normalized)));
    gradients.put(`${name}.bias`, () => sumRows(dy));
    const dn = mul(dy, weight); // [N, C]
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
  const y = matmul(input, factor, { columns: bias.shape[0]!, bias });
  return { y, saved: { x: input, ...kept } };
});

export const linearBackward = scoped(
  (dy: Handle, { x, weight }: LinearSaved, read: Read, name: string, gradients: WeightGradients): Handle => {
    const factor = asFactor(dy);
    gradients.put(`${name}.weight`, () => matmul(x, factor, { transposeX: true, asFactor: hasVectorOperations }));
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

/**
 * y = x gate(x), the nonlinearity between the two linear layers of a block's MLP, as products read it; relu has no
 * gate, but a kernel.
 */
export const activate = scoped((x: Handle, activation: Activation): { y: Handle; saved: ActivationSaved } => {
  if (activation === 'relu') return { y: asFactor(relu(x)), saved: { x } };
  if (activation === 'gelu') {
    const gate = normalCdf(x);
    return { y: asFactor(mul(x, gate)), saved: { x, gate } };
  }
  const { slope, cubic } = GATES[activation];
  if (hasVectorOperations) {
    const attributes = [float('slope', slope), float('cubic', cubic), type('Ty', factorType)];
    return { y: op('AlignbookSigmoidGate', attributes, x), saved: { x } };
  }
  const gate = sigmoidGate(x, GATES[activation]);
  return { y: asFactor(mul(x, gate)), saved: { x, gate } };
});

/** Whether `saved` has a gate of its own: where no operation computes it and its gradient in one pass, and for GELU. */
export const keepsGate = (activation: Activation): boolean =>
  activation === 'gelu' || (activation !== 'relu' && !hasVectorOperations);

/** dx = dy gate + dy x gate'. */
export const activateBackward = scoped((dy: Handle, { x, gate }: ActivationSaved, activation: Activation): Handle => {
  if (activation === 'relu') return reluGradient(dy, x);
  if (gate === undefined) {
    const { slope, cubic } = GATES[activation as keyof typeof GATES];
    return op('AlignbookSigmoidGateGradient', [float('slope', slope), float('cubic', cubic)], dy, x);
  }
  const direct = mul(dy, gate);
  const dGate = mul(dy, x);
  return add(
    direct,
    activation === 'gelu' ? normalCdfBackward(dGate, x) : sigmoidGateBackward(dGate, x, gate, GATES[activation]),
  );
});

export type ActivationSaved = {
  readonly x: Handle;
  /** See `keepsGate`. */
  readonly gate?: Handle;
};

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
