/** The best validation of a run so far, and when to stop waiting for a better one. */
import { InputError } from '../errors';
import { RANGES, requireRange } from '../ranges';
import { flat } from './stepNumbers';

export interface BestOptions {
  /**
   * The metric of the validation that decides: `loss`, `calibrationError` or `brier`, where lower is better, or any
   * other, such as `rewards/accuracies`, where higher is better. Default loss.
   */
  bestBy?: string;
  /** Whether higher values of that metric are better, as `greater_is_better` in transformers. Default: as above. */
  greaterIsBetter?: boolean;
  /** Stop after this many validations in a row without improvement. Default: never. */
  patience?: number;
}

const LOWER_IS_BETTER: readonly string[] = ['loss', 'calibrationError', 'brier'];

export class Best {
  readonly #bestBy: string;
  readonly #sign: 1 | -1;
  readonly #patience: number;
  #value = -Infinity;
  #step: number | undefined;
  #since = 0;

  /** @throws InputError if patience is out of its range. */
  constructor({
    bestBy = 'loss',
    patience = Infinity,
    greaterIsBetter = !LOWER_IS_BETTER.includes(bestBy),
  }: BestOptions = {}) {
    if (patience !== Infinity) requireRange('patience', patience, RANGES.run.patience);
    this.#bestBy = bestBy;
    this.#sign = greaterIsBetter ? 1 : -1;
    this.#patience = patience;
  }

  /**
   * Records a step of a training.
   *
   * @returns whether it has a validation that is the best so far; the first of equal ones counts as the best.
   * @throws InputError if its validation has no such metric.
   */
  see({ step, validation }: { readonly step: number; readonly validation?: object }): boolean {
    if (validation === undefined) return false;
    const metrics = flat(validation);
    const found = metrics.get(this.#bestBy);
    if (found === undefined)
      throw new InputError(`bestBy: the validation has no "${this.#bestBy}"; it has ${[...metrics.keys()].join(', ')}`);
    const value = this.#sign * found;
    const better = value > this.#value;
    this.#since = better ? 0 : this.#since + 1;
    if (better) [this.#value, this.#step] = [value, step];
    return better;
  }

  /** The step of the best validation; undefined before the first. */
  get step(): number | undefined {
    return this.#step;
  }

  /** Whether it is time to stop. */
  get exhausted(): boolean {
    return this.#since >= this.#patience;
  }
}
