/** Files that are something else than their names say: what stands in for them is told from what is damaged. */
import { closeSync, openSync, readSync } from 'node:fs';

const FIRST = 64; // bytes, of which the signatures below need fewer

const SIGNATURES: readonly (readonly [begins: RegExp, said: string])[] = [
  [/^$/, 'is empty'],
  [
    /^version https:\/\/git-lfs\.github\.com\/spec\//,
    'is a pointer of Git LFS, not the file itself; run "git lfs pull" where it was cloned, or download the file',
  ],
  [
    /^\s*<(!doctype html|html|head|\?xml)/i,
    'is a web page, such as a proxy or a login gives in place of a file; download the file again',
  ],
  [/^\x1f\x8b/, 'is compressed with gzip; unpack it first: gunzip'],
  [/^PK\x03\x04/, 'is a zip archive, as torch.save writes; give the safetensors file'],
  [
    /^\x80[\x02-\x05]/,
    "is a Python pickle, which could run code and is not read; save it with transformers' save_pretrained",
  ],
];

/**
 * What a file that begins with these bytes is, as the rest of a sentence, if it is one of those that often stand in for
 * others.
 */
function foreign(first: Uint8Array): string | undefined {
  const text = Buffer.from(first.subarray(0, FIRST)).toString('latin1');
  return SIGNATURES.find(([begins]) => begins.test(text))?.[1];
}

/** The same of a file; undefined, too, where it cannot be read: whoever reads it says why. */
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
    return undefined; // a folder, say
  } finally {
    closeSync(file);
  }
}
