/** Token ids of prompts and responses -> padded tensors. */
import { InputError } from '../errors';
import { largest } from '../ranges';
import { tf } from '../tf';

/** A prompt and its two responses as token ids; the responses include their end-of-sequence token. */
export interface PairIds {
  promptIds: readonly number[];
  chosenIds: readonly number[];
  rejectedIds: readonly number[];
  /**
   * By how much a reward model should score chosen above rejected, where the data say so; no other training looks at
   * it.
   */
  margin?: number;
}

/** Rows of ids, padded on the right. All three [B, T] int32. */
export interface PaddedRows {
  inputIds: tf.Tensor2D;
  /** 1 on every token of prompt and response, 0 on padding. */
  attentionMask: tf.Tensor2D;
  /** 1 on the tokens of the response, its end-of-sequence token included. */
  responseMask: tf.Tensor2D;
}

/**
 * Encodes prompt and responses apart, so that no token spans their boundary, and ends each response with one
 * end-of-sequence token: a model that never sees it scored never learns to stop.
 *
 * @param texts `templated`: chosen and rejected are as a chat template writes them, see `endedIds`.
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

/** What encoding asks of a tokenizer. */
export interface Encoder {
  encode(text: string): number[];
  readonly eosTokenId: number;
  readonly eosToken?: string;
}

/**
 * A response's ids. They end with the end-of-sequence token: one is set after them, unless they have it at their end
 * already.
 *
 * @param templated the text is what a chat template made of a message: many write white space after the token that ends
 *   it, and are left as they are.
 */
export function endedIds(tokenizer: Encoder, text: string, templated = false): number[] {
  const { eosTokenId, eosToken } = tokenizer;
  const ids = tokenizer.encode(text);
  return templated && eosToken !== undefined && text.trimEnd().endsWith(eosToken) ? ids : appendEos(ids, eosTokenId);
}

/** The ids with `eosTokenId` at their end; ids that already end with it stay as they are. */
export function appendEos(ids: readonly number[], eosTokenId: number): number[] {
  return ids.at(-1) === eosTokenId ? [...ids] : [...ids, eosTokenId];
}

/**
 * Where the response begins in ids that were encoded from prompt and response in one piece: right after the prompt's,
 * if the tokenizer did not merge across the boundary.
 *
 * @throws InputError if the ids do not begin with the prompt's, or end with them.
 */
export function responseStart(promptIds: readonly number[], ids: readonly number[]): number {
  const differs = promptIds.findIndex((id, position) => id !== ids[position]);
  if (differs >= 0) {
    throw new InputError(
      `the ids do not begin with the prompt's: position ${differs} is ${ids[differs]}, the prompt has ` +
        `${promptIds[differs]}; ` +
        'encode prompt and response apart (encodePair)',
    );
  }
  if (ids.length === promptIds.length) throw new InputError('the ids end with the prompt; there is no response');
  return promptIds.length;
}

/**
 * Rows -> one batch each of chosen and rejected, prompt and response joined and padded on the right to one length.
 * Masks follow from lengths, never from comparing ids with `padId`: GPT-2 has no padding token of its own, and the
 * end-of-sequence token that commonly stands in for it is also a real one.
 *
 * @param options.padId the id to pad with; nothing looks at it.
 * @param options.maxLength the most tokens of prompt and response together, such as the model's `blockSize`.
 * @throws InputError, naming the row, if a prompt or response is empty, an id is not a whole number from 0 up, the row
 *   is too long, or chosen and rejected are the same, for which the loss has no gradient.
 */
export function preferenceBatch(
  rows: readonly PairIds[],
  { padId, maxLength = Infinity }: { padId: number; maxLength?: number },
): { chosen: PaddedRows; rejected: PaddedRows } {
  if (rows.length === 0) throw new InputError('a batch needs at least one row');
  rows.forEach((row, index) => check(row, index, maxLength));
  const T = largest(rows.map(length));
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

function length({ promptIds, chosenIds, rejectedIds }: PairIds): number {
  return promptIds.length + Math.max(chosenIds.length, rejectedIds.length);
}

function check(row: PairIds, index: number, maxLength: number): void {
  const { promptIds, chosenIds, rejectedIds } = row;
  for (const [name, ids] of Object.entries({ promptIds, chosenIds, rejectedIds })) {
    if (ids.length === 0) throw new InputError(`row ${index}: ${name} is empty`);
    const wrong = ids.find((id) => !Number.isInteger(id) || id < 0);
    if (wrong !== undefined) throw new InputError(`row ${index}: ${name} holds ${wrong}, which is not a token id`);
  }
  if (length(row) > maxLength) {
    throw new InputError(
      `row ${index}: ${length(row)} tokens, the limit is ${maxLength}; shorten its texts or leave it out`,
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
