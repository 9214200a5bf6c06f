/** AdamW: weights and moments are TensorFlow variables, and change in place. */
import { AdamWStep } from '../engine/adamW';
import type { Gradients } from '../engine/gradients';
import { release, type Handle } from '../engine/handle';
import { assign, fill, floats, readVariable, variable } from '../engine/ops';
import type { Variables } from '../engine/variables';
import { InputError } from '../errors';
import { RANGES, requireRange, requireRanges } from '../ranges';
import { tf } from '../tf';
import { withDefaults } from './declare';
import { trainSettings } from './options';

export interface AdamWOptions {
  /** In [0, 1). Default 0.9. */
  beta1?: number;
  /** In [0, 1). Default 0.999. */
  beta2?: number;
  /**
   * Above 0: without it, a weight whose gradient is 0, such as the embedding of a token that is in no row, would become
   * 0 / 0. Default 1e-8.
   */
  epsilon?: number;
  /**
   * From 0 to the larger of 1 and 1 / lr. Applies to matrices only, as in GPT-2's training, not to biases and layer
   * norms. Default 0.01.
   */
  weightDecay?: number;
  /**
   * Do not train these weights, given by name or by the beginning of a name up to a dot: `wte`, `h.0`, `h.1.attn`. In a
   * model with adapters, the names are those of the adapters. Default: none.
   */
  frozen?: readonly string[];
}

/**
 * The steps of torch.optim.AdamW: w -= lr weightDecay w, then Adam with bias correction, with epsilon added after the
 * correction.
 */
export class AdamW {
  readonly #options: Required<Omit<AdamWOptions, 'frozen'>>;
  readonly #frozen: ReadonlySet<string>;
  readonly #moments = new Map<string, { m: Handle; v: Handle }>();
  readonly #weights: Variables;
  #steps = 0;

  constructor(weights: Variables, options: AdamWOptions = {}) {
    const { beta1, beta2, epsilon, weightDecay, frozen = [] } = withDefaults(options, trainSettings);
    requireRanges({ beta1, beta2, epsilon, weightDecay }, RANGES.training);
    if (weights.areHalf)
      throw new InputError(
        'weights held in BF16 stay as they are, because most updates would round to nothing; ' +
          'train adapters on them (LoRA), or load the model in F32',
      );
    this.#weights = weights;
    this.#options = { beta1, beta2, epsilon, weightDecay };
    this.#frozen = frozenNames(weights.names, frozen);
    // Allocated now, so that lasting memory is contiguous instead of scattered between a step's temporaries.
    for (const name of this.names) {
      const shape = weights.shape(name);
      this.#moments.set(name, { m: variable(fill(shape, 0)), v: variable(fill(shape, 0)) });
    }
  }

  /** Whether this weight is trained. */
  trains(name: string): boolean {
    return !this.#frozen.has(name);
  }

  /** The names of the trained weights, in the order of the forward pass. */
  get names(): string[] {
    return this.#weights.names.filter((name) => this.trains(name));
  }

  /** Steps taken so far. */
  get steps(): number {
    return this.#steps;
  }

  /**
   * Updates the weights in place and disposes of the gradients. Gradients of frozen weights are ignored.
   *
   * @param lr the learning rate of this step.
   * @throws InputError if lr is not a number from 0 up. The weights are then unchanged.
   */
  step(gradients: Gradients, lr: number): void {
    requireRange('lr', lr, RANGES.training.lr);
    this.#steps += 1;
    using step = new AdamWStep({ ...this.#options, lr }, this.#steps);
    const size = (name: string) => tf.util.sizeFromShape([...this.#weights.shape(name)]);
    // The largest last: its temporary copies fit into the memory that the other gradients have freed.
    const names = gradients.names.filter((candidate) => this.trains(candidate)).sort((a, b) => size(a) - size(b));
    for (const name of names) {
      const state = { weight: this.#weights.variable(name), ...this.#moments.get(name)! };
      step.update(state, gradients, name, this.#weights.shape(name).length > 1);
    }
    gradients[Symbol.dispose]();
  }

  /**
   * A copy of the running mean of a weight's gradients (m) or of their squares (v), for a checkpoint. All zeros before
   * the first step.
   */
  moment(kind: 'm' | 'v', name: string): Float32Array {
    using handle = readVariable(this.#moments.get(name)![kind]);
    return handle.values() as Float32Array;
  }

  /** Continues from a checkpoint: after `steps` steps, with the moments that `values` gives. */
  restore(steps: number, values: (kind: 'm' | 'v', name: string) => Float32Array): void {
    this.#steps = steps;
    for (const name of this.names) {
      const moments = this.#moments.get(name)!;
      for (const kind of ['m', 'v'] as const)
        assign(moments[kind], floats(values(kind, name), this.#weights.shape(name)));
    }
  }

  dispose(): void {
    for (const moments of this.#moments.values()) release(moments);
    this.#moments.clear();
  }
}

/**
 * The names of the weights that `frozen` selects.
 *
 * @throws InputError if an entry selects none, or all are frozen.
 */
export function frozenNames(names: readonly string[], frozen: readonly string[]): Set<string> {
  const found = frozen.map((beginning) =>
    names.filter((name) => name === beginning || name.startsWith(`${beginning}.`)),
  );
  const unknown = frozen.find((_, n) => found[n]!.length === 0);
  if (unknown !== undefined)
    throw new InputError(
      `frozen: no weight is named, or begins with, "${unknown}"; ` +
        `the model has ${names.slice(0, 3).join(', ')}, …, ${names.at(-1)}`,
    );
  const all = new Set(found.flat());
  if (all.size === names.length)
    throw new InputError('frozen selects every weight, so nothing is left to train; freeze fewer');
  return all;
}
