/** The learning rate of each step. */
import { InputError } from '../errors';
import { RANGES, requireRanges } from '../ranges';

export interface ScheduleOptions {
  /** The highest learning rate, from 0 up; at 0 nothing is learned. */
  lr: number;
  /** Steps in all. */
  steps: number;
  /**
   * Steps over which it rises in a line from 0, which is that of the first step. Where there are no more steps than
   * these, it never comes
   * to `lr`, as in transformers. Default 0.
   */
  warmupSteps?: number;
  /**
   * How it falls afterwards: not at all (transformers' constant_with_warmup), in a line, or along half a cosine.
   * Default linear.
   */
  schedule?: 'constant' | 'linear' | 'cosine';
  /** Where it ends, as a fraction of `lr`. Default 0. */
  minLrRatio?: number;
}

/**
 * The learning rate of step 0, 1, …, steps - 1, as transformers' get_linear_schedule_with_warmup and
 * get_cosine_schedule_with_warmup have it (with `minLrRatio` 0).
 *
 * @throws InputError if an option is out of its range.
 */
export function learningRate({
  lr,
  steps,
  warmupSteps = 0,
  schedule = 'linear',
  minLrRatio = 0,
}: ScheduleOptions): (step: number) => number {
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
