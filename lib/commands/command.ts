/** Defines a command of `npx alignbook`: its settings, its help, and the location of its code. */
import { FileError, InputError } from '../errors';
import { expandHome } from '../hub/modelName';
import type { OptionsOf, Settings } from '../training/declare';
import { flagOf, UsageError } from './commandLine';
import { readConfigFile } from './configFile';

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

/**
 * The values of a command's settings: those in the config file, if any, overridden by those on the command line.
 *
 * @param given the values that commander parsed.
 * @throws UsageError naming all missing settings; FileError for an invalid config file; InputError or UsageError for a
 *   value out of range.
 */
export function valuesOf(
  { name: of, settings, argument, oneOf = [], strict = [], config: takesConfig = false }: Command,
  given: Readonly<Record<string, unknown>> & { readonly config?: string },
): Record<string, unknown> {
  const file = takesConfig ? given.config : undefined;
  const raw = { ...(file === undefined ? {} : readConfig(of, expandHome(file), settings)), ...given };
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(raw)) {
    if (value === undefined || (takesConfig && name === 'config')) continue;
    const checked = settings[name]!.check(value);
    if ('value' in checked) values[name] = checked.value;
    else if (strict.includes(name))
      throw new UsageError(`${name === argument ? name.toUpperCase() : flagOf(name)} ${checked.message}`);
    else throw new InputError(`${name} ${checked.message}`);
  }
  const missing = [
    ...Object.keys(settings)
      .filter((name) => settings[name]!.required && values[name] === undefined)
      .map((name) => (name === argument ? name.toUpperCase() : flagOf(name))),
    ...oneOf
      .filter((names) => names.every((name) => values[name] === undefined))
      .map((names) => names.map(flagOf).join(' or ')),
  ];
  if (missing.length > 0) throw new UsageError(`${of} needs ${inWords(missing)}`);
  return values;
}

function readConfig(command: string, file: string, settings: Settings): Record<string, unknown> {
  try {
    return readConfigFile(file, settings);
  } catch (error) {
    if (!(error instanceof FileError) || !/unknown field/.test(error.message)) throw error;
    throw new FileError(error.path, withHelp(error.message.slice(error.path.length + 2), command));
  }
}

const inWords = (names: readonly string[]): string =>
  names.length === 1 ? names[0]! : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;

/** Appends to a message where to read more: the help of a command, or of all of them. */
export const withHelp = (message: string, name?: string): string =>
  `${message}${message.endsWith('?') ? ' See' : '; see'} npx alignbook ${name === undefined ? '' : `${name} `}--help`;
