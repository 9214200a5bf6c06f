/** What a file of rows holds, as it is understood here: its form, its lengths, and what is unusual in it. */
import { readAny, type AnyRow, type Merges, type ReadOptions, type RowKind } from './dataset';
import type { RowSource } from './rows';
import type { Tokenizer } from './tokenizer';

export interface DataReport {
  /** Rows of each kind that were understood. */
  readonly kinds: Readonly<Record<RowKind, number>>;
  /** Rows that were not, by what is wrong with them; `first` names the place of the first one. */
  readonly wrong: readonly { readonly message: string; readonly rows: number; readonly first: string }[];
  /** Tokens of each prompt, and of each response with its end-of-sequence token. */
  readonly promptLengths: readonly number[];
  readonly chosenLengths: readonly number[];
  readonly rejectedLengths: readonly number[];
  /** Lengths of responses that are not part of a pair. */
  readonly responseLengths: readonly number[];
  /** Tokens of each plain text with its end-of-sequence token; the other lengths leave plain texts out. */
  readonly textLengths: readonly number[];
  /** The model's window, in tokens. */
  readonly blockSize: number;
  /** Rows whose longest text has more tokens than the model's window; among them plain texts, which are then split. */
  readonly tooLong: number;
  readonly splitTexts: number;
  /** Rows that repeat an earlier one, token for token. */
  readonly duplicates: number;
  /** Prompts that occur in more than one row, whatever their responses. */
  readonly repeatedPrompts: number;
  /** Pairs whose chosen response has more tokens, and those of equal lengths. */
  readonly longerChosen: number;
  readonly equallyLong: number;
  /** Labeled rows that are desirable. */
  readonly desirable: number;
  /** Rows that would have other tokens across the end of the prompt if prompt and response were one text. */
  readonly merges: Merges | undefined;
  /** How conversations are rendered, and prompts are found, if rows need it. */
  readonly rendering: string | undefined;
  /** The first rows. */
  readonly examples: readonly AnyRow[];
}

/**
 * @param path a file, `-` for standard input, or a data set such as `hf:Anthropic/hh-rlhf`.
 * @param options `map`, `limit` and the others of a row source, as for `readPairs`.
 * @param options.blockSize the model's window.
 * @param options.examples number of rows to keep as examples. Default 5.
 * @returns a report even if no row is understood.
 * @throws FileError if the file cannot be read, has another form, or has no rows at all.
 */
export async function dataReport(
  path: string,
  tokenizer: Tokenizer,
  {
    blockSize,
    examples = 5,
    ...source
  }: RowSource & Pick<ReadOptions, 'map'> & { readonly blockSize: number; readonly examples?: number },
): Promise<DataReport> {
  const wrong = new Map<string, { rows: number; first: string }>();
  let [merges, rendering]: [Merges | undefined, string | undefined] = [undefined, undefined];
  const read = readAny(path, tokenizer, {
    ...source,
    maxLength: Infinity,
    onBadRow: (_, { place, reason }) => {
      const known = wrong.get(reason);
      wrong.set(reason, { rows: (known?.rows ?? 0) + 1, first: known?.first ?? place });
    },
    onMerges: (found) => (merges = found),
    onMessages: (text) => (rendering = rendering === undefined ? text : `${rendering}; ${text}`),
  });
  const rows = await read.catch((error: unknown) => {
    if (wrong.size === 0) throw error;
    return []; // every row is wrong, each for a reason that the report gives
  });
  const kinds = { pair: 0, labeled: 0, response: 0, prompt: 0, text: 0 };
  for (const { kind } of rows) kinds[kind] += 1;
  const pairs = rows.filter(({ kind }) => kind === 'pair').map(({ responses }) => responses);
  const prompted = rows.filter(({ kind }) => kind !== 'text');
  const responses = prompted.filter(({ kind }) => kind !== 'pair').flatMap((row) => row.responses);
  const seen = new Set<string>();
  const prompts = new Map<string, number>();
  for (const row of rows) {
    seen.add(JSON.stringify([row.kind, row.promptIds, row.responses, row.desirable]));
    if (row.kind === 'text') continue;
    const prompt = row.promptIds.join();
    prompts.set(prompt, (prompts.get(prompt) ?? 0) + 1);
  }
  const longest = ({ promptIds, responses: all }: AnyRow): number =>
    promptIds.length + all.reduce((most, { length }) => Math.max(most, length), 0);
  const texts = rows.filter(({ kind }) => kind === 'text').map(longest);
  return {
    kinds,
    wrong: [...wrong].map(([message, found]) => ({ message, ...found })),
    promptLengths: prompted.map(({ promptIds }) => promptIds.length),
    chosenLengths: pairs.map(([chosen]) => chosen!.length),
    rejectedLengths: pairs.map(([, rejected]) => rejected!.length),
    responseLengths: responses.map(({ length }) => length),
    textLengths: texts,
    blockSize,
    tooLong: rows.filter((row) => longest(row) > blockSize).length,
    splitTexts: texts.filter((length) => length > blockSize).length,
    duplicates: rows.length - seen.size,
    repeatedPrompts: [...prompts.values()].filter((count) => count > 1).length,
    longerChosen: pairs.filter(([chosen, rejected]) => chosen!.length > rejected!.length).length,
    equallyLong: pairs.filter(([chosen, rejected]) => chosen!.length === rejected!.length).length,
    desirable: rows.filter(({ desirable }) => desirable).length,
    merges,
    rendering,
    examples: rows.slice(0, examples),
  };
}
