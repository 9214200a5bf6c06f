/** JSON files that hold an object: config.json, tokenizer.json, an index of shards. */
import { closeSync, openSync, readSync } from 'node:fs';

import { FileError } from '../errors';
import { foreignFile } from './fileBytes';

export type JsonObject = Record<string, unknown>;

/** In bytes; the tokenizer.json of 250,000 tokens has 20 million. */
const LARGEST = 200e6;

/** @throws FileError if the file cannot be read, is not JSON, or does not hold an object. */
export function readJsonObject(path: string): JsonObject {
  return readJson(path).json;
}

/** The object, with its text: a pipe cannot be read a second time. */
export function readJson(path: string): { json: JsonObject; text: string } {
  const text = readText(path);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new FileError(path, foreignFile(path) ?? `cannot be read as JSON (${(cause as Error).message})`, { cause });
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new FileError(path, 'is not a JSON object');
  return { json: json as JsonObject, text };
}

/** @throws FileError if it cannot be read, or does not end, as with a device. */
function readText(path: string): string {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    const file = openSync(path, 'r');
    try {
      for (let count = -1; count !== 0 && size <= LARGEST; size += count) {
        const chunk = Buffer.allocUnsafe(2 ** 20);
        count = readSync(file, chunk);
        chunks.push(chunk.subarray(0, count));
      }
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    throw new FileError(path, `cannot be read as JSON (${(cause as Error).message})`, { cause });
  }
  if (size > LARGEST)
    throw new FileError(path, `has more than ${LARGEST / 1e6} MB, too many for a JSON file; give another file`);
  return Buffer.concat(chunks).toString();
}
