/** Reads the rows of a Parquet file. */
import { once } from 'node:events';
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

import { FileError } from '../errors';

/** The magic bytes at both ends of a Parquet file. */
export const PARQUET_MAGIC = 'PAR1';

/**
 * Decides by the file's name or its first bytes. A pipe is never read here, because its bytes could not be put back.
 */
export function isParquet(path: string): boolean {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return false;
  if (path.endsWith('.parquet')) return true;
  const first = Buffer.alloc(PARQUET_MAGIC.length);
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return false; // the code that reads it as lines reports why
  }
  readSync(file, first, 0, first.length, 0);
  closeSync(file);
  return first.toString('latin1') === PARQUET_MAGIC;
}

/** What the worker receives. */
export interface Task {
  readonly path: string;
  readonly columns: readonly string[];
}

type Rows = readonly Record<string, unknown>[];

/**
 * Yields the rows in order, each with the requested columns that the file has. The file's other columns are not read,
 * but are present as undefined so that a message can name them. Only one row group, with only these columns, is in
 * memory at a time. A text is a string or, if it is not UTF-8, its bytes; a list of structs is an array of objects; a
 * missing value is null or undefined.
 *
 * hyparquet trusts what it reads. On a damaged file it may raise errors that nothing catches, which ends the process,
 * or follow a wrong count for hours. It therefore runs in its own thread, which has `patience` milliseconds for each
 * row group.
 *
 * @param patience in milliseconds; decoding takes about a hundredth of the default.
 * @throws FileError if the file is not Parquet, is detectably damaged, or cannot be read. Parquet has checksums, but
 *   few writers produce them and hyparquet does not verify them, so a changed byte within a text may go unnoticed.
 */
export async function* parquetRows(
  path: string,
  columns: readonly string[],
  patience = 60_000 + Math.ceil(statSync(path).size / 1000),
): AsyncGenerator<Record<string, unknown>> {
  const worker = new Worker(join(__dirname, 'parquetWorker.js'), { workerData: { path, columns } satisfies Task });
  const failure = new Promise<never>((_, reject) => worker.on('error', reject));
  failure.catch(() => undefined); // it may arrive after the last row, when nothing awaits it
  try {
    for (;;) {
      const rows = await Promise.race([answer(worker, patience), failure]);
      if (rows === null) return;
      yield* rows;
      worker.postMessage('next');
    }
  } catch (cause) {
    const late = (cause as Error).name === 'AbortError';
    throw new FileError(
      path,
      'cannot be read as Parquet ' +
        `(${late ? `not decoded in ${Math.round(patience / 1000)} s` : (cause as Error).message})`,
      { cause },
    );
  } finally {
    await worker.terminate();
  }
}

async function answer(worker: Worker, patience: number): Promise<Rows | null> {
  const [rows] = (await once(worker, 'message', { signal: AbortSignal.timeout(patience) })) as [Rows | null];
  return rows;
}
