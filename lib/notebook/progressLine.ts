/**
 * Shows the progress of a training run: one line that is overwritten in a notebook, or a line now and then in a
 * console.
 */
import { bar, minutes } from '../hub/progress';
import { liveOutput } from './show';

/** Milliseconds between two lines. In a notebook the new line replaces the old one. */
const EVERY = { notebook: 200, console: 10_000 };

/** A width, in characters, that fits the output of every cell. Values that would exceed it go on a separate line. */
const WIDTH = 100;

export interface ProgressLine {
  step(step: number, values: readonly (readonly [name: string, value: number])[]): void;
  /** Writes the last line. It contains no times or rates, because it stays in the notebook. */
  end(text: string): void;
}

/**
 *     step 17 of 50 [######              ]  2.1 steps/s  0:16 left  loss 0.6512  accuracy 0.7500
 *
 * The rate is the mean since the end of the first step: what comes before, such as a reference's log-probs, happens
 * only once.
 *
 * @param now a monotonic clock, in milliseconds.
 */
export function progressLine(steps: number, now: () => number = () => performance.now()): ProgressLine {
  const output = liveOutput();
  const write = output
    ? (text: string) => output({ data: { 'text/plain': text }, metadata: {} })
    : (text: string) => console.log(text);
  const every = output ? EVERY.notebook : EVERY.console;
  let first: { step: number; time: number } | undefined;
  let written = -Infinity;
  if (output) write(`step 0 of ${steps} [${bar(0)}]`);
  return {
    step(step, values) {
      const time = now();
      first ??= { step, time };
      if (time - written < every) return;
      written = time;
      const speed = step > first.step ? ((step - first.step) / (time - first.time)) * 1000 : 0;
      const rate =
        speed === 0
          ? ''
          : `  ${speed < 1 ? `${(1 / speed).toFixed(1)} s/step` : `${speed.toFixed(1)} steps/s`}  ` +
            `${minutes(Math.max(0, steps - step) / speed)} left`;
      const head = `step ${step} of ${steps} [${bar(Math.min(1, step / steps))}]${rate}`;
      const tail = values.map(([name, value]) => `${name} ${digits(value)}`).join('  ');
      write(`${head}${head.length + tail.length > WIDTH ? '\n' : '  '}${tail}`);
    },
    end: write,
  };
}

/** Four decimal places if those suffice, otherwise an exponent. */
function digits(value: number): string {
  return value === 0 || Math.abs(value) >= 1e-3 ? value.toFixed(4) : value.toExponential(2);
}
