/** What a file's bytes say: a hash of them, and what the file is if it is not what its name says. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

import { FileError } from '../errors';

const PART = 4 * 2 ** 20; // bytes

/**
 * A hash of a file's bytes.
 *
 * @param hash the hash to update with the bytes. Default: a new sha256.
 * @returns hexadecimal digits.
 */
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

const FIRST = 64; // bytes; the signatures below need fewer

/** Kinds of files that are often found in place of others. */
const SIGNATURES: readonly (readonly [begins: RegExp, said: string])[] = [
  [/^$/, 'is empty'],
  [
    /^version https:\/\/git-lfs\.github\.com\/spec\//,
    'is a Git LFS pointer, not the file itself; run "git lfs pull" where it was cloned, or download the file',
  ],
  [
    /^\s*<(!doctype html|html|head|\?xml)/i,
    'is a web page, such as a proxy or a login sends in place of a file; download the file again',
  ],
  [/^\x1f\x8b/, 'is compressed with gzip; unpack it first: gunzip'],
  [/^PK\x03\x04/, 'is a zip archive, as torch.save writes; give the safetensors file'],
  [
    /^\x80[\x02-\x05]/,
    "is a Python pickle, which could run code and is not read; save it with transformers' save_pretrained",
  ],
];

/**
 * Describes a file by its first bytes, as the rest of a sentence, if it is of a kind often found in place of others.
 */
function foreign(first: Uint8Array): string | undefined {
  const text = Buffer.from(first.subarray(0, FIRST)).toString('latin1');
  return SIGNATURES.find(([begins]) => begins.test(text))?.[1];
}

/** The same for a path; also undefined if the file cannot be read, which its reader then reports. */
export function foreignFile(path: string): string | undefined {
  const first = Buffer.alloc(FIRST);
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    return foreign(first.subarray(0, readSync(file, first)));
  } catch {
    return undefined; // a folder, for instance
  } finally {
    closeSync(file);
  }
}

/**
 * A text file's content.
 *
 * @throws FileError if it cannot be read, or is another kind of file.
 */
export function readText(path: string): string {
  const foreign = foreignFile(path);
  if (foreign !== undefined) throw new FileError(path, foreign);
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new FileError(path, `cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}
