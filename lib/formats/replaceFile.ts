/** Files written completely or not at all. */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';

import { FileError } from '../errors';

const MAX_WRITE = 2 ** 30; // bytes; one call takes less than 2^31

/** @throws FileError if no file can be written there. Call it before long work whose result goes there. */
export function requireWritable(path: string): void {
  const folder = dirname(path);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new FileError(path, 'is a folder; give the name of a file');
  if (!existsSync(folder))
    throw new FileError(path, `cannot be written: ${folder} does not exist; make that folder first`);
  try {
    accessSync(folder, constants.W_OK);
  } catch (cause) {
    throw new FileError(
      path,
      `cannot be written: ${folder} does not allow it (${(cause as NodeJS.ErrnoException).code})`,
      { cause },
    );
  }
}

/**
 * Writes under a temporary name beside `path`, then renames: readers find either the old file or the new one, and only
 * the old one after a failure.
 *
 * @param fill receives a function that appends bytes, or text as UTF-8.
 */
export function replaceFile(path: string, fill: (write: (part: Uint8Array | string) => void) => void): void {
  requireWritable(path);
  const temporary = `${path}.${process.pid}.tmp`;
  const file = openSync(temporary, 'w');
  try {
    fill((part) => {
      const bytes = typeof part === 'string' ? Buffer.from(part) : part;
      for (let done = 0; done < bytes.length;)
        done += writeSync(file, bytes, done, Math.min(bytes.length - done, MAX_WRITE));
    });
    fsyncSync(file);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}
