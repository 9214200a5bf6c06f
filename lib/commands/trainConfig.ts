/** A training run's settings: from a JSON file, and from options of the same names in kebab-case, which win; --no-… takes a flag back. */
import { FileError } from '../errors';
import { readJsonObject } from '../jsonFile';
import { hint, nearest, readArguments } from './arguments';
import { FLAG, number, TEXT, UsageError } from './usage';

/** Each kind's type in JSON, and what a message calls it. */
const KINDS = { text: ['string', 'a text'], number: ['number', 'a number'], flag: ['boolean', 'true or false'] } as const;
type Kind = keyof typeof KINDS;
export type Fields = Readonly<Record<string, Kind>>;
export type Values<F extends Fields> = { [Name in keyof F]?: { text: string; number: number; flag: boolean }[F[Name]] };

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** @throws FileError for a file that holds something else, UsageError for such an option. */
export function readConfig<const F extends Fields>(args: readonly string[], fields: F): Values<F> {
  const names = Object.keys(fields);
  const known = Object.fromEntries(['config', ...names].map((name) => [kebab(name), fields[name] === 'flag' ? FLAG : TEXT] as const));
  const { config: file, ...given } = readArguments(args, known, { negatable: true }) as Record<string, string | boolean> & { config?: string };
  const values: Record<string, unknown> = file === undefined ? {} : { ...readJsonObject(file) };
  for (const [name, value] of Object.entries(values)) {
    const kind = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (kind === undefined) throw new FileError(file!, `has an unknown field "${name}"; there are ${names.join(', ')}${hint(nearest(name, names))}`);
    const [type, called] = KINDS[kind];
    if (typeof value !== type) throw new FileError(file!, `"${name}" is not ${called}`);
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
