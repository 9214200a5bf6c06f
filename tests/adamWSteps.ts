/** Steps of AdamW on made numbers, for adamW.test.ts: in its own process, prints the sha256 of what they end with. */
import { createHash } from 'node:crypto';

import { Random } from 'alignbook';
import { AdamWStep, type AdamWOptions, type AdamWState } from 'alignbook/dist/engine/adamW';
import { Gradients } from 'alignbook/dist/engine/gradients';
import { fill, floats, readVariable, variable } from 'alignbook/dist/engine/ops';

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
}

/** @returns the factor by which the gradient was clipped. */
export function takeStep(
  state: AdamWState,
  size: number,
  step: number,
  { gradient = numbers(size, step), maxNorm = NORM, decays = true }: Taken = {},
): number {
  using gradients = new Gradients(new Map([['weight', floats(gradient, [size, 1])]]));
  const norm = gradients.clip(maxNorm);
  using taken = new AdamWStep(OPTIONS, step);
  taken.update(state, gradients, 'weight', decays);
  return Math.min(1, maxNorm / (norm + 1e-6));
}

if (require.main === module) {
  const state = stateOf(numbers(LARGE, 0));
  // Not clipped: the norm's last bits depend on how many threads add it up.
  for (let step = 1; step <= 3; step += 1) takeStep(state, LARGE, step, { maxNorm: Infinity });
  const hash = createHash('sha256');
  for (const values of valuesOf(state)) hash.update(values);
  console.log(hash.digest('hex'));
}
