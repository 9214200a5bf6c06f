/**
 * A training run's settings: from a JSON file, and from options of the same names in kebab-case, which win; --no-…
 * takes a flag back.
 */
import { requireRanges, type Range } from '../ranges';
import { readArguments } from './arguments';
import { readConfigFile, type Kind } from './configFile';
import { FLAG, number, PATH, TEXT, UsageError } from './usage';

export type Fields = Readonly<Record<string, Kind>>;
export type Values<F extends Fields> = {
  [Name in keyof F]?: { text: string; path: string; number: number; flag: boolean }[F[Name]];
};

/** A range for each field that is a number: the compiler asks for one where a field is new. */
export type FieldRanges<F extends Fields> = {
  readonly [Name in keyof F as F[Name] extends 'number' ? Name : never]: Range;
};

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/**
 * @throws FileError for a file that holds something else, UsageError for such an option, InputError for a number out of
 * its range.
 */
export function readConfig<const F extends Fields>(
  args: readonly string[],
  fields: F,
  ranges: FieldRanges<F>,
): Values<F> {
  const names = Object.keys(fields);
  const ofOption = { flag: FLAG, path: PATH, text: TEXT, number: TEXT } as const;
  const known = { config: PATH, ...Object.fromEntries(names.map((name) => [kebab(name), ofOption[fields[name]!]])) };
  const { config: file, ...given } = readArguments(args, known, { negatable: true }) as Record<
    string,
    string | boolean
  > & { config?: string };
  const values: Record<string, unknown> = file === undefined ? {} : { ...readConfigFile(file, fields) };
  for (const name of names) {
    const value = given[kebab(name)];
    if (value === undefined) continue;
    values[name] = fields[name] === 'number' ? number(kebab(name), value as string) : value;
  }
  requireRanges(values, ranges);
  return values as Values<F>;
}

/** @throws UsageError naming what is missing. */
export function required<Value>(values: { readonly [name: string]: unknown }, name: string): Value {
  if (values[name] === undefined)
    throw new UsageError(`"${name}" is missing: put it into the config file, or give --${kebab(name)}`);
  return values[name] as Value;
}
