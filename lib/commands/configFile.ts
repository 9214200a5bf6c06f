/** A config file: one JSON object, whose fields must be known, once each, and of their types. */
import { readFileSync } from 'node:fs';

import { clipped, FileError } from '../errors';
import { readJsonObject } from '../jsonFile';
import { parseStrictJson } from '../model/strictJson';

/** Each kind's type in JSON, and what a message calls it. */
const KINDS = { text: ['string', 'a text'], number: ['number', 'a number'], flag: ['boolean', 'true or false'] } as const;
export type Kind = keyof typeof KINDS;

/** @throws FileError if a field is unknown, of another type, or in the file twice: JSON.parse would take the last one without a word. */
export function readConfigFile(path: string, fields: Readonly<Record<string, Kind>>): Record<string, unknown> {
  const values = readJsonObject(path);
  try {
    parseStrictJson(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new FileError(path, `${(cause as Error).message}; write each field once, as plain JSON`, { cause });
  }
  for (const [name, value] of Object.entries(values)) {
    const kind = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (kind === undefined) throw new FileError(path, `has an unknown field "${clipped(name)}"; there are ${Object.keys(fields).join(', ')}${suggestion(name, Object.keys(fields))}`);
    const [type, called] = KINDS[kind];
    if (typeof value !== type) throw new FileError(path, `"${name}" is not ${called}${remedy(value, kind)}`);
  }
  return values;
}

/** What to write instead, where that is plain. */
function remedy(value: unknown, kind: Kind): string {
  if (value === null) return ' but null; leave it out for the default';
  if (kind === 'text' && Array.isArray(value) && value.every((item) => typeof item === 'string')) return `; write ${clipped(JSON.stringify(value.join(',')))}`;
  if (kind === 'text' && typeof value !== 'object') return `; write it in quotes, ${JSON.stringify(String(value))}`;
  const text = typeof value === 'string' ? value.trim() : '';
  const unquoted = kind === 'flag' ? /^(true|false)$/i.test(text) : text !== '' && Number.isFinite(Number(text));
  return unquoted ? `; write it without quotes, ${kind === 'flag' ? text.toLowerCase() : Number(text)}` : '';
}

/** The known name that a wrong one was most likely meant for, as the end of a message. */
function suggestion(name: string, known: readonly string[]): string {
  const plain = (text: string) => text.slice(0, 40).toLowerCase().replace(/[^a-z0-9]/g, '');
  const [nearest] = known.map((candidate) => ({ candidate, distance: distance(plain(name), plain(candidate)) })).sort((a, b) => a.distance - b.distance);
  return nearest !== undefined && nearest.distance <= Math.max(1, name.length / 3) ? `. Did you mean "${nearest.candidate}"?` : '';
}

/** Levenshtein's: the insertions, deletions and replacements of a letter that make the one of the other. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, n) => n);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
