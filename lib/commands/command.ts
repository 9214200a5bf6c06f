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
  const { name: of, settings, argument, oneOf = [], exclusive = [], strict = [], config: takesConfig } = command;
  // without --config, a setting may have that name
  const options = present(takesConfig ? given : { ...given, config });
  const path = takesConfig && config !== undefined ? expandHome(config) : undefined;
  const file: ConfigFile = path === undefined ? { values: {}, problems: new Map() } : readConfigFile(path, settings);
  const problems: Problem[] = [...file.problems.values()].map((said) => ({ of: 'file', message: helpful(said, of) }));
  const kept = { ...file.values };
  for (const names of exclusive) {
    const flags = names.filter((name) => name in options);
    const fields = names.filter((name) => name in kept);
    if (flags.length > 1) problems.push({ of: 'call', message: excluding(flags.map(flagOf), 'give one of them') });
    else if (flags.length > 0) for (const name of fields) delete kept[name];
    else if (fields.length > 1)
      problems.push({ of: 'file', message: excluding(fields.map(quoted), 'keep one of them') });
  }
  const shown = (name: string): string => (name === argument ? name.toUpperCase() : flagOf(name));
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries({ ...kept, ...options })) {
    const checked = settings[name]!.check(value);
    if ('value' in checked) values[name] = checked.value;
    else if (strict.includes(name)) problems.push({ of: 'call', message: `${shown(name)} ${checked.message}` });
    else problems.push({ of: 'value', message: `${name} ${checked.message}` });
  }
  const isMissing = (name: string): boolean => !(name in options) && !(name in kept) && !file.problems.has(name);
  const missing = [
    ...Object.keys(settings)
      .filter((name) => settings[name]!.required && isMissing(name))
      .map(shown),
    ...oneOf.filter((names) => names.every(isMissing)).map((names) => names.map(flagOf).join(' or ')),
  ];
  if (missing.length > 0) problems.push({ of: 'call', message: `${of} needs ${inWords(missing)}` });
  if (problems.length > 0) throw refusalOf(problems, path);
  return values;
}

const present = (values: object): Record<string, unknown> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));

const excluding = (names: readonly string[], remedy: string): string =>
  `${inWords(names)} exclude each other; ${remedy}`;

/** One error for all problems. */
function refusalOf(problems: readonly Problem[], path: string | undefined): Error {
  const isAll = (of: Problem['of']): boolean => problems.every((problem) => problem.of === of);
  if (isAll('file')) return new FileError(path!, together(problems.map(({ message }) => message)));
  const message = together(problems.map(({ of, message: said }) => (of === 'file' ? `${path}: ${said}` : said)));
  return problems.some(({ of }) => of === 'call') ? new UsageError(message) : new InputError(message);
}

/** Appends to the message about an unknown field where the known ones are listed. */
const helpful = (message: string, command: string): string =>
  message.includes('unknown field') ? withHelp(message, command) : message;

const inWords = (names: readonly string[]): string =>
  names.length === 1 ? names[0]! : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;

/** Appends to a message where to read more: the help of a command, or of all of them. */
export const withHelp = (message: string, name?: string): string =>
  `${message}${message.endsWith('?') ? ' See' : '; see'} npx alignbook ${name === undefined ? '' : `${name} `}--help`;
