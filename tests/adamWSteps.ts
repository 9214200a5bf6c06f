/** Steps of AdamW on made numbers, for adamW.test.ts: in its own process, prints the sha256 of what they end with. */
import { createHash } from 'node:crypto';

import { Random } from 'alignbook';
import { AdamWStep, type AdamWOptions, type AdamWState } from 'alignbook/dist/engine/adamW';
import { Gradients } from 'alignbook/dist/engine/gradients';
import { scope, type Handle } from 'alignbook/dist/engine/handle';
import { fill, floats, inBfloat16, inFloat32, readVariable, variable } from 'alignbook/dist/engine/ops';

export const OPTIONS: AdamWOptions = { lr: 0.01, beta1: 0.9, beta2: 0.95, epsilon: 1e-6, weightDecay: 0.1 };
/** To which the gradients are clipped. */
const NORM = 3;
/** More than 2^18 numbers for each of five threads, and not a multiple of anything. */
export const LARGE = 5 * 2 ** 18 + 2 ** 17 + 7;

export function numbers(size: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: size }, () => random.normal());
}

export const stateOf = (weights: Float32Array): AdamWState => {
  const shape = [weights.length, 1];
  return {
    weight: variable(floats(weights, shape)),
    m: variable(fill(shape, 0)),
    v: variable(fill(shape, 0)),
  };
};

export function valuesOf({ weight, m, v }: AdamWState): Float32Array[] {
  return [weight, m, v].map((one) => {
    using value = readVariable(one);
    return value.values() as Float32Array;
  });
}

export interface Taken {
  /** Default: `numbers(size, step)`. */
  gradient?: Float32Array | undefined;
  maxNorm?: number;
  decays?: boolean;
  /** Whether to round the gradient to bfloat16, and how to hold it then. Default: not rounded. */
  rounded?: 'bfloat16' | 'float32';
}

/** @returns the factor by which the gradient was clipped. */
export function takeStep(
  state: AdamWState,
  size: number,
  step: number,
  { gradient = numbers(size, step), maxNorm = NORM, decays = true, rounded }: Taken = {},
): number {
  using gradients = new Gradients(new Map([['weight', gradientOf(gradient, rounded)]]));
  const norm = gradients.clip(maxNorm);
  using taken = new AdamWStep(OPTIONS, step);
  taken.update(state, gradients, 'weight', decays);
  return Math.min(1, maxNorm / (norm + 1e-6));
}

function gradientOf(values: Float32Array, rounded: Taken['rounded']): Handle {
  return scope(() => {
    const whole = floats(values, [values.length, 1]);
    if (rounded === undefined) return whole;
    return rounded === 'bfloat16' ? inBfloat16(whole) : inFloat32(inBfloat16(whole));
  });
}

if (require.main === module) {
  const state = stateOf(numbers(LARGE, 0));
  // Not clipped: the norm's last bits depend on how many threads add it up.
  for (let step = 1; step <= 3; step += 1) takeStep(state, LARGE, step, { maxNorm: Infinity });
  const hash = createHash('sha256');
  for (const values of valuesOf(state)) hash.update(values);
  console.log(hash.digest('hex'));
}
