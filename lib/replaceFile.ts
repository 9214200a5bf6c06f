/** A file written whole or not at all. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';

const MAX_WRITE = 2 ** 30; // bytes; one call takes less than 2^31

/**
 * Writes under a temporary name beside `path`, then gives it that name: whoever looks finds the old file or the new one,
 * and after a failure the old one alone.
 *
 * @param fill is handed a function that appends bytes, or text as UTF-8.
 */
export function replaceFile(path: string, fill: (write: (part: Uint8Array | string) => void) => void): void {
  const temporary = `${path}.${process.pid}.tmp`;
  const file = openSync(temporary, 'w');
  try {
    fill((part) => {
      const bytes = typeof part === 'string' ? Buffer.from(part) : part;
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, Math.min(bytes.length - done, MAX_WRITE));
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
