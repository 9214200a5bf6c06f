/** Turns token ids of prompts and responses into padded tensors. */
import { InputError, plural } from '../errors';
import { largest } from '../ranges';
import { tf } from '../tf';

/** A prompt and its two responses as token ids; the responses include their end-of-sequence token. */
export interface PairIds {
  promptIds: readonly number[];
  chosenIds: readonly number[];
  rejectedIds: readonly number[];
  /**
   * How much higher a reward model should score chosen than rejected, if the data include it; other kinds of training
   * ignore it.
   */
  margin?: number;
}

/** Rows of ids, padded on the right. All three tensors are [B, T] int32. */
export interface PaddedRows {
  inputIds: tf.Tensor2D;
  /** 1 on every token of the prompt and response, 0 on padding. */
  attentionMask: tf.Tensor2D;
  /** 1 on the tokens of the response, including its end-of-sequence token; 0 elsewhere. */
  responseMask: tf.Tensor2D;
}

/**
 * Encodes prompt and responses separately, so that no token spans their boundary, and ends each response with one
 * end-of-sequence token: a model that is never scored on this token never learns to stop.
 *
 * @param texts `templated`: chosen and rejected are as a chat template renders them; see `endedIds`.
 * @throws InputError if one of the texts is empty.
 */
export function encodePair(
  tokenizer: Encoder,
  { prompt, chosen, rejected, templated }: { prompt: string; chosen: string; rejected: string; templated?: boolean },
): { promptIds: number[]; chosenIds: number[]; rejectedIds: number[] } {
  for (const [name, text] of Object.entries({ prompt, chosen, rejected })) {
    if (text === '') throw new InputError(`${name} is empty`);
  }
  return {
    promptIds: tokenizer.encode(prompt),
    chosenIds: endedIds(tokenizer, chosen, templated),
    rejectedIds: endedIds(tokenizer, rejected, templated),
  };
}

/** The members of a tokenizer that encoding needs. */
export interface Encoder {
  encode(text: string): number[];
  readonly eosTokenId: number;
  readonly eosToken?: string;
}

/**
 * A response's ids. They end with the end-of-sequence token, which is appended unless it is already there.
 *
 * @param templated the text is a chat template's rendering of a message. Many templates write white space after the
 *   token that ends a message; such texts are not changed.
 */
export function endedIds(tokenizer: Encoder, text: string, templated = false): number[] {
  const { eosTokenId, eosToken } = tokenizer;
  const ids = tokenizer.encode(text);
  return templated && eosToken !== undefined && text.trimEnd().endsWith(eosToken) ? ids : appendEos(ids, eosTokenId);
}

/** Appends `eosTokenId`; ids that already end with it stay as they are. */
export function appendEos(ids: readonly number[], eosTokenId: number): number[] {
  return ids.at(-1) === eosTokenId ? ids.slice() : ids.concat(eosTokenId); // neither has spare room
}

/**
 * Index at which the response begins in ids encoded from prompt and response as one text: right after the prompt's ids,
 * if the tokenizer did not merge across the boundary.
 *
 * @throws InputError if the ids do not begin with the prompt's ids, or contain nothing after them.
 */
export function responseStart(promptIds: readonly number[], ids: readonly number[]): number {
  const differs = promptIds.findIndex((id, position) => id !== ids[position]);
  if (differs >= 0) {
    throw new InputError(
      `the ids do not begin with the prompt's: position ${differs} is ${ids[differs]}, the prompt has ` +
        `${promptIds[differs]}; ` +
        'encode prompt and response separately (encodePair)',
    );
  }
  if (ids.length === promptIds.length) throw new InputError('the ids end with the prompt; there is no response');
  return promptIds.length;
}

/**
 * Turns rows into one batch of chosen and one of rejected sequences, prompt and response joined and padded on the right
 * to a common length. Masks are computed from lengths, never by comparing ids with `padId`: GPT-2 has no padding token,
 * and the end-of-sequence token that commonly stands in for it is also a real token.
 *
 * @param options.padId the id to pad with; no computation depends on it.
 * @param options.maxLength maximum number of tokens in prompt and response together, such as the model's `blockSize`.
 * @throws InputError naming the row if a prompt or response is empty, an id is not a non-negative integer, the row is
 *   too long, or chosen and rejected are the same, for which the loss has no gradient.
 */
export function preferenceBatch(
  rows: readonly PairIds[],
  { padId, maxLength = Infinity }: { padId: number; maxLength?: number },
): { chosen: PaddedRows; rejected: PaddedRows } {
  if (rows.length === 0) throw new InputError('a batch needs at least one row');
  rows.forEach((row, index) => check(row, index, maxLength));
  const T = largest(rows.map(longestText));
  return {
    chosen: pad(
      rows.map(({ promptIds, chosenIds }) => [promptIds, chosenIds]),
      T,
      padId,
    ),
    rejected: pad(
      rows.map(({ promptIds, rejectedIds }) => [promptIds, rejectedIds]),
      T,
      padId,
    ),
  };
}

/** Tokens of the longer of a pair's two texts: what a model's window must hold. */
export function longestText({ promptIds, chosenIds, rejectedIds }: PairIds): number {
  return promptIds.length + Math.max(chosenIds.length, rejectedIds.length);
}

/** Response tokens of a pair, chosen and rejected. */
export const responseTokens = ({ chosenIds, rejectedIds }: PairIds): number => chosenIds.length + rejectedIds.length;

/** Tokens of a pair whose prompt is computed once: the length by which trainers group pairs. */
export const pairTokens = (pair: PairIds): number => pair.promptIds.length + responseTokens(pair);

function check(row: PairIds, index: number, maxLength: number): void {
  const { promptIds, chosenIds, rejectedIds } = row;
  for (const [name, ids] of Object.entries({ promptIds, chosenIds, rejectedIds })) {
    if (ids.length === 0) throw new InputError(`row ${index}: ${name} is empty`);
    const wrong = ids.find((id) => !Number.isInteger(id) || id < 0);
    if (wrong !== undefined) throw new InputError(`row ${index}: ${name} holds ${wrong}, which is not a token id`);
  }
  if (longestText(row) > maxLength) {
    throw new InputError(
      `row ${index}: ${plural(longestText(row), 'token')}, the limit is ${maxLength}; shorten its texts or ` +
        `leave it out`,
    );
  }
  if (chosenIds.length === rejectedIds.length && chosenIds.every((id, position) => id === rejectedIds[position])) {
    throw new InputError(`row ${index}: chosen and rejected are the same, so the pair teaches nothing; leave it out`);
  }
}

function pad(
  rows: (readonly [prompt: readonly number[], response: readonly number[]])[],
  T: number,
  padId: number,
): PaddedRows {
  const matrix = (prompt: (id: number) => number, response: (id: number) => number, padding: number) =>
    tf.tensor2d(
      rows.map(([promptIds, responseIds]) => {
        const values = [...promptIds.map(prompt), ...responseIds.map(response)];
        return [...values, ...Array<number>(T - values.length).fill(padding)];
      }),
      [rows.length, T],
      'int32',
    );
  return {
    inputIds: matrix(
      (id) => id,
      (id) => id,
      padId,
    ),
    attentionMask: matrix(
      () => 1,
      () => 1,
      0,
    ),
    responseMask: matrix(
      () => 0,
      () => 1,
      0,
    ),
  };
}
