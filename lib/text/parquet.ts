/** Rows of a Parquet file. */
import { closeSync, openSync, readSync, statSync } from 'node:fs';

import { FileError } from '../errors';

/** A Parquet file begins and ends with it. */
export const PARQUET_MAGIC = 'PAR1';

/** By name or by its first bytes. Of a pipe nothing is read, as it could not be put back. */
export function isParquet(path: string): boolean {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return false;
  if (path.endsWith('.parquet')) return true;
  const first = Buffer.alloc(PARQUET_MAGIC.length);
  const file = openSync(path, 'r');
  try {
    readSync(file, first, 0, first.length, 0);
  } finally {
    closeSync(file);
  }
  return first.toString('latin1') === PARQUET_MAGIC;
}

/**
 * The rows in order, each with those of the columns that the file has. One row group is held at a time, and of it these columns only.
 * A text is a string, one that is not UTF-8 its bytes; a list of structs is an array of objects; a missing value is null or undefined.
 *
 * @throws FileError if the file is no Parquet, is damaged where that can be seen, or cannot be read. Parquet has checksums, but few
 *   writers make them, so a changed byte within a text may pass.
 */
export async function* parquetRows(path: string, columns: readonly string[]): AsyncGenerator<Record<string, unknown>> {
  const { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } = await import('hyparquet');
  const { compressors } = await import('hyparquet-compressors');
  try {
    const file = await asyncBufferFromFile(path);
    const metadata = await parquetMetadataAsync(file);
    const schema = parquetSchema(metadata);
    const paths = leaves(schema);
    const there = schema.children.map(({ element }) => element.name);
    const options = { file, metadata, compressors, parsers: { stringFromBytes }, columns: columns.filter((name) => there.includes(name)) };
    let rowStart = 0;
    for (const group of metadata.row_groups) {
      // hyparquet begins to read before it sees this, and would leave that work's errors to nobody.
      if (group.columns.map(({ meta_data }) => meta_data?.path_in_schema.join('.')).join('\n') !== paths) throw new Error('its columns are not those of its schema');
      const rowEnd = rowStart + Number(group.num_rows);
      const rows = await parquetReadObjects({ ...options, rowStart, rowEnd });
      if (rows.length !== Number(group.num_rows)) throw new Error(`${rows.length} rows where ${group.num_rows} are announced`);
      yield* rows;
      rowStart = rowEnd;
    }
  } catch (cause) {
    const { message } = cause as Error;
    throw new FileError(path, `cannot be read as Parquet (${message})`, { cause });
  }
}

interface Schema {
  readonly path: readonly string[];
  readonly children: readonly Schema[];
}

/** The columns that hold values, one a line. */
function leaves({ path, children }: Schema): string {
  return children.length === 0 ? path.join('.') : children.map(leaves).join('\n');
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** One text that is not UTF-8 shall not lose the others: its bytes go on, for whoever asks for the field to refuse. */
function stringFromBytes(bytes: Uint8Array | undefined): unknown {
  try {
    return bytes && decoder.decode(bytes);
  } catch {
    return bytes;
  }
}
