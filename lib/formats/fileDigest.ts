/** A hash of a file's bytes. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';

const PART = 4 * 2 ** 20; // bytes

/** @param hash the hash to update with the bytes. Default: a new sha256. @returns hexadecimal digits. */
export function fileDigest(path: string, hash: Hash = createHash('sha256')): string {
  const part = Buffer.allocUnsafe(PART);
  const file = openSync(path, 'r');
  try {
    for (let count = readSync(file, part); count > 0; count = readSync(file, part))
      hash.update(part.subarray(0, count));
  } finally {
    closeSync(file);
  }
  return hash.digest('hex');
}
