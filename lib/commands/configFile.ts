/** Reads a config file: one JSON object whose fields must be known, occur once each, and have the right types. */
import { clipped, FileError } from '../errors';
import { readJson } from '../formats/jsonFile';
import { parseStrictJson } from '../formats/strictJson';
import { didYouMean } from '../nearest';
import type { Kind, Settings } from '../training/declare';
import { RENAMED } from '../training/options';

/**
 * @returns the values as they are in the file; their ranges are not yet checked.
 * @throws FileError if a field is unknown, has the wrong type, or occurs twice. (JSON.parse would silently take the
 *   last occurrence.)
 */
export function readConfigFile(file: string, settings: Settings): Record<string, unknown> {
  const { json: values, text } = readJson(file);
  try {
    parseStrictJson(text);
  } catch (cause) {
    throw new FileError(file, `${(cause as Error).message}; write each field once, as plain JSON`, { cause });
  }
  for (const [name, value] of Object.entries(values)) {
    const setting = Object.hasOwn(settings, name) ? settings[name]! : undefined;
    if (setting === undefined) throw new FileError(file, unknownField(name, settings));
    const checked = setting.check(value);
    if ('wrong' in checked && checked.wrong === 'type')
      throw new FileError(file, `"${name}" ${checked.message}${remedy(value, setting.kind)}`);
  }
  return values;
}

function unknownField(name: string, settings: Settings): string {
  const renamed = Object.hasOwn(RENAMED, name) ? RENAMED[name]! : undefined;
  if (renamed !== undefined) return `the field "${name}" is now "${renamed}"; rename it`;
  const shown = clipped(name);
  return `has an unknown field "${shown}"${didYouMean(shown, Object.keys(settings))}`;
}

/** What to write instead, if that is clear. */
function remedy(value: unknown, kind: Kind): string {
  if (value === null) return ' but null; leave it out for the default';
  const isText = kind !== 'number' && kind !== 'flag';
  if (isText && Array.isArray(value) && value.every((item) => typeof item === 'string'))
    return `; write ${clipped(JSON.stringify(value.join(',')))}`;
  if (isText && typeof value !== 'object') return `; write it in quotes, ${JSON.stringify(String(value))}`;
  const text = typeof value === 'string' ? value.trim() : '';
  const unquoted = kind === 'flag' ? /^(true|false)$/i.test(text) : text !== '' && Number.isFinite(Number(text));
  return unquoted ? `; write it without quotes, ${kind === 'flag' ? text.toLowerCase() : Number(text)}` : '';
}
