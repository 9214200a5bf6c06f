/** The progress of a training in words: a bar, the rate, and the time left. */
import { bar, minutes } from '../hub/progress';

export interface StepProgress {
  /** `step 17 of 50 [######              ]` */
  readonly head: string;
  /** `2.1 steps/s  0:16 left`; empty for the first step, after which there is nothing to measure yet. */
  readonly rate: string;
}

/**
 * The rate is the mean since the end of the first step that is seen: what comes before, such as a reference's
 * log-probs, happens only once, and the steps before a resume took no time here.
 *
 * @param now a monotonic clock, in milliseconds.
 * @returns a function to call after each step.
 */
export function stepProgress(
  steps: number,
  now: () => number = () => performance.now(),
): (step: number) => StepProgress {
  let first: { step: number; time: number } | undefined;
  return (step) => {
    const time = now();
    first ??= { step, time };
    const head = `step ${step} of ${steps} [${bar(Math.min(1, step / steps))}]`;
    const seconds = (time - first.time) / 1000;
    if (step <= first.step || seconds <= 0) return { head, rate: '' };
    const speed = (step - first.step) / seconds;
    const shown = speed < 1 ? `${(1 / speed).toFixed(1)} s/step` : `${speed.toFixed(1)} steps/s`;
    return { head, rate: `${shown}  ${minutes(Math.max(0, steps - step) / speed)} left` };
  };
}
