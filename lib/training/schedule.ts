/** The learning rate of each step. */
import { InputError } from '../errors';

export interface ScheduleOptions {
  /** The highest learning rate. */
  lr: number;
  /** Steps in all. */
  steps: number;
  /** Steps over which it rises in a line from 0, not counting 0 itself. Default 0. */
  warmupSteps?: number;
  /** How it falls afterwards: not at all, in a line, or along half a cosine. Default linear. */
  schedule?: 'constant' | 'linear' | 'cosine';
  /** Where it ends, as a share of `lr`. Default 0. */
  finalShare?: number;
}

/**
 * The learning rate of step 0, 1, …, steps - 1, as transformers' get_linear_schedule_with_warmup and
 * get_cosine_schedule_with_warmup have it (with `finalShare` 0).
 *
 * @throws InputError if an option is out of its range.
 */
export function learningRate({ lr, steps, warmupSteps = 0, schedule = 'linear', finalShare = 0 }: ScheduleOptions): (step: number) => number {
  if (!(lr >= 0 && lr < Infinity)) throw new InputError(`lr must be a number from 0 up, got ${lr}`);
  if (!Number.isInteger(steps) || steps < 1) throw new InputError(`steps must be a whole number from 1 up, got ${steps}`);
  if (!Number.isInteger(warmupSteps) || warmupSteps < 0) throw new InputError(`warmupSteps must be a whole number from 0 up, got ${warmupSteps}`);
  if (!(finalShare >= 0 && finalShare <= 1)) throw new InputError(`finalShare must be in [0, 1], got ${finalShare}`);
  const falls = {
    constant: () => 1,
    linear: (progress: number) => 1 - progress,
    cosine: (progress: number) => 0.5 * (1 + Math.cos(Math.PI * progress)),
  };
  const fall = falls[schedule];
  if (fall === undefined) throw new InputError(`schedule must be constant, linear or cosine, got ${schedule}`);
  return (step) => {
    if (step < warmupSteps) return (lr * step) / warmupSteps;
    const progress = (step - warmupSteps) / Math.max(1, steps - warmupSteps);
    return lr * (finalShare + (1 - finalShare) * fall(progress));
  };
}
