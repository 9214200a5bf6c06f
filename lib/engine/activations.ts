/** The functions between a block's two wide layers, each a forward and a backward (see layers.ts). */
import type { Activation } from '../formats/config';
import type { Handle } from './handle';
import { add, constantScalar, erf, exp, mul, relu, reluGradient, sigmoid, sigmoidGradient, square } from './ops';

/** Its input, and what it was multiplied by. */
export type ActivationSaved = { readonly x: Handle; readonly gate: Handle };
type Activated = { readonly y: Handle; readonly saved: ActivationSaved };

/** Takes over `x`. */
export function activate(x: Handle, activation: Activation): Activated {
  if (activation === 'relu') return { y: relu(x), saved: { x, gate: x } };
  const gate = activation === 'gelu' ? cumulative(x) : sigmoidGate(x, GATES[activation]);
  return { y: mul(x, gate), saved: { x, gate } };
}

/** dx = dy gate + dy x gate'. */
export function activateBackward(dy: Handle, { x, gate }: ActivationSaved, activation: Activation): Handle {
  if (activation === 'relu') return reluGradient(dy, x);
  using direct = mul(dy, gate);
  using dGate = mul(dy, x);
  using throughGate =
    activation === 'gelu' ? cumulativeBackward(dGate, x) : sigmoidGateBackward(dGate, x, gate, GATES[activation]);
  return add(direct, throughGate);
}

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

function sigmoidGate(x: Handle, { slope, cubic }: SigmoidGate): Handle {
  using factor = cubic === 0 ? undefined : plusSquare(x, slope, slope * cubic);
  using argument = mul(factor ?? constantScalar(slope), x);
  return sigmoid(argument);
}

/** slope + factor x^2. */
function plusSquare(x: Handle, slope: number, factor: number): Handle {
  using squared = square(x);
  using scaled = mul(squared, constantScalar(factor));
  return add(scaled, constantScalar(slope));
}

function sigmoidGateBackward(dGate: Handle, x: Handle, gate: Handle, { slope, cubic }: SigmoidGate): Handle {
  using dArgument = sigmoidGradient(gate, dGate);
  if (cubic === 0) return mul(dArgument, constantScalar(slope));
  using slopes = plusSquare(x, slope, 3 * slope * cubic);
  return mul(dArgument, slopes);
}

/** The normal distribution's: (1 + erf(x / sqrt(2))) / 2. */
function cumulative(x: Handle): Handle {
  using scaled = mul(x, constantScalar(Math.SQRT1_2));
  using error = erf(scaled);
  using half = mul(error, constantScalar(0.5));
  return add(half, constantScalar(0.5));
}

/** Its derivative is the normal density, exp(-x^2 / 2) / sqrt(2 pi). */
function cumulativeBackward(dGate: Handle, x: Handle): Handle {
  using squared = square(x);
  using exponent = mul(squared, constantScalar(-0.5));
  using bell = exp(exponent);
  using density = mul(bell, constantScalar(1 / Math.sqrt(2 * Math.PI)));
  return mul(dGate, density);
}
