/** What commands share that talk to a terminal: a status line, a bar of steps, durations, the check of stop texts. */
import { stepProgress } from '../training/stepProgress';
import { UsageError } from './commandLine';

/**
 * Writes one line to standard error over the previous one if it is a terminal; otherwise writes nothing. What does not
 * fit is cut off: of a line that the terminal breaks, only the last row could be written over.
 */
export function statusLine(text: string): void {
  const { isTTY, columns } = process.stderr;
  if (isTTY) process.stderr.write(`\r\x1b[K${text.slice(0, (columns || 80) - 1)}`);
}

/** Formats a time in milliseconds as "42 s" or "3 min 5 s". */
export function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  return seconds < 100 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** @throws UsageError if one of the stop texts is empty: it would end an answer before its first token. */
export function requireStops(stop: readonly string[] = []): void {
  if (stop.includes('')) throw new UsageError('--stop is empty; give a text that ends the answer');
}

/**
 * Shows the steps of a training: on a terminal a bar that is redrawn in place, elsewhere a line now and then.
 *
 *     step 17 of 50 [######              ]  2.1 steps/s  0:16 left  loss 0.6512  margin 0.120  accuracy 0.75
 *
 * @param first the step after which this process began; the rate is that of its own steps.
 */
export function stepLines(steps: number, first: number): (step: number, text: string) => void {
  const progress = stepProgress(steps);
  const every = Math.max(1, Math.round(steps / 20));
  return (step, text) => {
    const { head, rate } = progress(step);
    if (process.stderr.isTTY) statusLine([head, rate, text].filter((part) => part !== '').join('  '));
    else if (step === first + 1 || step % every === 0)
      console.log([`step ${step} of ${steps}`, text, rate].filter((part) => part !== '').join('  '));
  };
}
