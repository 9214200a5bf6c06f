/** Reads training rows from a file as token ids. */
import { FileError, InputError, plural, quoted } from '../errors';
import { encodePair, endedIds, type PairIds } from './batch';
import { mergesAcross } from './boundary';
import { chatOf, type Chat } from './chat';
import { Fields, type RowForm } from './fields';
import type { PromptResponses } from './responseBatch';
import { fileName, readRows } from './rows';
import {
  ANY,
  CANDIDATES,
  LABELED,
  onlyPrompt,
  PAIR,
  pairTexts,
  PROMPT_ALONE,
  RESPONSE,
  responseTexts,
} from './rowTexts';
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

export interface ReadOptions {
  /** Receives a sentence that says how conversations are rendered, when the first one is read. */
  readonly onMessages?: (text: string) => void;
  /** Maximum number of tokens in a prompt plus one response, such as the model's `blockSize`. */
  readonly maxLength: number;
  /** What to do with a longer row. Default `refuse`. */
  readonly truncation?: Truncation;
  /** Number of rows in the model's embedding; an id outside it is an error. Default: not checked. */
  readonly vocabSize?: number;
  /** Called for each invalid row, which is then skipped. Without it, the first invalid row is an error. */
  readonly onBadRow?: (error: FileError) => void;
  /**
   * Called once, after the last row, if any row that was kept would have other tokens at the boundary of prompt and
   * response when encoded as one text.
   */
  readonly onMerges?: (merges: Merges) => void;
  /** Also read a pair's "margin", a number, from rows that have one; reward model training uses it. Default false. */
  readonly margins?: boolean;
}

/**
 * Reads preference pairs from JSON Lines or Parquet (a name that ends in .parquet, or a file that starts with Parquet's
 * magic bytes), in these forms:
 * - {"prompt", "chosen", "rejected"}, all texts;
 * - {"instruction", "input" (may be missing), "chosen", "rejected"}, the Alpaca form: `alpacaPrompt` makes the prompt;
 * - "prompt" a list of {"role", "content"} messages, and each response a text or a list of one message: `chatPrompt`,
 *   or the model's chat template, makes the prompt;
 * - {"chosen", "rejected"}, both lists of messages that begin alike: the shared beginning is the prompt.
 *
 * Columns that belong to the prompt are used: "system" becomes the system message, "history" (a list of [question,
 * answer]) the preceding turns, and "context" beside "instruction" its input. Other columns that belong to the prompt
 * (tools, images, documents, a question beside a prompt …) are refused by name, unless they are empty or the prompt
 * already contains their text.
 *
 * Every row is read and encoded before anything is computed, so an invalid row is found early. Empty lines are ignored,
 * and so are fields unrelated to the prompt and its responses (id, source, score …).
 *
 * @param path a file, or `-` for JSON Lines on standard input.
 * @throws FileError naming the line (in Parquet, the row; counted from 1) if a row is not UTF-8 or not JSON, lacks a
 *   field, has an empty text, has messages out of turn, is too long, or has two responses that are the same, before or
 *   after truncation; also if the file cannot be read or no row is kept.
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
 * Reads one response to each prompt, for SFT, in these forms: {"prompt", "response"}, with a text or a list of messages
 * as the prompt; Alpaca's {"instruction", "input" (may be missing), "output"}; Dolly's {"instruction", "context",
 * "response"}; or {"messages"}, whose last message is the response. Otherwise the same as `readPairs`.
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
 * Reads prompts to answer, for PPO and GRPO: {"prompt"}, a text or a list of messages, or {"instruction", "input" (may
 * be missing)}. Rows of pairs that have one of these are accepted. Otherwise the same as `readPairs`.
 *
 * @param options.maxNewTokens number of tokens to reserve for the response: a prompt may have at most `maxLength` minus
 *   this number. A longer one is refused or, with `prompt-start`, cut.
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
 * Reads responses to score after their prompt. A row in a form of `readPairs` has two, chosen and rejected; any other
 * row is in a form of `readResponses` and has one.
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

/** A prompt with one response, as ids, and whether it is a desirable one. */
export interface LabeledResponse {
  readonly promptIds: readonly number[];
  /** With its end-of-sequence token. */
  readonly responseIds: readonly number[];
  readonly desirable: boolean;
}

