/** Rows from a file of JSON lines, as token ids. Fields that are not asked for are passed over. */
import { createReadStream } from 'node:fs';

import { FileError, InputError } from '../errors';
import { appendEos, encodePair, type PairIds } from './batch';
import type { PromptResponses } from './responseBatch';
import { alpacaPrompt } from './templates';
import type { Tokenizer } from './tokenizer';

/**
 * Preference pairs: {"prompt", "chosen", "rejected"}, or the Alpaca form {"instruction", "input" (may be missing), "chosen",
 * "rejected"}. Reads and encodes every row, so that a wrong one is found before anything is computed. Empty lines are passed over.
 *
 * @param path a file, or `-` for the standard input.
 * @param options.maxLength the most tokens of a prompt and one response, such as the model's `blockSize`.
 * @throws FileError, naming the line, if it is not JSON, lacks a field, has an empty text or two equal responses, or is too long.
 */
export function readPairs(path: string, tokenizer: Tokenizer, options: { maxLength: number }): Promise<PairIds[]> {
  return readRows(path, (fields) => pair(fields, tokenizer, options.maxLength));
}

/**
 * A response to each prompt, for SFT: {"prompt", "response"}, or the Alpaca form {"instruction", "input" (may be missing), "output"}.
 * Otherwise as `readPairs`.
 */
export function readResponses(path: string, tokenizer: Tokenizer, options: { maxLength: number }): Promise<PromptResponses[]> {
  return readRows(path, (fields) => response(fields, tokenizer, options.maxLength));
}

async function readRows<Row>(path: string, encode: (fields: Fields) => Row): Promise<Row[]> {
  const name = path === '-' ? 'standard input' : path;
  const rows: Row[] = [];
  let number = 0;
  for await (const line of lines(path, name)) {
    number += 1;
    if (line.trim() === '') continue;
    try {
      rows.push(encode(new Fields(line)));
    } catch (cause) {
      if (cause instanceof InputError) throw new FileError(name, `line ${number}: ${cause.message}`, { cause });
      throw cause;
    }
  }
  if (rows.length === 0) throw new FileError(name, 'has no rows');
  return rows;
}

async function* lines(path: string, name: string): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true }); // takes a byte order mark away
  let rest = '';
  try {
    for await (const chunk of path === '-' ? process.stdin : createReadStream(path)) {
      const parts = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n');
      rest = parts.pop()!;
      yield* parts;
    }
    yield rest + decoder.decode();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') throw new FileError(name, 'is not UTF-8', { cause });
    if (code === 'ENOENT' || code === 'EISDIR' || code === 'EACCES') throw new FileError(name, `cannot be read (${message})`, { cause });
    throw cause;
  }
}

function pair(fields: Fields, tokenizer: Tokenizer, maxLength: number): PairIds {
  const ids = encodePair(tokenizer, { prompt: fields.prompt(), chosen: fields.text('chosen'), rejected: fields.text('rejected') });
  const { promptIds, chosenIds, rejectedIds } = ids;
  if (chosenIds.join() === rejectedIds.join()) throw new InputError('chosen and rejected are the same, so the pair prefers nothing; leave it out');
  checkLength(promptIds.length + Math.max(chosenIds.length, rejectedIds.length), maxLength);
  return ids;
}

function response(fields: Fields, tokenizer: Tokenizer, maxLength: number): PromptResponses {
  const prompt = fields.prompt();
  const text = fields.text(fields.has('instruction') ? 'output' : 'response');
  for (const [name, value] of Object.entries({ prompt, response: text })) if (value === '') throw new InputError(`${name} is empty`);
  const promptIds = tokenizer.encode(prompt);
  const ids = appendEos(tokenizer.encode(text), tokenizer.eosTokenId);
  checkLength(promptIds.length + ids.length, maxLength);
  return { promptIds, responses: [ids] };
}

function checkLength(length: number, maxLength: number): void {
  if (length > maxLength) throw new InputError(`${length} tokens, the limit is ${maxLength}; shorten its texts or leave it out`);
}

/** One line's fields. */
class Fields {
  readonly #row: Readonly<Record<string, unknown>>;

  constructor(line: string) {
    let row: unknown;
    try {
      row = JSON.parse(line);
    } catch (cause) {
      throw new InputError(`is not JSON (${(cause as Error).message.replace(/\s+/g, ' ')})`, { cause });
    }
    if (typeof row !== 'object' || row === null || Array.isArray(row)) throw new InputError('is not a JSON object');
    this.#row = row as Record<string, unknown>;
  }

  has(name: string): boolean {
    return this.#row[name] !== undefined;
  }

  text(name: string): string {
    const value = this.#row[name];
    if (value === undefined) throw new InputError(`has no "${name}"`);
    if (typeof value !== 'string') throw new InputError(`"${name}" is not a text`);
    return value;
  }

  /** The field "prompt", or the Alpaca prompt of "instruction" and "input". */
  prompt(): string {
    if (this.has('prompt') || !this.has('instruction')) return this.text('prompt');
    return alpacaPrompt({ instruction: this.text('instruction'), ...(this.has('input') && { input: this.text('input') }) });
  }
}
