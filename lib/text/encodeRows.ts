/** Encodes the rows of a file, whatever their form, and reports those that are wrong. */
import { FileError, InputError, plural, quoted } from '../errors';
import { encodePair, endedIds, type PairIds } from './batch';
import { mergesAcross } from './boundary';
import type { Chat } from './chat';
import { columnMap, columnsOf, renamed, type RESPONSE_FIELDS } from './columns';
import { Fields, type RowForm } from './fields';
import type { PromptResponses } from './responseBatch';
import { fileName, readRows, type RowSource } from './rows';
import { FIELDS, onlyPrompt, pairTexts, responseTexts, type ResponseTexts } from './rowTexts';
import type { Tokenizer } from './tokenizer';
import { truncate, TRUNCATIONS, type Truncation } from './truncation';

/**
 * Rows in which prompt and response, encoded as one text, would have a token across their boundary; here the two are
 * encoded separately.
 */
export interface Merges {
  readonly rows: number;
  /** Number of rows kept, in which the merges are counted. */
  readonly of: number;
  /** Place of the first such row, such as "line 3". */
  readonly first: string;
}

export interface ReadOptions extends RowSource {
  /**
   * Names of columns, each `FIELD=COLUMN`: a row's field is read from this column of the file. Common other names, such
   * as question for prompt, need none (columns.ts).
   */
  readonly map?: readonly string[] | undefined;
  /** Receives a sentence that says how conversations are rendered, when the first one is read. */
  readonly onMessages?: (text: string) => void;
  /** Maximum number of tokens in a prompt plus one response, such as the model's `blockSize`. */
  readonly maxLength: number;
  /** What to do with a longer row. Default `refuse`. */
  readonly truncation?: Truncation;
  /** Number of rows in the model's embedding; an id outside it is an error. Default: not checked. */
  readonly vocabSize?: number;
  /**
   * Called for each invalid row, which is then skipped, with its place, such as "line 3", and what is wrong. Without
   * it, the first invalid row is an error.
   */
  readonly onBadRow?: (error: FileError, row: { readonly place: string; readonly reason: string }) => void;
  /** Called once, after the last row, with the number of rows kept: a text may become several, a labeled pair two. */
  readonly onKept?: (rows: number) => void;
  /**
   * Called once, after the last row, if any row that was kept would have other tokens at the boundary of prompt and
   * response when encoded as one text.
   */
  readonly onMerges?: (merges: Merges) => void;
  /** Receives the pieces of each plain text of `readResponses`. They are among the rows, but have no real prompt. */
  readonly onText?: (pieces: readonly PromptResponses[]) => void;
  /** The field of a response: `chosen` takes a pair's chosen one, for SFT. Default `response`, or its other names. */
  readonly responseField?: (typeof RESPONSE_FIELDS)[number] | undefined;
  /** Also read a pair's "margin", a number, from rows that have one; reward model training uses it. Default false. */
  readonly margins?: boolean;
}

/** Receives the texts of each row that is encoded. */
export type Boundary = (prompt: string, responses: readonly string[]) => void;

/**
 * The rows of a file, each encoded by `encode`, which throws InputError for a row that is wrong.
 *
 * @throws FileError as `readPairs` does.
 */
export async function encodeRows<Row>(
  path: string,
  form: RowForm,
  encode: (fields: Fields, boundary: Boundary) => Row,
  tokenizer: Tokenizer,
  { truncation, vocabSize = Infinity, onBadRow, onKept, onMerges, map = [], ...source }: ReadOptions,
): Promise<Row[]> {
  if (truncation !== undefined && !TRUNCATIONS.includes(truncation))
    throw new InputError(`truncation must be one of ${TRUNCATIONS.join(', ')}, got "${truncation}"`);
  const rows: Row[] = [];
  let leftOut = 0;
  let merges: Merges | undefined;
  let merged = false;
  const boundary: Boundary = (prompt, responses) => {
    merged = onMerges !== undefined && responses.some((text) => mergesAcross(tokenizer, prompt, text));
  };
  const named = columnMap(map, FIELDS);
  for await (const { place, parse } of readRows(path, columnsOf(form.names, named), source)) {
    merged = false; // rows without a boundary do not call back
    try {
      const given = parse();
      const row = encode(new Fields(renamed(given, named), form, given), boundary);
      requireEmbedded(row, tokenizer, vocabSize);
      rows.push(row);
      if (merged) merges = { rows: (merges?.rows ?? 0) + 1, of: 0, first: merges?.first ?? place };
    } catch (cause) {
      if (!(cause instanceof InputError)) throw cause;
      const error = new FileError(fileName(path), `${place}: ${cause.message}`, { cause });
      if (onBadRow === undefined) throw error;
      onBadRow(error, { place, reason: cause.message });
      leftOut += 1;
    }
  }
  if (rows.length === 0)
    throw new FileError(
      fileName(path),
      leftOut === 0 ? 'has no rows' : `has no row that can be kept: ${leftOut} of ${leftOut} left out`,
    );
  onKept?.(rows.length);
  if (merges !== undefined) onMerges!({ ...merges, of: rows.length });
  return rows;
}

