/** Training rows from a file, as token ids. */
import { FileError, InputError, quoted } from '../errors';
import { encodePair, endedIds, type PairIds } from './batch';
import { mergesAcross } from './boundary';
import { chatOf, type Chat } from './chat';
import { Fields, type RowForm } from './fields';
import type { PromptResponses } from './responseBatch';
import { fileName, readRows } from './rows';
import { CANDIDATES, onlyPrompt, PAIR, pairTexts, PROMPT_ALONE, RESPONSE, responseTexts } from './rowTexts';
import type { Tokenizer } from './tokenizer';
import { truncate, TRUNCATIONS, type Truncation } from './truncation';

/** Rows whose tokens would merge across the boundary of prompt and response, which are encoded separately here. */
export interface Merges {
  readonly rows: number;
  /** Counted over the rows that were kept. */
  readonly of: number;
  /** The place of the first such row, such as "line 3". */
  readonly first: string;
}

export interface ReadOptions {
  /** Told, in a sentence, how conversations are written, when the first one comes. */
  readonly onMessages?: (text: string) => void;
  /** The most tokens of a prompt and one response, such as the model's `blockSize`. */
  readonly maxLength: number;
  /** What happens to a longer row. Default `refuse`. */
  readonly truncation?: Truncation;
  /** The rows of the model's embedding: an id beyond is wrong. Default: not checked. */
  readonly vocabSize?: number;
  /** Called for each wrong row, which is then skipped. Without it, the first wrong row is an error. */
  readonly onBadRow?: (error: FileError) => void;
  /**
   * Called once, after the last row, if rows that were kept have other tokens at the boundary of prompt and response
   * than the two as one text.
   */
  readonly onMerges?: (merges: Merges) => void;
  /** Of pairs, also read "margin", a number, in rows that have one: for training a reward model. Default false. */
  readonly margins?: boolean;
}

/**
 * Preference pairs from JSON lines or Parquet (a name that ends in .parquet, or a file that begins as such), in these
 * forms:
 * - {"prompt", "chosen", "rejected"} as texts;
 * - {"instruction", "input" (may be missing), "chosen", "rejected"}, Alpaca's: the prompt is `alpacaPrompt`'s;
 * - the prompt a list of {"role", "content"} messages, each response a text or a list of one message: the prompt is
 *   `chatPrompt`'s;
 * - {"chosen", "rejected"} as lists of messages that begin alike: what they share is the prompt.
 *
 * Columns that belong to the prompt are used: "system" becomes the system's message, "history" ([question, answer]
 * each) the turns before, "context" beside "instruction" its input. Others that belong to it (tools, images, documents,
 * a question beside a prompt …) are refused by name unless they are empty or the prompt has their text already.
 *
 * Reads and encodes every row, so that a wrong one is found before anything is computed. Empty lines, and fields that
 * are unrelated to the prompt and its responses (id, source, score …) are ignored.
 *
 * @param path a file, or `-` for JSON lines on the standard input.
 * @throws FileError, naming the line (of Parquet the row; the first is 1), if it is not UTF-8 or not JSON, lacks a
 *   field, has an empty text, messages out of turn or two responses that are the same, also after a cut, or is too
 *   long; or if the file cannot be read or keeps no row.
 */
export function readPairs(path: string, tokenizer: Tokenizer, options: ReadOptions): Promise<PairIds[]> {
  const chat = chatOf(tokenizer.chatTemplate, options.onMessages);
  const form = options.margins ? { ...PAIR, names: [...PAIR.names, 'margin'] } : PAIR;
  return encodeRows(
    path,
    form,
    (fields, boundary) => pair(fields, chat, tokenizer, options, boundary),
    tokenizer,
    options,
  );
}

/**
 * A response to each prompt, for SFT: {"prompt", "response"}, the prompt a text or a list of messages; the Alpaca form
 * {"instruction", "input" (may be missing), "output"}, or Dolly's {"instruction", "context", "response"}; or
 * {"messages"}, of which the last is the response. Otherwise as `readPairs`.
 */
export function readResponses(path: string, tokenizer: Tokenizer, options: ReadOptions): Promise<PromptResponses[]> {
  const chat = chatOf(tokenizer.chatTemplate, options.onMessages);
  return encodeRows(
    path,
    RESPONSE,
    (fields, boundary) => response(fields, chat, tokenizer, options, boundary),
    tokenizer,
    options,
  );
}

/**
 * Prompts to be answered, for PPO and GRPO: {"prompt"}, a text or a list of messages, or {"instruction", "input" (may
 * be missing)}; rows of pairs that have one of them are accepted. Otherwise the same as `readPairs`.
 *
 * @param options.maxNewTokens the room to be left for a response: a prompt is at most `maxLength` less that. A longer
 *   one is refused, or by `prompt-start` cut.
 */
export function readPrompts(
  path: string,
  tokenizer: Tokenizer,
  options: ReadOptions & { readonly maxNewTokens: number },
): Promise<(readonly number[])[]> {
  const chat = chatOf(tokenizer.chatTemplate, options.onMessages);
  return encodeRows(path, PROMPT_ALONE, (fields) => promptOnly(fields, chat, tokenizer, options), tokenizer, options);
}

