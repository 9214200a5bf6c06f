/** AdamW (arXiv 1711.05101) in place: weights, moments and the step live in TensorFlow's variables. */
import type { Gradients } from '../engine/gradients';
import { release, type Handle } from '../engine/handle';
import { applyAdam, assign, assignSub, fill, floats, mul, readVariable, scalar, variable } from '../engine/ops';
import type { Variables } from '../engine/variables';
import { InputError } from '../errors';
import { RANGES, requireRange, requireRanges } from '../ranges';
import { tf } from '../tf';

export interface AdamWOptions {
  /** In [0, 1). Default 0.9. */
  beta1?: number;
  /** In [0, 1). Default 0.999. */
  beta2?: number;
  /**
   * Above 0: without it a weight whose gradient is 0, such as the embedding of a token that no row has, becomes 0 / 0.
   * Default 1e-8.
   */
  epsilon?: number;
  /**
   * From 0 to 1 / lr, or to 1. Of matrices only, as GPT-2 was trained: biases and layer norms are left alone. Default
   * 0.01.
   */
  weightDecay?: number;
  /**
   * Weights that stay as they are, by name or by its beginning up to a dot: `wte`, `h.0`, `h.1.attn`; of a model with
   * adapters, those. Default: none.
   */
  frozen?: readonly string[];
}

/**
 * The same steps as torch.optim.AdamW: w -= lr weightDecay w, then Adam with bias correction, whose epsilon is added
 * after it.
 */
export class AdamW {
  readonly #options: Required<Omit<AdamWOptions, 'frozen'>>;
  readonly #frozen: ReadonlySet<string>;
  readonly #moments = new Map<string, { m: Handle; v: Handle }>();
  #steps = 0;

  constructor(
    private readonly weights: Variables,
    { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0.01, frozen = [] }: AdamWOptions = {},
  ) {
    requireRanges({ beta1, beta2, epsilon, weightDecay }, RANGES.training);
    this.#options = { beta1, beta2, epsilon, weightDecay };
    this.#frozen = frozenNames(weights.names, frozen);
    // Now, so that what stays lies together, and not between what comes and goes in each step.
    for (const name of this.names) {
      const shape = weights.shape(name);
      this.#moments.set(name, { m: variable(fill(shape, 0)), v: variable(fill(shape, 0)) });
    }
  }

  /** Whether it changes a weight. */
  trains(name: string): boolean {
    return !this.#frozen.has(name);
  }

  /** The weights that it changes, in the order of the forward pass. */
  get names(): string[] {
    return this.weights.names.filter((name) => this.trains(name));
  }

  /** Steps taken so far. */
  get steps(): number {
    return this.#steps;
  }

  /**
   * Changes the weights in place and disposes of the gradients; those of frozen weights are passed over.
   *
   * @param lr the learning rate of this step.
   * @throws InputError if lr is not a number from 0 up. The weights are then as they were.
   */
  step(gradients: Gradients, lr: number): void {
    requireRange('lr', lr, RANGES.training.lr);
    const { beta1, beta2, epsilon, weightDecay } = this.#options;
    this.#steps += 1;
    const scalars = {
      beta1Power: scalar(beta1 ** this.#steps),
      beta2Power: scalar(beta2 ** this.#steps),
      lr: scalar(lr),
      beta1: scalar(beta1),
      beta2: scalar(beta2),
      // TensorFlow adds epsilon to sqrt(v), PyTorch to sqrt(v / (1 - beta2^t)).
      epsilon: scalar(epsilon * Math.sqrt(1 - beta2 ** this.#steps)),
    };
    using decayRate = scalar(lr * weightDecay);
    const decays = Math.fround(1 - lr * weightDecay) < 1; // else w - rate w is w, in float32
    const size = (name: string) => tf.util.sizeFromShape([...this.weights.shape(name)]);
    // The largest last: its temporary copies find the room that the other gradients have left.
    const names = gradients.names.filter((candidate) => this.trains(candidate)).sort((a, b) => size(a) - size(b));
    for (const name of names) {
      const weight = this.weights.variable(name);
      // before a gradient in parts becomes a whole one
      if (decays && this.weights.shape(name).length > 1) decay(weight, decayRate);
      using gradient = gradients.take(name);
      const { m, v } = this.#moments.get(name)!;
      applyAdam(weight, m, v, scalars, gradient);
    }
    release(scalars);
    gradients[Symbol.dispose]();
  }

  /**
   * A copy of the running mean of a weight's gradients (m) or of their squares (v), for a checkpoint; zeros before the
   * first step.
   */
  moment(kind: 'm' | 'v', name: string): Float32Array {
    using handle = readVariable(this.#moments.get(name)![kind]);
    return handle.values() as Float32Array;
  }

  /** Goes on from a checkpoint: after so many steps, with the moments that `values` gives. */
  restore(steps: number, values: (kind: 'm' | 'v', name: string) => Float32Array): void {
    this.#steps = steps;
    for (const name of this.names) {
      const moments = this.#moments.get(name)!;
      for (const kind of ['m', 'v'] as const)
        assign(moments[kind], floats(values(kind, name), this.weights.shape(name)));
    }
  }

  dispose(): void {
    for (const moments of this.#moments.values()) release(moments);
    this.#moments.clear();
  }
}

/**
 * The names among a model's weights that `frozen` stands for.
 * @throws InputError if one stands for none, or all are frozen.
 */
export function frozenNames(names: readonly string[], frozen: readonly string[]): Set<string> {
  const found = frozen.map((beginning) =>
    names.filter((name) => name === beginning || name.startsWith(`${beginning}.`)),
  );
  const unknown = frozen.find((_, n) => found[n]!.length === 0);
  if (unknown !== undefined)
    throw new InputError(
      `frozen: no weight is or begins with "${unknown}"; the model has ${names.slice(0, 3).join(', ')}, …, ${names.at(-1)}`,
    );
  const all = new Set(found.flat());
  if (all.size === names.length) throw new InputError('frozen names every weight, so that nothing is left to train');
  return all;
}

/**
 * w -= rate w, in place: a product put in its place would leave a hole in memory as large as the weight, somewhere else
 * in each step.
 */
function decay(weight: Handle, rate: Handle): void {
  const value = readVariable(weight);
  using lost = mul(value, rate);
  release(value);
  assignSub(weight, lost);
}
