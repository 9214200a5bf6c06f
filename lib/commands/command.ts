/** Defines a command of `npx alignbook`: its settings, its help, and the location of its code. */
import { FileError, InputError, quoted, together } from '../errors';
import { expandHome } from '../hub/modelName';
import type { OptionsOf, Settings } from '../training/declare';
import { flagOf, UsageError } from './commandLine';
import { readConfigFile, type ConfigFile } from './configFile';

export interface Command<S extends Settings = Settings> {
  readonly name: string;
  /** One-line summary for the list of commands. */
  readonly summary: string;
  /** More sentences for the command's own help. */
  readonly details?: string;
  readonly settings: S;
  /** The setting given as the first argument, without an option's name. */
  readonly argument?: keyof S & string;
  /** Groups of settings; at least one of each group must be given. */
  readonly oneOf?: readonly (readonly (keyof S & string)[])[];
  /** Groups of settings that exclude each other. On the command line, one replaces the others of a config file. */
  readonly exclusive?: readonly (readonly (keyof S & string)[])[];
  /** An example command line for the help, without `npx alignbook`. */
  readonly example: string;
  /** Accept --config: settings from a JSON file, which the command line overrides. */
  readonly config?: boolean;
  /**
   * Settings for which an invalid value is a usage error (exit status 2); for other settings it is an input error (1).
   */
  readonly strict?: readonly (keyof S & string)[];
  /** The command writes files, so it continues when nobody reads its output anymore. */
  readonly makesFiles?: boolean;
  /** Loads the command's code, and TensorFlow with it. */
  readonly load: () => Promise<{ run(values: OptionsOf<S>): void | Promise<void> }>;
}

/**
 * Checks a command's declaration against the code that it loads; the list of commands does not keep the settings'
 * types.
 */
export const command = <const S extends Settings>(declared: Command<S>): Command => declared as unknown as Command;

/** Something wrong with a call: in the config file's fields, in a value, or in which options are given. */
interface Problem {
  readonly of: 'file' | 'value' | 'call';
  readonly message: string;
}

/**
 * The values of a command's settings: those in the config file, if any, overridden by those on the command line.
 *
 * @param given the values that commander parsed.
 * @throws UsageError, FileError (only the config file's fields are wrong) or InputError (a value is out of its range)
 *   with everything that is wrong, one line each; UsageError if the call itself is among it.
 */
export function valuesOf(
  command: Command,
  { config, ...given }: Readonly<Record<string, unknown>> & { readonly config?: string },
): Record<string, unknown> {
  const { name: called, settings, argument, oneOf = [], strict = [], config: takesConfig } = command;
  // without --config, a setting may have that name
  const options = present(takesConfig ? given : { ...given, config });
  const path = takesConfig && config !== undefined ? expandHome(config) : undefined;
  const file: ConfigFile = path === undefined ? { values: {}, problems: [] } : readConfigFile(path, settings);
  const problems: Problem[] = file.problems.map((said) => ({
    of: 'file',
    message: said.includes('unknown field') ? withHelp(said, called) : said,
  }));
  const fields = { ...file.values };
  problems.push(...excluded(command, options, fields));

  const shown = (name: string): string => (name === argument ? name.toUpperCase() : flagOf(name));
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries({ ...fields, ...options })) {
    const checked = settings[name]!.check(value);
    if (value instanceof UsageError) problems.push({ of: 'call', message: value.message });
    else if ('value' in checked) values[name] = checked.value;
    else if (strict.includes(name)) problems.push({ of: 'call', message: `${shown(name)} ${checked.message}` });
    else problems.push({ of: 'value', message: `${name} ${checked.message}` });
  }
  const isMissing = (name: string): boolean => !(name in options) && !(name in fields);
  const missing = [
    ...Object.keys(settings)
      .filter((name) => settings[name]!.required && isMissing(name))
      .map(shown),
    ...oneOf.filter((names) => names.every(isMissing)).map((names) => names.map(flagOf).join(' or ')),
  ];
  // a setting that seems to be missing may be the one that the file misspells
  if (missing.length > 0 && file.problems.length === 0)
    problems.push({ of: 'call', message: `${called} needs ${inWords(missing)}` });
  if (problems.length > 0) throw refusalOf(problems, path);
  return values;
}

/**
 * Removes the config file's fields that an option replaces.
 *
 * @returns a problem for each group of which two are given.
 */
function excluded(
  { exclusive = [] }: Command,
  options: Readonly<Record<string, unknown>>,
  fields: Record<string, unknown>,
): Problem[] {
  return exclusive.flatMap((names): Problem[] => {
    const flags = names.filter((name) => name in options);
    const written = names.filter((name) => name in fields);
    const both = (shown: readonly string[]): string => `${inWords(shown)} exclude each other`;
    if (flags.length > 1) return [{ of: 'call', message: `${both(flags.map(flagOf))}; give one of them` }];
    if (flags.length > 0) for (const name of written) delete fields[name];
    else if (written.length > 1) return [{ of: 'file', message: `${both(written.map(quoted))}; keep one of them` }];
    return [];
  });
}

const present = (values: object): Record<string, unknown> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));

/** One error for all problems. */
function refusalOf(problems: readonly Problem[], path: string | undefined): Error {
  const isAll = (of: Problem['of']): boolean => problems.every((problem) => problem.of === of);
  if (isAll('file')) return new FileError(path!, together(problems.map(({ message }) => message)));
  const message = together(problems.map(({ of, message: said }) => (of === 'file' ? `${path}: ${said}` : said)));
  return problems.some(({ of }) => of === 'call') ? new UsageError(message) : new InputError(message);
}

const inWords = (names: readonly string[]): string =>
  names.length === 1 ? names[0]! : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;

/** Appends to a message where to read more: the help of a command, or of all of them. */
export const withHelp = (message: string, name?: string): string =>
  `${message}${message.endsWith('?') ? ' See' : '; see'} npx alignbook ${name === undefined ? '' : `${name} `}--help`;
