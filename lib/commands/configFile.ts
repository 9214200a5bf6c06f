/** Reads a config file: one JSON object whose fields must be known, occur once each, and have the right types. */
import { clipped, FileError } from '../errors';
import { readJson } from '../formats/jsonFile';
import { parseStrictJson } from '../formats/strictJson';
import { didYouMean } from '../nearest';
import type { Kind, Setting, Settings } from '../training/declare';
import { RENAMED } from '../training/options';

export interface ConfigFile {
  /** The values as they are in the file; their ranges are not yet checked. */
  readonly values: Readonly<Record<string, unknown>>;
  /** What is wrong with its other fields, which are unknown or have a value of the wrong type: one line each. */
  readonly problems: readonly string[];
}

/**
 * @throws FileError if the file is not a JSON object, or if a field occurs twice. (JSON.parse would silently take the
 *   last occurrence.)
 */
export function readConfigFile(file: string, settings: Settings): ConfigFile {
  const { json: all, text } = readJson(file);
  try {
    parseStrictJson(text);
  } catch (cause) {
    throw new FileError(file, `${(cause as Error).message}; write each field once, as plain JSON`, { cause });
  }
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(all)) {
    const setting = Object.hasOwn(settings, name) ? settings[name]! : undefined;
    const problem = setting === undefined ? unknownField(name, settings) : wrongType(name, value, setting);
    if (problem === undefined) values[name] = value;
    else problems.push(problem);
  }
  return { values, problems };
}

function unknownField(name: string, settings: Settings): string {
  const renamed = Object.hasOwn(RENAMED, name) ? RENAMED[name]! : undefined;
  if (renamed !== undefined) return `the field "${name}" is now "${renamed}"; rename it`;
  const shown = clipped(name);
  return `has an unknown field "${shown}"${didYouMean(shown, Object.keys(settings))}`;
}

function wrongType(name: string, value: unknown, setting: Setting): string | undefined {
  if (value === null) return `"${name}" is null; ${omission(setting)}give ${wanted(setting)}`;
  const checked = setting.check(value);
  if (!('wrong' in checked) || checked.wrong !== 'type') return undefined;
  return `"${name}" ${checked.message}; ${rewritten(value, setting.kind) ?? `give ${wanted(setting)}`}`;
}

/** What follows if the field is left out, as the beginning of a sentence that goes on with what to give instead. */
function omission({ required, default: value, otherwise: words }: Setting): string {
  if (required) return '';
  const otherwise = words ?? value;
  return otherwise === undefined ? 'omit it, or ' : `omit it for the default (${String(otherwise)}), or `;
}

/** What the setting takes, in words. */
function wanted({ kind, range, choices }: Setting): string {
  if (range !== undefined) return range.words.startsWith('a ') ? range.words : `a number ${range.words}`;
  if (kind === 'flag') return 'true or false';
  if (kind === 'list') return `a text of names with commas between them${choices ? `: ${choices.join(', ')}` : ''}`;
  return choices === undefined ? 'a text' : `one of ${choices.join(', ')}`;
}

/** The same value as the right type, if that is clear. */
function rewritten(value: unknown, kind: Kind): string | undefined {
  const isText = kind !== 'number' && kind !== 'flag';
  if (isText && Array.isArray(value) && value.every((item) => typeof item === 'string'))
    return `write ${clipped(JSON.stringify(value.join(',')))}`;
  if (isText && typeof value !== 'object') return `write it in quotes, ${JSON.stringify(String(value))}`;
  const text = typeof value === 'string' ? value.trim() : '';
  const unquoted = kind === 'flag' ? /^(true|false)$/i.test(text) : text !== '' && Number.isFinite(Number(text));
  return unquoted ? `write it without quotes, ${kind === 'flag' ? text.toLowerCase() : Number(text)}` : undefined;
}
