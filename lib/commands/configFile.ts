/** A config file: one JSON object, whose fields must be known, once each, and of their types. */
import { clipped, FileError } from '../errors';
import { readJson } from '../formats/jsonFile';
import { parseStrictJson } from '../formats/strictJson';
import { expandHome } from '../hub/homePath';
import { hint, nearest } from './arguments';

/** Each kind's type in JSON, and what a message calls it. */
const KINDS = {
  text: ['string', 'a text'],
  path: ['string', 'a text'],
  number: ['number', 'a number'],
  flag: ['boolean', 'true or false'],
} as const;
export type Kind = keyof typeof KINDS;

/**
 * @throws FileError if a field is unknown, of another type, or in the file twice: JSON.parse would take the last one
 * without a word.
 */
export function readConfigFile(path: string, fields: Readonly<Record<string, Kind>>): Record<string, unknown> {
  const { json: values, text } = readJson(path);
  try {
    parseStrictJson(text);
  } catch (cause) {
    throw new FileError(path, `${(cause as Error).message}; write each field once, as plain JSON`, { cause });
  }
  for (const [name, value] of Object.entries(values)) {
    const kind = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (kind === undefined)
      throw new FileError(
        path,
        `has an unknown field "${clipped(name)}"; there are ${Object.keys(fields).join(', ')}${hint(nearest(clipped(name), Object.keys(fields)))}`,
      );
    const [type, called] = KINDS[kind];
    if (typeof value !== type) throw new FileError(path, `"${name}" is not ${called}${remedy(value, kind)}`);
  }
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      fields[name] === 'path' ? expandHome(value as string) : value,
    ]),
  );
}

/** What to write instead, where that is plain. */
function remedy(value: unknown, kind: Kind): string {
  if (value === null) return ' but null; leave it out for the default';
  const isText = kind === 'text' || kind === 'path';
  if (isText && Array.isArray(value) && value.every((item) => typeof item === 'string'))
    return `; write ${clipped(JSON.stringify(value.join(',')))}`;
  if (isText && typeof value !== 'object') return `; write it in quotes, ${JSON.stringify(String(value))}`;
  const text = typeof value === 'string' ? value.trim() : '';
  const unquoted = kind === 'flag' ? /^(true|false)$/i.test(text) : text !== '' && Number.isFinite(Number(text));
  return unquoted ? `; write it without quotes, ${kind === 'flag' ? text.toLowerCase() : Number(text)}` : '';
}
