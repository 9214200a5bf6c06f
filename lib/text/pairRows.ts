/** Preference pairs from a file of JSON lines: {"prompt", "chosen", "rejected"} in each, other fields passed over. */
import { createReadStream } from 'node:fs';

import { FileError, InputError } from '../errors';
import { encodePair, type PairIds } from './batch';
import type { Tokenizer } from './tokenizer';

/**
 * Reads and encodes every row, so that a wrong one is found before anything is computed. Empty lines are passed over.
 *
 * @param path a file, or `-` for the standard input.
 * @param options.maxLength the most tokens of a prompt and one response, such as the model's `blockSize`.
 * @throws FileError, naming the line, if it is not JSON, lacks a field, has an empty text or two equal responses, or is too long.
 */
export async function readPairs(path: string, tokenizer: Tokenizer, { maxLength }: { maxLength: number }): Promise<PairIds[]> {
  const name = path === '-' ? 'standard input' : path;
  const pairs: PairIds[] = [];
  let number = 0;
  for await (const line of lines(path, name)) {
    number += 1;
    if (line.trim() === '') continue;
    try {
      pairs.push(pair(line, tokenizer, maxLength));
    } catch (cause) {
      if (cause instanceof InputError) throw new FileError(name, `line ${number}: ${cause.message}`, { cause });
      throw cause;
    }
  }
  if (pairs.length === 0) throw new FileError(name, 'has no rows');
  return pairs;
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

function pair(line: string, tokenizer: Tokenizer, maxLength: number): PairIds {
  const ids = encodePair(tokenizer, fields(line));
  const { promptIds, chosenIds, rejectedIds } = ids;
  if (chosenIds.join() === rejectedIds.join()) throw new InputError('chosen and rejected are the same, so the pair prefers nothing; leave it out');
  const length = promptIds.length + Math.max(chosenIds.length, rejectedIds.length);
  if (length > maxLength) throw new InputError(`${length} tokens, the limit is ${maxLength}; shorten its texts or leave it out`);
  return ids;
}

function fields(line: string): { prompt: string; chosen: string; rejected: string } {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch (cause) {
    throw new InputError(`is not JSON (${(cause as Error).message.replace(/\s+/g, ' ')})`, { cause });
  }
  if (typeof row !== 'object' || row === null || Array.isArray(row)) throw new InputError('is not a JSON object');
  const field = (name: string): string => {
    const value = (row as Record<string, unknown>)[name];
    if (value === undefined) throw new InputError(`has no "${name}"`);
    if (typeof value !== 'string') throw new InputError(`"${name}" is not a text`);
    return value;
  };
  return { prompt: field('prompt'), chosen: field('chosen'), rejected: field('rejected') };
}