/**
 * Reads responses with a thumb up or down, for KTO: {"prompt", "completion", "label"}, with label true or false (or 1
 * or 0), in any other form of `readResponses` with a "label", or pairs in a form of `readPairs`, whose chosen response
 * counts as desirable and whose rejected one as undesirable, one row after the other. Otherwise the same as
 * `readPairs`.
 */
export async function readLabeled(
  path: string,
  tokenizer: Tokenizer,
  options: ReadOptions,
): Promise<LabeledResponse[]> {
  const chat = chatOf(tokenizer.chatTemplate, options.onMessages);
  const encode = (fields: Fields, boundary: Boundary): LabeledResponse[] => {
    if (fields.has('chosen') && !fields.has('label')) {
      const { promptIds, chosenIds, rejectedIds } = pair(fields, chat, tokenizer, options, boundary);
      return [
        { promptIds, responseIds: chosenIds, desirable: true },
        { promptIds, responseIds: rejectedIds, desirable: false },
      ];
    }
    const desirable = fields.flag('label');
    const { promptIds, responses } = response(fields, chat, tokenizer, options, boundary);
    return [{ promptIds, responseIds: responses[0]!, desirable }];
  };
  return (await encodeRows(path, LABELED, encode, tokenizer, options)).flat();
}

/** What a row is: a pair, a response with or without a label, or a prompt alone. */
export type RowKind = 'pair' | 'labeled' | 'response' | 'prompt';

export interface AnyRow {
  readonly kind: RowKind;
  readonly promptIds: readonly number[];
  /** Of a pair: chosen, rejected; of a prompt alone: none. */
  readonly responses: readonly (readonly number[])[];
  readonly desirable?: boolean;
}

/** Reads rows of any form, each as what its fields make it, for a look at a file. Otherwise the same as `readPairs`. */
export function readAny(path: string, tokenizer: Tokenizer, options: ReadOptions): Promise<AnyRow[]> {
  const chat = chatOf(tokenizer.chatTemplate, options.onMessages);
  const encode = (fields: Fields, boundary: Boundary): AnyRow => {
    if (fields.has('chosen') || fields.has('rejected')) {
      const { promptIds, chosenIds, rejectedIds } = pair(fields, chat, tokenizer, options, boundary);
      return { kind: 'pair', promptIds, responses: [chosenIds, rejectedIds] };
    }
    if (!['output', 'response', 'completion', 'messages'].some((name) => fields.has(name))) {
      const promptIds = promptOnly(fields, chat, tokenizer, { ...options, maxNewTokens: 0 });
      return { kind: 'prompt', promptIds, responses: [] };
    }
    const { promptIds, responses } = response(fields, chat, tokenizer, options, boundary);
    if (!fields.has('label')) return { kind: 'response', promptIds, responses };
    return { kind: 'labeled', promptIds, responses, desirable: fields.flag('label') };
  };
  return encodeRows(path, ANY, encode, tokenizer, options);
}

/** Receives the texts of each row that is encoded. */
type Boundary = (prompt: string, responses: readonly string[]) => void;

async function encodeRows<Row>(
  path: string,
  form: RowForm,
  encode: (fields: Fields, boundary: Boundary) => Row,
  tokenizer: Tokenizer,
  { truncation, vocabSize = Infinity, onBadRow, onMerges }: ReadOptions,
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

function pair(fields: Fields, chat: Chat, tokenizer: Tokenizer, options: ReadOptions, boundary: Boundary): PairIds {
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
    `a prompt of ${plural(ids.length, 'token')} leaves no room for ${maxNewTokens} new ones, the limit is ` +
      `${maxLength}; ` +
      'shorten it, lower maxNewTokens, or leave the row out',
  );
}
