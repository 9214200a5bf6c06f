/** A training run's settings: from a JSON file, and from options of the same names in kebab-case, which win. */
import { parseArgs } from 'node:util';

import { FileError } from '../errors';
import { readJsonObject } from '../jsonFile';
import { number, UsageError } from './usage';

type Kind = 'text' | 'number' | 'flag';
export type Fields = Readonly<Record<string, Kind>>;
export type Values<F extends Fields> = { [Name in keyof F]?: F[Name] extends 'text' ? string : F[Name] extends 'number' ? number : boolean };

const TYPES: Readonly<Record<Kind, string>> = { text: 'string', number: 'number', flag: 'boolean' };

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** @throws FileError for a file that holds something else, UsageError for such an option. */
export function readConfig<const F extends Fields>(args: readonly string[], fields: F): Values<F> {
  const names = Object.keys(fields);
  const known = Object.fromEntries(['config', ...names].map((name) => [kebab(name), { type: fields[name] === 'flag' ? ('boolean' as const) : ('string' as const) }]));
  let given: Record<string, string | boolean | undefined>;
  try {
    given = parseArgs({ args: [...args], options: known }).values as typeof given;
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause });
  }
  const file = given.config as string | undefined;
  const values: Record<string, unknown> = file === undefined ? {} : { ...readJsonObject(file) };
  for (const [name, value] of Object.entries(values)) {
    const kind = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (kind === undefined) throw new FileError(file!, `has an unknown field "${name}"; there are ${names.join(', ')}`);
    if (typeof value !== TYPES[kind]) throw new FileError(file!, `"${name}" is not ${kind === 'flag' ? 'true or false' : `a ${kind}`}`);
  }
  for (const name of names) {
    const value = given[kebab(name)];
    if (value === undefined) continue;
    values[name] = fields[name] === 'number' ? number(kebab(name), value as string) : value;
  }
  return values as Values<F>;
}

/** @throws UsageError naming what is missing. */
export function required<Value>(values: { readonly [name: string]: unknown }, name: string): Value {
  if (values[name] === undefined) throw new UsageError(`"${name}" is missing: put it into the config file, or give --${kebab(name)}`);
  return values[name] as Value;
}
