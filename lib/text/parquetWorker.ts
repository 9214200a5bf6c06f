/** The worker thread of parquet.ts: decodes a Parquet file and posts one row group's rows per request, then null. */
import { once } from 'node:events';
import { parentPort, workerData } from 'node:worker_threads';

import type { Task } from './parquet';

async function decode({ path, columns }: Task): Promise<void> {
  const { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } = await import('hyparquet');
  const { compressors } = await import('hyparquet-compressors');
  const file = await asyncBufferFromFile(path);
  const metadata = await parquetMetadataAsync(file);
  const there = parquetSchema(metadata).children.map(({ element }) => element.name);
  const others = Object.fromEntries(there.filter((name) => !columns.includes(name)).map((name) => [name, undefined]));
  const options = {
    file,
    metadata,
    compressors,
    parsers: { stringFromBytes },
    columns: columns.filter((name) => there.includes(name)),
  };
  let rowStart = 0;
  for (const group of metadata.row_groups) {
    const rowEnd = rowStart + Number(group.num_rows);
    const rows = await parquetReadObjects({ ...options, rowStart, rowEnd });
    if (rows.length !== Number(group.num_rows)) throw new Error(`${rows.length} rows instead of ${group.num_rows}`);
    parentPort!.postMessage(rows.map((row) => ({ ...others, ...row })));
    await once(parentPort!, 'message');
    rowStart = rowEnd;
  }
  parentPort!.postMessage(null);
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Keeps one text that is not UTF-8 from losing the others: its bytes are passed on, and whoever reads the field refuses
 * it.
 */
function stringFromBytes(bytes: Uint8Array | undefined): unknown {
  try {
    return bytes && decoder.decode(bytes);
  } catch {
    return bytes;
  }
}

void decode(workerData as Task); // an exception here becomes the worker's error event
