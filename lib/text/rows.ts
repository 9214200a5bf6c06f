/**
 * Reads the rows of a file (JSON Lines, a JSON array, CSV or Parquet) or of a data set: file -> rows -> texts
 * (rowTexts.ts) -> ids (encodeRows.ts).
 */
import { createReadStream, readdirSync, statSync } from 'node:fs';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';

import { clipped, FileError, InputError } from '../errors';
import { dataSetFiles, isDataSetName } from '../hub/dataSet';
import { expandHome } from '../hub/modelName';
import { separatorOf, tableRows } from './csv';
import { foreignFolder, foreignForm, foreignObject } from './foreignForms';
import { isParquet, PARQUET_MAGIC, parquetRows } from './parquet';
import { isTextFile, wholeText } from './plainText';
import { selected, type Selection } from './selection';

/** One row of a file. */
export interface Row {
  /** "line 3" in JSON Lines, "row 3" in an array or in Parquet, counted from 1; "the text" in a .txt file. */
  readonly place: string;
  /**
   * @throws InputError if the row is not UTF-8, not JSON, or not a JSON object; FileError if it is the first row and
   *   shows that the file has another form.
   */
  parse(): Record<string, unknown>;
}

/** Where rows come from, and which of them are taken. */
export interface RowSource extends Selection {
  /** The configuration of a data set, also called subset. Default: its default. */
  readonly configName?: string | undefined;
  /** Receives one line about a data set: what was chosen, its rows, its license and its commit. */
  readonly onDataSet?: ((description: string) => void) | undefined;
}

/**
 * @param name a file, or `-` for standard input: JSON Lines, a JSON array of objects, CSV, also compressed with gzip;
 *   or Parquet. A data set on the hub, `hf:NAME` (hub/dataSet.ts), is its files, one after another. Empty lines are
 *   skipped. A .txt file is a single row, {"text"}.
 * @param columns the columns to read from Parquet and CSV; their other columns are present as undefined. A row of JSON
 *   has all its fields.
 * @throws FileError if a file cannot be read, is damaged, or has an unsupported form; the message names the form and
 *   the remedy. InputError, HubError as `dataSetFiles` does.
 */
export function readRows(name: string, columns: readonly string[], source: RowSource = {}): AsyncGenerator<Row> {
  const rows = isDataSetName(name) ? dataSetRows(name, columns, source) : fileRows(expandHome(name), columns);
  return selected(rows, source);
}

/** The rows of a data set's files; a place then begins with the file's name. */
async function* dataSetRows(
  name: string,
  columns: readonly string[],
  { configName, onDataSet }: RowSource,
): AsyncGenerator<Row> {
  const { files, description } = await dataSetFiles(name, { configName });
  onDataSet?.(description);
  for (const file of files)
    for await (const { place, parse } of fileRows(file.path, columns)) yield { place: `${file.name}, ${place}`, parse };
}

async function* fileRows(path: string, columns: readonly string[]): AsyncGenerator<Row> {
  let number = 0;
  let first = true;
  if (kindOf(path) === 'Parquet') {
    for await (const row of parquetRows(path, columns)) yield { place: `row ${(number += 1)}`, parse: () => row };
    return;
  }
  const chunks = bytesOf(path);
  const start = await atLeast(chunks, 64);
  if (isTextFile(path, start)) {
    const text = await wholeText(joined(start, chunks), fileName(path));
    yield { place: 'the text', parse: () => ({ text }) };
    return;
  }
  const separator = separatorOf(start, path);
  if (isArray(start)) {
    for (const row of await arrayRows(joined(start, chunks), path)) {
      number += 1;
      const parse = () => asRow(row);
      yield { place: `row ${number}`, parse: number === 1 ? () => firstRow(parse(), columns, path) : parse };
    }
  } else if (separator !== undefined && foreignForm(start, path) === undefined) {
    const table = tableRows(joined(start, chunks), { separator, columns, file: fileName(path) });
    for await (const { line, parse } of table) yield { place: `line ${line}`, parse };
  } else {
    for await (const line of lines(joined(start, chunks), path)) {
      number += 1;
      if (isBlank(line)) continue;
      const parse = first ? () => firstRow(parseLine(line), columns, path) : () => parseLine(line);
      first = false;
      yield { place: `line ${number}`, parse };
    }
  }
}

/** @throws FileError if the path is a folder or is not a valid path. */
function kindOf(path: string): 'lines' | 'Parquet' {
  if (path === '-') return 'lines';
  try {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory())
      throw new FileError(path, foreignFolder(readdirSync(path), path));
    return isParquet(path) ? 'Parquet' : 'lines';
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === undefined) throw cause;
    throw new FileError(clipped(path), `cannot be read (${code})`, { cause });
  }
}

function firstRow(row: Record<string, unknown>, columns: readonly string[], path: string): Record<string, unknown> {
  const form = foreignObject(row, columns, path);
  if (form !== undefined) throw new FileError(fileName(path), form);
  return row;
}

/** The file's name in messages. */
export const fileName = (path: string): string => (path === '-' ? 'standard input' : path);

const NEWLINE = 0x0a;
/** Maximum bytes in a line. A row of a million characters fits many times over. */
const LONGEST_LINE = 32 * 2 ** 20;
/** Bytes after which to stop waiting for a line's end. */
const ENDLESS = 2 ** 30;

/**
 * A file's bytes, unfolded if they are compressed with gzip, from the first chunk on that says what the file is.
 *
 * @throws FileError if it cannot be read, or is damaged.
 */
