/** JSON files that hold an object: config.json, tokenizer.json, an index of shards. */
import { readFileSync } from 'node:fs';

import { FileError } from './errors';
import { foreignFile } from './foreignFile';

export type JsonObject = Record<string, unknown>;

/** @throws FileError if the file cannot be read, is not JSON, or holds something else than an object. */
export function readJsonObject(path: string): JsonObject {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new FileError(path, foreignFile(path) ?? `cannot be read as JSON (${(cause as Error).message})`, { cause });
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new FileError(path, 'is not a JSON object');
  return json as JsonObject;
}
