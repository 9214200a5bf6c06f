/** Reads training rows from a file as token ids: one function for each kind of row; encodeRows.ts does the work. */
import type { PairIds } from './batch';
import { chatOf } from './chat';
import { encodedPair, encodedPrompt, encodedResponse, encodeRows, type Boundary, type ReadOptions } from './encodeRows';
import type { Fields } from './fields';
import { encodedText, isPlainText } from './plainText';
import type { PromptResponses } from './responseBatch';
import { ANY, CANDIDATES, LABELED, PAIR, PROMPT_ALONE, RESPONSE } from './rowTexts';
import type { Tokenizer } from './tokenizer';

export type { Merges, ReadOptions } from './encodeRows';

/**
 * Reads preference pairs from JSON Lines, a JSON array of objects, CSV (each also compressed with gzip) or Parquet (a
 * name that ends in .parquet, or a file that starts with Parquet's magic bytes), or from a data set on the hub. A row
 * has one of these forms:
 * - {"prompt", "chosen", "rejected"}, all texts;
 * - {"instruction", "input" (may be missing), "chosen", "rejected"}, the Alpaca form: `alpacaPrompt` makes the prompt;
 * - "prompt" a list of {"role", "content"} messages, and each response a text or a list of one message: `chatPrompt`,
 *   or the model's chat template, makes the prompt;
 * - {"chosen", "rejected"}, both lists of messages, or both texts, that begin alike: the shared beginning is the
 *   prompt.
 * Other names of these columns, such as question for prompt or chosen_response for chosen, are read as well, and
 * `options.map` reads a field from a column of any name.
 *
 * Columns that belong to the prompt are used: "system" becomes the system message, "history" (a list of [question,
 * answer]) the preceding turns, and "context" beside "instruction" its input. Other columns that belong to the prompt
 * (tools, images, documents, a question beside a prompt …) are refused by name, unless they are empty or the prompt
 * already contains their text.
 *
 * Every row is read and encoded before anything is computed, so an invalid row is found early. Empty lines are ignored,
 * and so are fields unrelated to the prompt and its responses (id, source, score …).
 *
 * @param path a file; `-` for standard input; or `hf:NAME`, a data set on the hub (see `dataSetFiles`), which may have
 *   @REVISION, /FOLDER or /FILE, and #SPLIT after its name.
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
    (fields, boundary) => encodedPair(fields, chat, tokenizer, options, boundary),
    tokenizer,
    options,
  );
}

/**
 * Reads one response to each prompt, for SFT, in these forms: {"prompt", "response"}, with a text or a list of messages
 * as the prompt; Alpaca's {"instruction", "input" (may be missing), "output"}; Dolly's {"instruction", "context",
 * "response"}; or {"messages"}, whose last message is the response; with `options.responseField` chosen, in a form of
 * `readPairs`, whose chosen response is taken. Otherwise the same as `readPairs`.
 *
 * Also reads plain texts: {"text"} without a field of the other forms, or a file whose name ends in .txt or .txt.gz and
 * which is one text, whole. The first token is then the prompt, and all others are the response, with an
 * end-of-sequence token. A text of more than `maxLength` tokens becomes several rows, consecutive pieces that overlap
 * by one token, so that every token but the text's first is predicted exactly once; nothing is cut off, and
 * `truncation` does not apply.
 */
export async function readResponses(
  path: string,
  tokenizer: Tokenizer,
  options: ReadOptions,
): Promise<PromptResponses[]> {
  const chat = chatOf(tokenizer.chatTemplate, options.onMessages);
  const encode = (fields: Fields, boundary: Boundary): PromptResponses[] => {
    if (!isPlainText(fields)) return [encodedResponse(fields, chat, tokenizer, options, boundary)];
    const pieces = encodedText(fields, tokenizer, options);
    options.onText?.(pieces);
    return pieces;
  };
  const form = options.responseField === 'chosen' ? PAIR : RESPONSE;
  return (await encodeRows(path, form, encode, tokenizer, options)).flat();
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
  return encodeRows(
    path,
    PROMPT_ALONE,
    (fields) => encodedPrompt(fields, chat, tokenizer, options),
    tokenizer,
    options,
  );
}

/**
 * Reads responses to score after their prompt. A row in a form of `readPairs` has two, chosen and rejected; any other
 * row is in a form of `readResponses` and has one.
 */
export function readCandidates(path: string, tokenizer: Tokenizer, options: ReadOptions): Promise<PromptResponses[]> {
  const chat = chatOf(tokenizer.chatTemplate, options.onMessages);
  const encode = (fields: Fields, boundary: Boundary): PromptResponses => {
    if (!fields.has('chosen')) return encodedResponse(fields, chat, tokenizer, options, boundary);
    const { promptIds, chosenIds, rejectedIds } = encodedPair(fields, chat, tokenizer, options, boundary);
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
      const { promptIds, chosenIds, rejectedIds } = encodedPair(fields, chat, tokenizer, options, boundary);
      return [
        { promptIds, responseIds: chosenIds, desirable: true },
        { promptIds, responseIds: rejectedIds, desirable: false },
      ];
    }
    const desirable = fields.flag('label');
    const { promptIds, responses } = encodedResponse(fields, chat, tokenizer, options, boundary);
    return [{ promptIds, responseIds: responses[0]!, desirable }];
  };
  return (await encodeRows(path, LABELED, encode, tokenizer, options)).flat();
}

/** What a row is: a pair, a response with or without a label, a prompt alone, or a plain text. */
export type RowKind = 'pair' | 'labeled' | 'response' | 'prompt' | 'text';

export interface AnyRow {
  readonly kind: RowKind;
  readonly promptIds: readonly number[];
  /** Of a pair: chosen, rejected; of a prompt alone: none; of a text: all tokens but its first. */
  readonly responses: readonly (readonly number[])[];
  readonly desirable?: boolean;
}

/** Reads rows of any form, each as what its fields make it, for a look at a file. Otherwise the same as `readPairs`. */
export function readAny(path: string, tokenizer: Tokenizer, options: ReadOptions): Promise<AnyRow[]> {
  const chat = chatOf(tokenizer.chatTemplate, options.onMessages);
  const encode = (fields: Fields, boundary: Boundary): AnyRow => {
    if (fields.has('chosen') || fields.has('rejected')) {
      const { promptIds, chosenIds, rejectedIds } = encodedPair(fields, chat, tokenizer, options, boundary);
      return { kind: 'pair', promptIds, responses: [chosenIds, rejectedIds] };
    }
    if (isPlainText(fields)) {
      const [whole] = encodedText(fields, tokenizer, { maxLength: Infinity });
      return { kind: 'text', ...whole! };
    }
    if (!['output', 'response', 'completion', 'messages'].some((name) => fields.has(name))) {
      const promptIds = encodedPrompt(fields, chat, tokenizer, { ...options, maxNewTokens: 0 });
      return { kind: 'prompt', promptIds, responses: [] };
    }
    const { promptIds, responses } = encodedResponse(fields, chat, tokenizer, options, boundary);
    if (!fields.has('label')) return { kind: 'response', promptIds, responses };
    return { kind: 'labeled', promptIds, responses, desirable: fields.flag('label') };
  };
  return encodeRows(path, ANY, encode, tokenizer, options);
}
