/** Reads a command's rows according to its settings, and reports rows that are left out. */
import { plural } from '../errors';
import type { GPT2Config } from '../formats/config';
import type { Merges, ReadOptions } from '../text/dataset';
import type { RowSource } from '../text/rows';
import { requireMaxLength } from '../training/checks';
import { withDefaults } from '../training/declare';
import { runSettings } from './runSettings';

/** Maximum number of bad rows that are reported one by one. */
const SHOWN = 20;

export interface DataSettings extends RowSource, Pick<ReadOptions, 'map'> {
  readonly skipBad?: boolean;
  readonly maxLength?: number;
  readonly truncation?: string;
}

/**
 * @param model the model's window, which is the default and upper limit of `maxLength`, and its vocabulary size.
 * @param options.tellMerges whether to report how many rows have tokens that would merge across the boundary of prompt
 *   and response. Training and evaluation report it; commands that measure single rows do not.
 * @throws InputError for an invalid setting; also whatever `read` throws.
 */
export async function readData<Row>(
  settings: DataSettings,
  { blockSize, vocabSize }: Pick<GPT2Config, 'blockSize' | 'vocabSize'>,
  read: (options: ReadOptions) => Promise<Row[]>,
  { tellMerges = true } = {},
): Promise<Row[]> {
  const { skipBad, maxLength = blockSize, truncation } = withDefaults(settings, runSettings);
  const { configName, map, limit, shuffleSeed } = settings;
  requireMaxLength(maxLength, blockSize);
  const options = {
    maxLength,
    vocabSize,
    truncation,
    ...{ configName, map, limit, shuffleSeed, onDataSet: tellOnce },
    onMessages: tellOnce,
    ...(tellMerges && { onMerges: tell }),
  };
  if (!skipBad) return read(options);
  let [leftOut, kept] = [0, 0];
  const onKept = (count: number): void => {
    kept = count;
  };
  const onBadRow = ({ message }: Error): void => {
    leftOut += 1;
    if (leftOut <= SHOWN) console.error(`left out: ${message}`);
  };
  const rows = await read({ ...options, onBadRow, onKept }).finally(() => {
    if (leftOut > SHOWN) console.error(`… and ${leftOut - SHOWN} more`);
  });
  if (leftOut > 0) console.error(`${leftOut} of ${leftOut + kept} rows left out`);
  return rows;
}

function tell({ rows, of, first }: Merges): void {
  console.error(
    `${rows} of ${plural(of, 'row')} (${first} is the first): prompt and response would have other tokens as ` +
      `one text than ` +
      'apart, as they are trained and scored here; ' +
      'let no prompt end with a space or within a word (README: "encoded apart")',
  );
}

const told = new Set<string>();

/** Prints a line on standard error, only once even if several files of rows cause it. */
function tellOnce(text: string): void {
  if (!told.has(text)) console.error(text);
  told.add(text);
}
