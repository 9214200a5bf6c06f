/** A file's sha256. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';

const PART = 4 * 2 ** 20; // bytes

/** @returns 64 hexadecimal digits. */
export function fileDigest(path: string): string {
  const hash = createHash('sha256');
  const part = Buffer.allocUnsafe(PART);
  const file = openSync(path, 'r');
  try {
    for (let count = readSync(file, part); count > 0; count = readSync(file, part)) hash.update(part.subarray(0, count));
  } finally {
    closeSync(file);
  }
  return hash.digest('hex');
}
