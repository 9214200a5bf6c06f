/** `alignbook data`: prints the report of a file of rows. */
import { configOf } from '../model/folder';
import { largest } from '../ranges';
import { dataReport, type DataReport } from '../text/dataReport';
import type { AnyRow } from '../text/dataset';
import { histogram, lengthsOf, remarks, rowsOf, spread, summary } from '../text/dataSummary';
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
  for (const line of linesOf(report, model)) console.log(line);
  for (const row of report.examples) for (const line of exampleOf(row, tokenizer)) console.log(line);
}

function* linesOf(report: DataReport, model: string): Generator<string> {
  yield* summary(report);
  if (rowsOf(report) === 0) return;
  yield '';
  const ended = report.kinds.text > 0 ? 'responses and plain texts' : 'responses';
  yield `tokens (of ${model}; ${ended} with their end-of-sequence token)`;
  for (const { name, lengths } of lengthsOf(report)) yield* barsOf(name, lengths);
  yield '';
  yield* remarks(report);
}

const BINS = 8;
const BAR = 40;

function* barsOf(name: string, lengths: readonly number[]): Generator<string> {
  const { median, most, longest } = spread(lengths);
  yield `  ${name}: median ${median}, 95 % up to ${most}, longest ${longest}`;
  const bins = histogram(lengths, BINS);
  const highest = largest(bins.map(({ count }) => count));
  const digits = `${bins.at(-1)!.to + 1}`.length;
  for (const { from, to, count } of bins) {
    const range = `${from}`.padStart(digits) + (from === to ? '' : `-${to}`.padEnd(digits + 1));
    const bar = '█'.repeat(Math.round((BAR * count) / highest)) || (count > 0 ? '▏' : '');
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
