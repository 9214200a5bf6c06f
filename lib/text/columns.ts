/** The names of a row's columns: those that a setting maps to fields, and common names of the same things. */
import { InputError, quoted } from '../errors';
import { didYouMean } from '../nearest';

/** What data sets call a field. A field that is missing is read from the first of these columns that has a value. */
const OTHER_NAMES: Readonly<Record<string, readonly string[]>> = {
  prompt: ['question', 'query'],
  chosen: ['chosen_response', 'response_chosen', 'preferred', 'response_j'],
  rejected: ['rejected_response', 'response_rejected', 'dispreferred', 'response_k'],
  response: ['answer'],
};

/** The fields that a response can be read from, for SFT. */
export const RESPONSE_FIELDS = ['response', 'chosen'] as const;

const ALL_OTHER_NAMES = Object.values(OTHER_NAMES).flat();

/** Fields that make another one unnecessary: an instruction is a prompt. */
const INSTEAD: Readonly<Record<string, readonly string[]>> = {
  prompt: ['instruction', 'messages'],
  response: ['completion', 'output', 'messages', 'chosen'],
};

/** The columns that a map names, by field. */
export type ColumnMap = ReadonlyMap<string, string>;

/**
 * @param entries each `FIELD=COLUMN`, such as `chosen=better`.
 * @param fields the fields that a row can have.
 * @throws InputError if an entry has another form, or names an unknown field or one field twice.
 */
export function columnMap(entries: readonly string[], fields: readonly string[]): ColumnMap {
  const map = new Map<string, string>();
  for (const entry of entries) {
    const [, field = '', column = ''] = /^([^=]+)=(.+)$/.exec(entry) ?? [];
    if (field === '')
      throw new InputError(`map has ${quoted(entry)}; write FIELD=COLUMN, such as chosen=better_response`);
    if (!fields.includes(field))
      throw new InputError(
        `map names the field ${quoted(field)}, which no row has; write FIELD=COLUMN, such as ` +
          `chosen=better_response${didYouMean(field, fields)}`,
      );
    if (map.has(field)) throw new InputError(`map names the field ${quoted(field)} twice`);
    map.set(field, column);
  }
  return map;
}

/** The columns to read for some fields. */
export const columnsOf = (fields: readonly string[], map: ColumnMap): string[] => [
  ...fields,
  ...map.values(),
  ...ALL_OTHER_NAMES,
];

/** The other names of a field, in words, for messages: "chosen (or chosen_response, …)". */
export const withOtherNames = (field: string): string =>
  OTHER_NAMES[field] === undefined ? field : `${field} (or ${OTHER_NAMES[field].join(', ')})`;

/**
 * A row whose columns have the names of fields.
 *
 * @throws InputError if the row lacks a column that the map names.
 */
export function renamed(row: Readonly<Record<string, unknown>>, map: ColumnMap): Readonly<Record<string, unknown>> {
  if (map.size === 0 && !ALL_OTHER_NAMES.some((name) => Object.hasOwn(row, name))) return row;
  const result = new Map(Object.entries(row));
  for (const [field, column] of map) {
    if (!Object.hasOwn(row, column))
      throw new InputError(
        `has no "${column}", the column that map gives for ${field}; it has ${Object.keys(row).join(', ')}`,
      );
    result.set(field, row[column]);
  }
  for (const column of map.values()) if (!map.has(column)) result.delete(column);
  const has = (name: string): boolean => (result.get(name) ?? null) !== null;
  for (const [field, names] of Object.entries(OTHER_NAMES)) {
    if (has(field) || (INSTEAD[field] ?? []).some(has)) continue;
    // a conversation begins with its prompt
    if (field === 'prompt' && Array.isArray(result.get('chosen'))) continue;
    const name = names.find(has);
    if (name === undefined) continue;
    result.set(field, result.get(name));
    result.delete(name);
  }
  return Object.fromEntries(result);
}
