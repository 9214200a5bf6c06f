/** What every trainer checks of its settings before it computes anything, so that no step is lost to a wrong one. */
import { InputError } from '../errors';
import { requireRanges, type Range } from '../ranges';
import { requireParts } from './accumulate';
import type { TrainOptions } from './options';
import { requireDuration } from './order';
import { learningRate } from './schedule';

/** Rows that are computed at once: no machine has room for so many. */
const MOST_ROWS = 2 ** 16;

/**
 * @param ranges of all numbers among the options.
 * @param rowsAnUpdate what `accumulation` cuts into parts.
 * @throws InputError naming the setting, its range and its value.
 */
export function requireTraining(
  options: Omit<TrainOptions, 'groupByLength' | 'validateEvery' | 'tokenMetrics'>,
  ranges: Readonly<Record<string, Range>>,
  rowsAnUpdate: number,
): void {
  requireRanges(options, ranges);
  requireDuration(options);
  learningRate({ ...options, steps: options.steps ?? 1 }); // refuses a schedule that it does not know
  const { lr, weightDecay = 0, accumulation = 1 } = options;
  if (weightDecay > 1 && lr * weightDecay > 1) {
    // up to 1 it is lr that is too high, which the losses show
    throw new InputError(
      `weightDecay must be at most 1 / lr (${1 / lr}), got ${weightDecay}: each step would change the sign of every weight`,
    );
  }
  requireParts(rowsAnUpdate, accumulation);
  const rows = rowsAnUpdate / accumulation;
  if (rows > MOST_ROWS)
    throw new InputError(
      `batchSize: ${rows} rows would be computed at once, and at most ${MOST_ROWS} are; lower it, or raise accumulation, which gives the same sum`,
    );
}

/** @throws InputError naming the rows of an evaluation, from `start` on, whose loss is no number. */
export function requireFiniteLoss(loss: number, start: number, count: number): void {
  if (!Number.isFinite(loss))
    throw new InputError(
      `rows ${start + 1} to ${start + count}: their loss is ${loss}; the model's weights or its sums are too large to compute with`,
    );
}

/**
 * Whether another model's window has room for all that it will be asked about.
 *
 * @param what the setting that names it, and `name` its value.
 * @param longest tokens of the longest text.
 * @throws InputError if it has not: a run would end in the middle.
 */
export function requireWindow(
  what: string,
  name: string,
  { blockSize }: { readonly blockSize: number },
  longest: number,
  remedy: string,
): void {
  if (longest > blockSize)
    throw new InputError(
      `${what} ${name} has a window of ${blockSize} tokens, and the longest text comes to ${longest}; ${remedy}`,
    );
}

/**
 * @param blockSize the model's window.
 * @throws InputError if nothing could be sampled after a prompt, or the window would end every response before
 *   `maxNewTokens`.
 */
export function requireRoom(maxNewTokens: number, blockSize: number): void {
  if (maxNewTokens >= blockSize)
    throw new InputError(`maxNewTokens must be below ${blockSize}, the model's window, got ${maxNewTokens}`);
}
