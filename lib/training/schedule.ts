/** The learning rate of each step. */
import { InputError } from '../errors';
import { RANGES, requireRanges } from '../ranges';
import { withDefaults } from './declare';
import { trainSettings } from './options';

export interface ScheduleOptions {
  /** The highest learning rate, at least 0; at 0 nothing is learned. */
  lr: number;
  /** Total number of steps. */
  steps: number;
  /**
   * Raise the learning rate linearly over this many steps, from 0 at the first step. If there are no more steps than
   * these, it never reaches `lr`, as in transformers. Default 0.
   */
  warmupSteps?: number;
  /**
   * How the learning rate falls after the warm-up: not at all (transformers' constant_with_warmup), linearly, or along
   * half a cosine. Default linear.
   */
  schedule?: 'constant' | 'linear' | 'cosine';
  /** Where it ends, as a share of `lr`. Default 0. */
  minLrRatio?: number;
}

/**
 * The learning rate of step 0, 1, …, steps - 1, equal to transformers' get_linear_schedule_with_warmup and
 * get_cosine_schedule_with_warmup (with `minLrRatio` 0).
 *
 * @throws InputError if an option is out of its range.
 */
export function learningRate(options: ScheduleOptions): (step: number) => number {
  const { lr, steps, warmupSteps, schedule, minLrRatio } = withDefaults(options, trainSettings);
  requireRanges({ lr, steps, warmupSteps, minLrRatio }, RANGES.training);
  const falls = {
    constant: () => 1,
    linear: (progress: number) => 1 - progress,
    cosine: (progress: number) => 0.5 * (1 + Math.cos(Math.PI * progress)),
  };
  const fall = Object.hasOwn(falls, schedule) ? falls[schedule] : undefined;
  if (fall === undefined) throw new InputError(`schedule must be constant, linear or cosine, got ${schedule}`);
  return (step) => {
    if (step < warmupSteps) return (lr * step) / warmupSteps;
    const progress = (step - warmupSteps) / Math.max(1, steps - warmupSteps);
    return lr * (minLrRatio + (1 - minLrRatio) * fall(progress));
  };
}
