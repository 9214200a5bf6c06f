/** Which of a run's validations was the best, and when to stop waiting for a better one. */
import { InputError } from '../errors';
import { RANGES, requireRange } from '../ranges';
import { flat } from './metrics';

export interface BestOptions {
  /**
   * What counts: `loss`, of which less is better, as of `calibrationError` and `brier`, or another metric of the
   * validation, of which more is, such as `rewards/accuracies`. Default loss.
   */
  bestBy?: string;
  /** So many validations in a row that are no better end the run. Default: none do. */
  patience?: number;
}

const LESS_IS_BETTER: readonly string[] = ['loss', 'calibrationError', 'brier'];

export class Best {
  readonly #bestBy: string;
  readonly #patience: number;
  #value = -Infinity;
  #step: number | undefined;
  #since = 0;

  /** @throws InputError if patience is out of its range. */
  constructor({ bestBy = 'loss', patience = Infinity }: BestOptions = {}) {
    if (patience !== Infinity) requireRange('patience', patience, RANGES.run.patience);
    this.#bestBy = bestBy;
    this.#patience = patience;
  }

  /**
   * Takes a step of a training.
   *
   * @returns whether it carries a validation, and that is the best so far; of equals the first is.
   * @throws InputError if its validation has no such metric.
   */
  see({ step, validation }: { readonly step: number; readonly validation?: object }): boolean {
    if (validation === undefined) return false;
    const metrics = flat(validation);
    const found = metrics.get(this.#bestBy);
    if (found === undefined)
      throw new InputError(`bestBy: the validation has no "${this.#bestBy}"; it has ${[...metrics.keys()].join(', ')}`);
    const value = LESS_IS_BETTER.includes(this.#bestBy) ? -found : found;
    const better = value > this.#value;
    this.#since = better ? 0 : this.#since + 1;
    if (better) [this.#value, this.#step] = [value, step];
    return better;
  }

  /** The step of the best validation, undefined before the first. */
  get step(): number | undefined {
    return this.#step;
  }

  /** Whether it is time to stop. */
  get exhausted(): boolean {
    return this.#since >= this.#patience;
  }
}