async function* bytesOf(path: string): AsyncGenerator<Buffer> {
  const source: AsyncIterable<Buffer> = path === '-' ? process.stdin : createReadStream(path);
  try {
    const chunks = source[Symbol.asyncIterator]();
    const first = await atLeast(chunks, 2);
    const all = joined(first, chunks);
    yield* first.subarray(0, 2).equals(GZIP) ? unfolded(all) : all;
  } catch (cause) {
    const { syscall, code = '', message } = cause as NodeJS.ErrnoException;
    if (code.startsWith('Z_'))
      throw new FileError(fileName(path), `is damaged: gzip says "${message}"; download or write it again`, { cause });
    if (syscall !== undefined) throw new FileError(fileName(path), `cannot be read (${message})`, { cause });
    throw cause;
  }
}

const GZIP = Buffer.of(0x1f, 0x8b);

/** An error on either side ends both; the iteration throws it. */
const unfolded = (chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer> =>
  pipeline(Readable.from(chunks), createGunzip(), () => {});

/** Chunks until they have some bytes, as one. */
async function atLeast(chunks: AsyncIterator<Buffer>, bytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (let size = 0; size < bytes; size = parts.reduce((sum, { length }) => sum + length, 0)) {
    const { value, done } = await chunks.next();
    if (done) break;
    parts.push(value);
  }
  return Buffer.concat(parts);
}

async function* joined(first: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* { [Symbol.asyncIterator]: () => rest };
}

/**
 * The rows of a JSON array, such as `[{"prompt": …}, …]`.
 *
 * @throws FileError if it is too large to be parsed as one text, or is not JSON.
 */
async function arrayRows(chunks: AsyncIterable<Buffer>, path: string): Promise<unknown[]> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    parts.push(chunk);
    size += chunk.length;
    if (size > LARGEST_ARRAY) throw new FileError(fileName(path), foreignForm(parts[0]!, path)!);
  }
  try {
    return JSON.parse(decoder.decode(Buffer.concat(parts)).replace(/^\ufeff/, '')) as unknown[];
  } catch (cause) {
    const { message } = cause as Error;
    throw new FileError(fileName(path), `is a JSON array that cannot be read (${message.replace(/\s+/g, ' ')})`, {
      cause,
    });
  }
}

/** Whether a file begins as an array of objects. */
const isArray = (start: Buffer): boolean => /^(\xef\xbb\xbf)?\s*\[\s*(\{|$)/.test(start.toString('latin1'));
/** Bytes; the longest text that can be parsed at once has 2^29 characters. */
const LARGEST_ARRAY = 500e6;

/**
 * Yields lines as bytes, so that a line that is not UTF-8 can be recognized. Removes a byte order mark at the
 * beginning.
 */
async function* lines(chunks: AsyncIterable<Buffer>, path: string): AsyncGenerator<Buffer> {
  let parts: Buffer[] = []; // of the line that has not ended yet
  let length = 0;
  let first = true;
  const line = (end: Buffer): Buffer => {
    const whole = parts.length === 0 ? end : Buffer.concat([...parts, end]);
    [parts, length] = [[], 0];
    const marked = first && whole.subarray(0, 3).equals(Buffer.of(0xef, 0xbb, 0xbf));
    first = false;
    return marked ? whole.subarray(3) : whole;
  };
  for await (const chunk of chunks) {
    if (first && parts.length === 0) {
      if (chunk.toString('latin1', 0, 4) === PARQUET_MAGIC)
        throw new FileError(fileName(path), 'is Parquet, which is read from its end: give a file, not a pipe');
      const form = foreignForm(chunk, path);
      if (form !== undefined) throw new FileError(fileName(path), form);
    }
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      yield line(chunk.subarray(start, end));
      start = end + 1;
    }
    length += chunk.length - start;
    if (length > ENDLESS)
      throw new FileError(
        fileName(path),
        `has a line of more than ${ENDLESS / 2 ** 30} GB; JSON lines have one row per line`,
      ); // for example, /dev/zero
    // the omitted bytes do not matter: parseLine refuses a line this long
    if (length <= 2 * LONGEST_LINE) parts.push(chunk.subarray(start));
  }
  yield line(Buffer.alloc(0));
}

const isBlank = (line: Buffer): boolean => line.length < 100 && line.toString('latin1').trim() === '';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function parseLine(line: Buffer): Record<string, unknown> {
  if (line.length > LONGEST_LINE)
    throw new InputError(`is longer than ${LONGEST_LINE / 2 ** 20} MB; JSON lines have one row per line`);
  let text: string;
  try {
    text = decoder.decode(line);
  } catch (cause) {
    throw new InputError('is not UTF-8', { cause });
  }
  if (text.includes('\0')) throw new InputError("holds a NUL byte; remove it, as tr -d '\\000' does");
  let row: unknown;
  try {
    row = JSON.parse(text);
  } catch (cause) {
    if (/^\s*\{\s*'/.test(text))
      throw new InputError('is a Python dictionary, not JSON; write the rows with json.dumps', { cause });
    throw new InputError(`is not JSON (${(cause as Error).message.replace(/\s+/g, ' ')})`, { cause });
  }
  return asRow(row);
}

function asRow(row: unknown): Record<string, unknown> {
  if (typeof row !== 'object' || row === null || Array.isArray(row)) throw new InputError('is not a JSON object');
  return row as Record<string, unknown>;
}
