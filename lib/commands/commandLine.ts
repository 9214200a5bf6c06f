/** Checks a command's arguments more strictly than commander does, and turns its settings into commander's options. */
import { Command, Option, type ParseOptionsResult } from 'commander';

import { quoted } from '../errors';
import { didYouMean } from '../nearest';
import type { Group, Setting } from '../training/declare';
import { RENAMED } from '../training/options';

/** An error in how the command was called: exit status 2. */
export class UsageError extends Error {}

/** A setting's flag: --batch-size for batchSize. */
export const flagOf = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** The headings of a command's help, in order. */
const HEADINGS: Readonly<Record<Group, string>> = {
  data: 'Data:',
  model: 'Model:',
  optimization: 'Optimization:',
  loss: 'Loss:',
  sampling: 'Sampling:',
  validation: 'Validation:',
  output: 'Output:',
};
export const GROUPS = Object.keys(HEADINGS) as Group[];
export const OTHER = 'Other:';

/** A setting's options for commander. Each flag also has its opposite, --no-NAME, which the help does not list. */
export function optionsOf(name: string, setting: Setting): Option[] {
  const flags = flagOf(name);
  const heading = HEADINGS[setting.group ?? 'data'];
  const option = (text: string, described = '') => new Option(text, described).helpGroup(heading);
  if (setting.kind === 'flag')
    return [
      option(flags, description(setting)).hideHelp(setting.hidden ?? false),
      option(flags.replace('--', '--no-')).hideHelp(),
    ];
  const placeholder = setting.value ?? (setting.kind === 'number' ? 'n' : setting.choices ? 'name' : setting.kind);
  const made = option(`${flags} <${placeholder}>`, description(setting)).hideHelp(setting.hidden ?? false);
  if (setting.kind === 'number') made.argParser((value) => numberOrError(flags, value));
  if (setting.kind === 'repeated') {
    made.argParser((value, before: string[] | undefined) => [...(before ?? []), value]);
    repeatable.add(made);
  }
  return [made];
}

/** Ranges that the help need not mention. */
const EXPECTED = /^a (whole )?number from [01] |window$/;

/** A setting's help: what it does, then in parentheses its possible values and its default. */
export function description({ help, choices, range, required, ...setting }: Setting): string {
  const without = setting.otherwise ?? setting.default;
  const more = [
    ...(choices ? [choices.join(', ')] : []),
    ...(range && !EXPECTED.test(range.words) ? [range.words.replace(/, also .*/, '')] : []),
    ...(required ? ['required'] : []),
    ...(without === undefined || without === false ? [] : [`default: ${String(without)}`]),
  ];
  return more.length === 0 ? help : `${help} (${more.join('; ')})`;
}

/** Parses a number as people write it: 5, -0.5, .5 or 1e-4. @throws UsageError for any other text. */
export function numberOf(flags: string, text: string): number {
  const value = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : NaN;
  if (!Number.isFinite(value))
    throw new UsageError(`${flags} must be a number such as 5, 0.5 or 1e-4, got ${quoted(text)}`);
  return value;
}

/** The error takes the value's place, so that `valuesOf` reports it with whatever else is wrong. */
function numberOrError(flags: string, text: string): number | UsageError {
  try {
    return numberOf(flags, text);
  } catch (error) {
    if (error instanceof UsageError) return error;
    throw error;
  }
}

/** A command that checks its arguments before commander reads them, and whose errors are UsageErrors. */
export class StrictCommand extends Command {
  override createCommand(name?: string): StrictCommand {
    return new StrictCommand(name);
  }

  override parseOptions(args: string[]): ParseOptionsResult {
    const places = this.registeredArguments.some(({ variadic }) => variadic)
      ? Infinity
      : this.registeredArguments.length;
    if (this.parent !== null) requireWellFormed(args, this.options, places);
    return super.parseOptions(args);
  }

  override error(message: string): never {
    throw new UsageError(message.replace(/^error: /, '').replaceAll('\n', ' '));
  }
}

/**
 * Refuses some arguments that commander accepts, such as an option given twice or an option's name in place of a value,
 * and words its other errors better.
 *
 * @param places number of arguments, besides options, that the command takes.
 * @throws UsageError naming the argument.
 */
export function requireWellFormed(args: readonly string[], options: readonly Option[], places: number): void {
  if (args.includes('--help') || args.includes('-h')) return;
  const known = options.map(({ long }) => long!);
  const given = new Map<string, string>();
  for (let at = 0; at < args.length; at += 1) {
    const argument = args[at]!;
    if (!/^--[^-=]/.test(argument)) {
      if (places > 0 && !isOption(argument)) {
        places -= 1;
        continue;
      }
      throw new UsageError(`there is no place for ${quoted(argument)}; write each value after its option`);
    }
    const equals = argument.indexOf('=');
    const written = equals < 0 ? argument : argument.slice(0, equals);
    const option = options.find(({ long }) => long === written);
    if (option === undefined) throw new UsageError(unknownOption(written, known));
    let value = equals < 0 ? '' : argument.slice(equals + 1);
    if (!option.required) {
      if (equals >= 0) throw new UsageError(`${written} takes no value, got ${quoted(value)}; give ${written} alone`);
    } else if (equals < 0) {
      const next = args[at + 1];
      if (next === undefined) throw new UsageError(`${written} has no value; give one after it`);
      if (isOption(next))
        throw new UsageError(
          `${written} has no value before ${quoted(next)}; ` +
            `write a value that begins with a dash as ${written}=${next}`,
        );
      value = next;
      at += 1;
    }
    const name = option.attributeName();
    const before = given.get(name);
    if (before !== undefined && !repeatable.has(option))
      throw new UsageError(
        `${flagOf(name)} is given twice` +
          `${option.required ? `, ${quoted(before)} and ${quoted(value)}` : ''}; give it once`,
      );
    given.set(name, value);
  }
}

/** Options that may be given several times. */
const repeatable = new WeakSet<Option>();

/** `-` is standard input, and -1, -.5 and -Infinity are numbers, whose range is checked where they are used. */
const isOption = (argument: string): boolean =>
  argument.startsWith('-') && argument !== '-' && !/^-(\.?\d|Infinity\b|NaN\b)/i.test(argument);

function unknownOption(written: string, known: readonly string[]): string {
  const renamed = Object.entries(RENAMED).find(([old]) => written === `--${old}` || flagOf(old) === written);
  if (renamed) return `${written} is now ${flagOf(renamed[1])}; give it under its new name`;
  const bare = known.filter((each) => !each.startsWith('--no-')).map((each) => each.slice('--'.length));
  return `there is no option ${quoted(written)}${didYouMean(written.slice('--'.length), bare, '--')}`;
}
