/** Rows of a file, of JSON lines or Parquet. */
import { createReadStream } from 'node:fs';

import { FileError, InputError } from '../errors';
import { isParquet, PARQUET_MAGIC, parquetRows } from './parquet';

/** One row of a file. */
export interface Row {
  /** "line 3" of JSON lines, "row 3" of Parquet; the first is 1. */
  readonly place: string;
  /** @throws InputError if the row is not UTF-8, not JSON, or JSON but no object. */
  parse(): Record<string, unknown>;
}

/**
 * @param path a file, or `-` for JSON lines on the standard input. Empty lines are passed over.
 * @param columns what is read of Parquet; a JSON line has all its fields.
 * @throws FileError if the file cannot be read, or is damaged Parquet.
 */
export async function* readRows(path: string, columns: readonly string[]): AsyncGenerator<Row> {
  let number = 0;
  if (path !== '-' && isParquet(path)) {
    for await (const row of parquetRows(path, columns)) yield { place: `row ${(number += 1)}`, parse: () => row };
    return;
  }
  for await (const line of lines(path)) {
    number += 1;
    if (!isBlank(line)) yield { place: `line ${number}`, parse: () => parseLine(line) };
  }
}

/** What a message calls the file. */
export const fileName = (path: string): string => (path === '-' ? 'standard input' : path);

const NEWLINE = 0x0a;

/** Lines as bytes: only so can one that is not UTF-8 be told from the others. A byte order mark at the beginning is taken away. */
async function* lines(path: string): AsyncGenerator<Buffer> {
  let parts: Buffer[] = []; // of the line that has not ended yet
  let first = true;
  const line = (end: Buffer): Buffer => {
    const whole = parts.length === 0 ? end : Buffer.concat([...parts, end]);
    parts = [];
    const marked = first && whole.subarray(0, 3).equals(Buffer.of(0xef, 0xbb, 0xbf));
    first = false;
    return marked ? whole.subarray(3) : whole;
  };
  try {
    for await (const chunk of (path === '-' ? process.stdin : createReadStream(path)) as AsyncIterable<Buffer>) {
      if (first && parts.length === 0 && chunk.toString('latin1', 0, 4) === PARQUET_MAGIC) {
        throw new FileError(fileName(path), 'is Parquet, which is read from its end: give a file, not a pipe');
      }
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        yield line(chunk.subarray(start, end));
        start = end + 1;
      }
      parts.push(chunk.subarray(start));
    }
    yield line(Buffer.alloc(0));
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'EISDIR' || code === 'EACCES') throw new FileError(fileName(path), `cannot be read (${message})`, { cause });
    throw cause;
  }
}

const isBlank = (line: Buffer): boolean => line.length < 100 && line.toString('latin1').trim() === '';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function parseLine(line: Buffer): Record<string, unknown> {
  let text: string;
  try {
    text = decoder.decode(line);
  } catch (cause) {
    throw new InputError('is not UTF-8', { cause });
  }
  let row: unknown;
  try {
    row = JSON.parse(text);
  } catch (cause) {
    throw new InputError(`is not JSON (${(cause as Error).message.replace(/\s+/g, ' ')})`, { cause });
  }
  if (typeof row !== 'object' || row === null || Array.isArray(row)) throw new InputError('is not a JSON object');
  return row as Record<string, unknown>;
}
