/** Rows of a Parquet file. */
import { once } from 'node:events';
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

import { FileError } from '../errors';

/** The magic bytes at both ends of a Parquet file. */
export const PARQUET_MAGIC = 'PAR1';

/** Decided by the file's name, or by its first bytes. A pipe is never read here, since bytes cannot be put back. */
export function isParquet(path: string): boolean {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return false;
  if (path.endsWith('.parquet')) return true;
  const first = Buffer.alloc(PARQUET_MAGIC.length);
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return false; // whoever reads it as lines says why
  }
  readSync(file, first, 0, first.length, 0);
  closeSync(file);
  return first.toString('latin1') === PARQUET_MAGIC;
}

/** What a worker is given. */
export interface Task {
  readonly path: string;
  readonly columns: readonly string[];
}

type Rows = readonly Record<string, unknown>[];

/**
 * The rows in order, each with those of the columns that the file has; its other columns, unread, are there as
 * undefined, so that a message can name them. Only one row group, and only these columns, are in memory at a time. A
 * text is a string, one that is not UTF-8 its bytes; a list of structs is an array of objects; a missing value is null
 * or undefined.
 *
 * hyparquet trusts what it reads. In a damaged file it may leave errors to nobody, which ends a process, or follow a
 * wrong count for hours. So it works in a thread of its own, which has `patience` for each row group.
 *
 * @param patience in milliseconds; decoding takes a hundredth of the default.
 * @throws FileError if the file is not Parquet, is detectably damaged, or cannot be read. Parquet has checksums, but
 *   few writers make them and hyparquet looks at none: a changed byte within a text may pass.
 */
export async function* parquetRows(
  path: string,
  columns: readonly string[],
  patience = 60_000 + Math.ceil(statSync(path).size / 1000),
): AsyncGenerator<Record<string, unknown>> {
  const worker = new Worker(join(__dirname, 'parquetWorker.js'), { workerData: { path, columns } satisfies Task });
  const failure = new Promise<never>((_, reject) => worker.on('error', reject));
  failure.catch(() => undefined); // it may come when nobody waits, after the last row
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
