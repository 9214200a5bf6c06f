/** The tokens that end a text in generation, as generation_config.json and config.json name them. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { FileError, quoted } from '../errors';
import { readJsonObject } from '../formats/jsonFile';

/**
 * @returns the ids in generation_config.json or, if it is missing or names none, in config.json.
 * @throws FileError if `eos_token_id` is not a token id, a list of token ids, or null.
 */
export function readEndTokens(folder: string): number[] {
  const [first, ...rest] = ['generation_config.json', 'config.json']
    .map((name) => join(folder, name))
    .filter((path) => existsSync(path))
    .map(endTokens);
  return first === undefined || first.length > 0 ? (first ?? []) : (rest[0] ?? []);
}

function endTokens(path: string): number[] {
  const { eos_token_id: given = null } = readJsonObject(path);
  const ids: unknown[] = given === null ? [] : Array.isArray(given) ? given : [given];
  if (ids.every((id): id is number => typeof id === 'number' && Number.isInteger(id) && id >= 0)) return ids;
  throw new FileError(
    path,
    `"eos_token_id" must be a token id, a list of them, or null, got ${quoted(JSON.stringify(given))}`,
  );
}