/**
 * Responses to score after their prompt. A row in a form of `readPairs` has two, chosen and rejected; any other row
 * has a form of
 * `readResponses`, has one.
 */
export function readCandidates(path: string, tokenizer: Tokenizer, options: ReadOptions): Promise<PromptResponses[]> {
  const chat = chatOf(tokenizer.chatTemplate, options.onMessages);
  const encode = (fields: Fields, boundary: Boundary): PromptResponses => {
    if (!fields.has('chosen')) return response(fields, chat, tokenizer, options, boundary);
    const { promptIds, chosenIds, rejectedIds } = pair(fields, chat, tokenizer, options, boundary);
    return { promptIds, responses: [chosenIds, rejectedIds] };
  };
  return encodeRows(path, CANDIDATES, encode, tokenizer, options);
}

/** Is told the texts of a row that is encoded. */
type Boundary = (prompt: string, responses: readonly string[]) => void;

async function encodeRows<Row>(
  path: string,
  form: RowForm,
  encode: (fields: Fields, boundary: Boundary) => Row,
  tokenizer: Tokenizer,
  { truncation = 'refuse', vocabSize = Infinity, onBadRow, onMerges }: ReadOptions,
): Promise<Row[]> {
  if (!TRUNCATIONS.includes(truncation))
    throw new InputError(`truncation must be one of ${TRUNCATIONS.join(', ')}, got "${truncation}"`);
  const rows: Row[] = [];
  let leftOut = 0;
  let merges: Merges | undefined;
  let merged = false;
  const boundary: Boundary = (prompt, responses) => {
    merged = onMerges !== undefined && responses.some((text) => mergesAcross(tokenizer, prompt, text));
  };
  for await (const { place, parse } of readRows(path, form.names)) {
    try {
      const row = encode(new Fields(parse(), form), boundary);
      requireEmbedded(row, tokenizer, vocabSize);
      rows.push(row);
      if (merged) merges = { rows: (merges?.rows ?? 0) + 1, of: 0, first: merges?.first ?? place };
    } catch (cause) {
      if (!(cause instanceof InputError)) throw cause;
      const error = new FileError(fileName(path), `${place}: ${cause.message}`, { cause });
      if (onBadRow === undefined) throw error;
      onBadRow(error);
      leftOut += 1;
    }
  }
  if (rows.length === 0)
    throw new FileError(
      fileName(path),
      leftOut === 0 ? 'has no rows' : `has no row that can be kept: ${leftOut} of ${leftOut} left out`,
    );
  if (merges !== undefined) onMerges!({ ...merges, of: rows.length });
  return rows;
}

/** @throws InputError naming the token, if an id of the row lies beyond the embedding. */
function requireEmbedded(row: unknown, tokenizer: Tokenizer, vocabSize: number): void {
  if (vocabSize === Infinity) return;
  if (Array.isArray(row)) {
    const id = row.find((part) => typeof part === 'number' && part >= vocabSize) as number | undefined;
    if (id !== undefined) {
      const token = quoted(tokenizer.decode([id]));
      throw new InputError(
        `token ${token} has the id ${id}, and the model's embedding ends at ${vocabSize - 1}: it was not resized ` +
          `when the token was added; resize it with transformers' resize_token_embeddings, or take the token out ` +
          'of the text',
      );
    }
    for (const part of row) requireEmbedded(part, tokenizer, vocabSize);
  } else if (typeof row === 'object' && row !== null) {
    for (const part of Object.values(row)) requireEmbedded(part, tokenizer, vocabSize);
  }
}

function pair(fields: Fields, chat: Chat, tokenizer: Tokenizer, options: ReadOptions, boundary: Boundary): PairIds {
  const texts = pairTexts(fields, chat);
  const { promptIds, chosenIds, rejectedIds } = encodePair(tokenizer, texts);
  boundary(texts.prompt, [texts.chosen, texts.rejected]);
  if (chosenIds.join() === rejectedIds.join())
    throw new InputError('chosen and rejected are the same, so the pair prefers nothing; leave it out');
  const kept = truncate({ promptIds, responses: [chosenIds, rejectedIds] }, options);
  const [chosen, rejected] = kept.responses as [readonly number[], readonly number[]];
  if (chosen.join() === rejected.join())
    throw new InputError('chosen and rejected are the same after the cut, so the pair prefers nothing; leave it out');
  const margin = options.margins && fields.has('margin') ? { margin: fields.number('margin') } : {};
  return { promptIds: kept.promptIds, chosenIds: chosen, rejectedIds: rejected, ...margin };
}

function response(
  fields: Fields,
  chat: Chat,
  tokenizer: Tokenizer,
  options: ReadOptions,
  boundary: Boundary,
): PromptResponses {
  const texts = responseTexts(fields, chat);
  for (const [name, text] of Object.entries(texts)) if (text === '') throw new InputError(`${name} is empty`);
  boundary(texts.prompt, [texts.response]);
  const ids = endedIds(tokenizer, texts.response, texts.templated);
  return truncate({ promptIds: tokenizer.encode(texts.prompt), responses: [ids] }, options);
}

function promptOnly(
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
    `a prompt of ${ids.length} tokens leaves no place for ${maxNewTokens} new ones, the limit is ${maxLength}; ` +
      'shorten it, lower maxNewTokens, or leave the row out',
  );
}
