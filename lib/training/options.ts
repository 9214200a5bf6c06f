/** What every trainer takes. */
import { RANGES, requireRange } from '../ranges';
import type { AdamWOptions } from './optimizer';
import type { Duration } from './order';
import type { ScheduleOptions } from './schedule';

export interface TrainOptions extends Duration, Omit<ScheduleOptions, 'steps'>, AdamWOptions {
  /** Rows a step. Default 16. */
  batchSize?: number;
  /** The parts into which a batch is cut, to hold less at a time; the step is the same. Default 1. */
  accumulation?: number;
  /** Gradients are scaled down to this norm; 0 leaves them as they are, as in transformers. Default 1. */
  maxGradNorm?: number;
  /** Of the rows' order, from 0 to 2^32 - 1. Default 0. */
  seed?: number;
  /** Puts rows of much the same length into one batch, which then holds little padding. Default false. */
  groupByLength?: boolean;
  /**
   * Steps between two looks at the validation rows, if there are any; the last step is always followed by one. Default
   * 50.
   */
  validateEvery?: number;
  /**
   * Also measures entropy and token accuracy in each step, as validation does; on `tiny` it takes a tenth more time.
   * Default false.
   */
  tokenMetrics?: boolean;
  /** Ends the training between two steps, with the signal's reason as the error. */
  signal?: AbortSignal;
}

/** How often to look at the validation rows. @throws InputError if it is no number of steps. */
export function validationInterval({ validateEvery = 50 }: TrainOptions): number {
  requireRange('validateEvery', validateEvery, RANGES.validated.validateEvery);
  return validateEvery;
}
