/** What a report of a file's rows says: in lines of text, and as histograms of lengths. */
import { plural } from '../errors';
import { largest } from '../ranges';
import type { DataReport } from './dataReport';

const KINDS = {
  pair: ['pair', 'train-dpo, train-reward, train-kto'],
  labeled: ['labeled response', 'train-kto'],
  response: ['response', 'train-sft'],
  prompt: ['prompt', 'train-ppo, train-grpo'],
  text: ['plain text', 'train-sft'],
} as const;

/** Rows that were understood. */
export const rowsOf = ({ kinds }: DataReport): number => Object.values(kinds).reduce((sum, count) => sum + count, 0);

/** Lines on the rows themselves: how many of which kind, for which commands, and those that were not understood. */
export function* summary(report: DataReport): Generator<string> {
  for (const [kind, [noun, commands]] of Object.entries(KINDS)) {
    const count = report.kinds[kind as keyof typeof KINDS];
    if (count > 0) yield `${plural(count, noun)}, for ${commands}`;
  }
  if (Object.values(report.kinds).filter((count) => count > 0).length > 1)
    yield 'the rows are of several kinds; a training command takes one kind: split the file';
  for (const { message, rows, first } of report.wrong)
    yield `not understood: ${plural(rows, 'row')}, the first is ${first}: ${message}`;
  if (rowsOf(report) > 0 && report.rendering !== undefined) yield report.rendering;
}

/** Lines on what may surprise a training; none if no row was understood. */
export function* remarks(report: DataReport): Generator<string> {
  const rows = rowsOf(report);
  if (rows === 0) return;
  const { pair: pairs, labeled, text: texts } = report.kinds;
  const share = (count: number, of: number) => `${count} of ${of} (${((100 * count) / of).toFixed(1)} %)`;
  if (pairs > 0)
    yield (
      `chosen is longer than rejected in ${share(report.longerChosen, pairs)}, equally long in ` +
      share(report.equallyLong, pairs)
    );
  if (labeled > 0) yield `desirable: ${share(report.desirable, labeled)}`;
  yield `longer than the model's window of ${report.blockSize} tokens: ${share(report.tooLong, rows)}`;
  if (report.splitTexts > 0)
    yield `train-sft splits ${plural(report.splitTexts, 'plain text')} that long into pieces; no token is lost`;
  const repeated = `repeat an earlier row: ${share(report.duplicates, rows)}`;
  if (rows === texts) return yield repeated;
  yield `${repeated}; ${plural(report.repeatedPrompts, 'prompt')} in more than one row`;
  yield report.merges === undefined
    ? 'no row would have other tokens across the end of its prompt'
    : `tokens would merge across the end of the prompt in ${share(report.merges.rows, report.merges.of)}, ` +
      `first in ${report.merges.first}; let no prompt end with a space or within a word`;
}

/** Lengths in tokens of the parts that the rows have. */
export function lengthsOf(report: DataReport) {
  const parts = [
    ['prompt', report.promptLengths],
    ['chosen', report.chosenLengths],
    ['rejected', report.rejectedLengths],
    ['response', report.responseLengths],
    ['text', report.textLengths],
  ] as const;
  return parts.filter(([, lengths]) => lengths.length > 0).map(([name, lengths]) => ({ name, lengths }));
}

/** @returns the median, a length that 95 % do not exceed, and the longest of at least one length. */
export function spread(lengths: readonly number[]): { median: number; most: number; longest: number } {
  const sorted = [...lengths].sort((a, b) => a - b);
  const at = (part: number): number => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]!;
  return { median: at(0.5), most: at(0.95), longest: sorted.at(-1)! };
}

/** Lengths from `from` to `to`, both included. */
export interface Bin {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/**
 * Counts lengths in at most `most` bins, which are equal ranges of whole numbers.
 *
 * @param among the lengths whose shortest and longest the bins span, so that several histograms can have the same bins.
 */
export function histogram(lengths: readonly number[], most: number, among: readonly number[] = lengths): Bin[] {
  const first = -largest(among.map((length) => -length));
  const span = largest(among) - first + 1;
  const width = Math.ceil(span / most);
  const counts = Array.from({ length: Math.ceil(span / width) }, () => 0);
  for (const length of lengths) counts[Math.floor((length - first) / width)]! += 1;
  return counts.map((count, n) => ({ from: first + n * width, to: first + (n + 1) * width - 1, count }));
}
