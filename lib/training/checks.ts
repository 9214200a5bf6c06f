/** Checks of a trainer's settings before it computes anything, so that no steps are lost to a wrong one. */
import { InputError } from '../errors';
import { requireRanges, type Range } from '../ranges';
import { withDefaults } from './declare';
import { requireParts } from './loop';
import { trainSettings, type TrainOptions } from './options';
import { requireDuration } from './order';
import { learningRate } from './schedule';

/** The most rows that can be computed at once: more fit no machine's memory. */
const MOST_ROWS = 2 ** 16;

/**
 * @param ranges a range for each numeric option.
 * @param rowsPerUpdate the rows that `accumulation` splits into parts.
 * @throws InputError naming the setting, its range and its value.
 */
export function requireTraining(
  options: Omit<TrainOptions, 'groupByLength' | 'validateEvery' | 'tokenMetrics'>,
  ranges: Readonly<Record<string, Range>>,
  rowsPerUpdate: number,
): void {
  requireRanges(options, ranges);
  requireDuration(options);
  learningRate({ ...options, steps: options.steps ?? 1 }); // refuses an unknown schedule
  const { lr, weightDecay, accumulation } = withDefaults(options, trainSettings);
  if (weightDecay > 1 && lr * weightDecay > 1) {
    // With a weightDecay of up to 1, lr is too high instead, which the losses show.
    throw new InputError(
      `weightDecay must be at most 1 / lr (${1 / lr}), got ${weightDecay}: ` +
        'each step would change the sign of every weight',
    );
  }
  requireParts(rowsPerUpdate, accumulation);
  const rows = rowsPerUpdate / accumulation;
  if (rows > MOST_ROWS)
    throw new InputError(
      `batchSize: ${rows} rows at once are more than the ${MOST_ROWS} allowed; ` +
        'lower it, or raise accumulation, which gives the same sum',
    );
}

/** @throws InputError if the loss of an evaluation's rows, from `start` on, is not finite; the message names them. */
export function requireFiniteLoss(loss: number, start: number, count: number): void {
  if (!Number.isFinite(loss))
    throw new InputError(
      `rows ${start + 1} to ${start + count}: their loss is ${loss}; ` +
        "the model's weights or its sums are too large to compute with",
    );
}

/**
 * Checks that another model's window has room for every text that it must score.
 *
 * @param what the setting that names the model; `name` is its value.
 * @param longest tokens of the longest text.
 * @throws InputError if it has not, because the run would fail midway.
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
      `${what} ${name} has a window of ${blockSize} tokens, and the longest text has ${longest}; ${remedy}`,
    );
}

/**
 * @param blockSize the model's window.
 * @throws InputError if `maxLength`, the most tokens in a row, is not a number of them that the window holds.
 */
export function requireMaxLength(maxLength: number, blockSize: number): void {
  if (!Number.isInteger(maxLength) || maxLength < 2 || maxLength > blockSize)
    throw new InputError(
      `maxLength must be a whole number from 2 to ${blockSize}, the model's window, got ${maxLength}`,
    );
}

/**
 * @param blockSize the model's window.
 * @throws InputError if the window leaves no room for a prompt of at least one token before `maxNewTokens` tokens.
 */
export function requireRoom(maxNewTokens: number, blockSize: number): void {
  if (maxNewTokens >= blockSize)
    throw new InputError(`maxNewTokens must be below ${blockSize}, the model's window, got ${maxNewTokens}`);
}
