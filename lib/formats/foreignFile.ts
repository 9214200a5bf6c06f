/** Files that are not what their names say, recognized so that a message can say more than "damaged". */
import { closeSync, openSync, readSync } from 'node:fs';

const FIRST = 64; // bytes; the signatures below need fewer

const SIGNATURES: readonly (readonly [begins: RegExp, said: string])[] = [
  [/^$/, 'is empty'],
  [
    /^version https:\/\/git-lfs\.github\.com\/spec\//,
    'is a pointer of Git LFS, not the file itself; run "git lfs pull" where it was cloned, or download the file',
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