/** @throws InputError naming the token if an id in the row lies outside the embedding. */
function requireEmbedded(row: unknown, tokenizer: Tokenizer, vocabSize: number): void {
  if (vocabSize === Infinity) return;
  if (Array.isArray(row)) {
    const id = row.find((part) => typeof part === 'number' && part >= vocabSize) as number | undefined;
    if (id !== undefined) {
      const token = quoted(tokenizer.decode([id]));
      throw new InputError(
        `token ${token} has the id ${id}, and the model's embedding ends at ${vocabSize - 1}: it was not resized ` +
          `when the token was added; resize it with transformers' resize_token_embeddings, or remove the token ` +
          'from the text',
      );
    }
    for (const part of row) requireEmbedded(part, tokenizer, vocabSize);
  } else if (typeof row === 'object' && row !== null) {
    for (const part of Object.values(row)) requireEmbedded(part, tokenizer, vocabSize);
  }
}

export function encodedPair(
  fields: Fields,
  chat: Chat,
  tokenizer: Tokenizer,
  options: ReadOptions,
  boundary: Boundary,
): PairIds {
  const texts = pairTexts(fields, chat);
  const { promptIds, chosenIds, rejectedIds } = encodePair(tokenizer, texts);
  boundary(texts.prompt, [texts.chosen, texts.rejected]);
  if (chosenIds.join() === rejectedIds.join())
    throw new InputError('chosen and rejected are the same, so the pair prefers nothing; leave it out');
  const kept = truncate({ promptIds, responses: [chosenIds, rejectedIds] }, options);
  const [chosen, rejected] = kept.responses as [readonly number[], readonly number[]];
  if (chosen.join() === rejected.join())
    throw new InputError(
      'chosen and rejected are the same after truncation, so the pair prefers nothing; leave it out',
    );
  const margin = options.margins && fields.has('margin') ? { margin: fields.number('margin') } : {};
  return { promptIds: kept.promptIds, chosenIds: chosen, rejectedIds: rejected, ...margin };
}

function chosenTexts(fields: Fields, chat: Chat): ResponseTexts {
  const { prompt, chosen, templated } = pairTexts(fields, chat);
  return { prompt, response: chosen, templated };
}

export function encodedResponse(
  fields: Fields,
  chat: Chat,
  tokenizer: Tokenizer,
  options: ReadOptions,
  boundary: Boundary,
): PromptResponses {
  const texts = options.responseField === 'chosen' ? chosenTexts(fields, chat) : responseTexts(fields, chat);
  for (const [name, text] of Object.entries(texts)) if (text === '') throw new InputError(`${name} is empty`);
  boundary(texts.prompt, [texts.response]);
  const ids = endedIds(tokenizer, texts.response, texts.templated);
  return truncate({ promptIds: tokenizer.encode(texts.prompt), responses: [ids] }, options);
}

export function encodedPrompt(
  fields: Fields,
  chat: Chat,
  tokenizer: Tokenizer,
  { maxLength, maxNewTokens, truncation }: ReadOptions & { readonly maxNewTokens: number },
): readonly number[] {
  const text = onlyPrompt(fields, chat);
  if (text === '') throw new InputError('prompt is empty');
  const ids = tokenizer.encode(text);
  const most = maxLength - maxNewTokens;
  if (ids.length <= most) return ids;
  if (truncation === 'prompt-start' && most > 0) return ids.slice(ids.length - most);
  throw new InputError(
    `a prompt of ${plural(ids.length, 'token')} leaves no room for ${maxNewTokens} new ones, the limit is ` +
      `${maxLength}; ` +
      'shorten it, lower maxNewTokens, or leave the row out',
  );
}
