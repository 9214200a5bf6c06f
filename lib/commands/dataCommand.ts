/** `alignbook data`: prints the report of a file of rows. */
import { plural } from '../errors';
import { configOf } from '../model/folder';
import { largest } from '../ranges';
import { dataReport, type DataReport } from '../text/dataReport';
import type { AnyRow } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { withDefaults, type OptionsOf } from '../training/declare';
import { dataSettings } from './commandSettings';

export async function run(settings: OptionsOf<typeof dataSettings>): Promise<void> {
  const { path, model, examples, ...source } = withDefaults(settings, dataSettings);
  const tokenizer = await Tokenizer.fromPretrained(model);
  const { blockSize } = await configOf(model);
  const report = await dataReport(path, tokenizer, {
    ...source,
    ...{ blockSize, examples, onDataSet: (text) => console.log(text) },
  });
  if (rowsOf(report) === 0) process.exitCode = 1;
  for (const line of linesOf(report, { model, blockSize })) console.log(line);
  for (const row of report.examples) for (const line of exampleOf(row, tokenizer)) console.log(line);
}

const KINDS = {
  pair: ['pair', 'train-dpo, train-reward, train-kto'],
  labeled: ['labeled response', 'train-kto'],
  response: ['response', 'train-sft'],
  prompt: ['prompt', 'train-ppo, train-grpo'],
  text: ['plain text', 'train-sft'],
} as const;

/** Rows that were understood. */
const rowsOf = ({ kinds }: DataReport): number => Object.values(kinds).reduce((sum, count) => sum + count, 0);

function* linesOf(report: DataReport, { model, blockSize }: { model: string; blockSize: number }): Generator<string> {
  for (const [kind, [noun, commands]] of Object.entries(KINDS)) {
    const count = report.kinds[kind as keyof typeof KINDS];
    if (count > 0) yield `${plural(count, noun)}, for ${commands}`;
  }
  if (Object.values(report.kinds).filter((count) => count > 0).length > 1)
    yield 'the rows are of several kinds; a training command takes one kind: split the file';
  for (const { message, rows, first } of report.wrong)
    yield `not understood: ${plural(rows, 'row')}, the first is ${first}: ${message}`;
  if (rowsOf(report) === 0) return;
  if (report.rendering !== undefined) yield report.rendering;
  yield '';
  const lengths = [
    ['prompt', report.promptLengths],
    ['chosen', report.chosenLengths],
    ['rejected', report.rejectedLengths],
    ['response', report.responseLengths],
    ['text', report.textLengths],
  ] as const;
  const ended = report.kinds.text > 0 ? 'responses and plain texts' : 'responses';
  yield `tokens (of ${model}; ${ended} with their end-of-sequence token)`;
  for (const [name, values] of lengths) if (values.length > 0) yield* histogram(name, values);
  yield '';
  yield* remarks(report, model, blockSize);
}

function* remarks(report: DataReport, model: string, blockSize: number): Generator<string> {
  const rows = rowsOf(report);
  const { pair: pairs, labeled, text: texts } = report.kinds;
  const share = (count: number, of: number) => `${count} of ${of} (${((100 * count) / of).toFixed(1)} %)`;
  if (pairs > 0)
    yield (
      `chosen is longer than rejected in ${share(report.longerChosen, pairs)}, equally long in ` +
      share(report.equallyLong, pairs)
    );
  if (labeled > 0) yield `desirable: ${share(report.desirable, labeled)}`;
  yield `longer than the window of ${model}, ${blockSize} tokens: ${share(report.tooLong, rows)}`;
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

const BINS = 8;
const BAR = 40;

/** A histogram of lengths: from the shortest to the longest, in equal bins of whole numbers. */
function* histogram(name: string, lengths: readonly number[]): Generator<string> {
  const sorted = [...lengths].sort((a, b) => a - b);
  const at = (part: number): number => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]!;
  yield `  ${name}: median ${at(0.5)}, 95 % up to ${at(0.95)}, longest ${sorted.at(-1)!}`;
  const first = sorted[0]!;
  const span = sorted.at(-1)! - first + 1;
  const width = Math.ceil(span / BINS);
  const counts = Array.from({ length: Math.ceil(span / width) }, () => 0);
  for (const length of lengths) counts[Math.floor((length - first) / width)]! += 1;
  const most = largest(counts);
  const digits = `${first + counts.length * width}`.length;
  for (const [bin, count] of counts.entries()) {
    const from = first + bin * width;
    const to = width === 1 ? '' : `-${from + width - 1}`.padEnd(digits + 1);
    const range = `${from}`.padStart(digits) + to;
    const bar = '█'.repeat(Math.round((BAR * count) / most)) || (count > 0 ? '▏' : '');
    yield `    ${range}  ${bar}${bar === '' ? '' : ' '}${count}`;
  }
}

/** The texts as the model sees them: decoded from their tokens, on one line each. */
function* exampleOf({ kind, promptIds, responses, desirable }: AnyRow, tokenizer: Tokenizer): Generator<string> {
  yield '';
  if (kind === 'text') return yield textExample([...promptIds, ...responses[0]!], tokenizer);
  const names = kind === 'pair' ? ['chosen', 'rejected'] : [desirable === false ? 'undesirable' : 'response'];
  const parts = [['prompt', promptIds] as const, ...responses.map((ids, n) => [names[n]!, ids] as const)];
  for (const [name, ids] of parts)
    yield `${name.padEnd(11)} ${`${ids.length}`.padStart(5)}  ${JSON.stringify(tokenizer.decode(ids))}`;
}

/** Tokens shown from the beginning and the end of a long text. */
const [SHOWN_FIRST, SHOWN_LAST] = [60, 20];

function textExample(ids: readonly number[], tokenizer: Tokenizer): string {
  const shown = (part: readonly number[]): string => JSON.stringify(tokenizer.decode(part));
  const text =
    ids.length <= SHOWN_FIRST + SHOWN_LAST
      ? shown(ids)
      : `${shown(ids.slice(0, SHOWN_FIRST))} … ${shown(ids.slice(-SHOWN_LAST))}`;
  return `${'text'.padEnd(11)} ${`${ids.length}`.padStart(5)}  ${text}`;
}
