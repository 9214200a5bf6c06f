/**
 * The frame of every script's command line. A script declares its options as the library's commands declare theirs. The
 * frame gives it `--help`, checks names and values, and sets the exit status: 2 if the call is wrong, 1 if the work
 * fails.
 */
import { Argument, Option } from 'commander';
import { valuesOf } from 'alignbook/dist/commands/command';
import { optionsOf, requireWellFormed, StrictCommand, UsageError } from 'alignbook/dist/commands/commandLine';
import type { OptionsOf, Settings } from 'alignbook/dist/training/declare';

export { UsageError };

export interface Script<S extends Settings> {
  /** Its name in package.json: it is called as `npm run NAME -- OPTIONS`. */
  readonly name: string;
  readonly summary: string;
  readonly settings: S;
  /** What may be named before, between and after the options, in any number; without it, nothing. */
  readonly named?: { readonly as: string; readonly help: string };
  /** More about the script, below its options. */
  readonly notes?: string;
  /** The exit status, such as "0 done, 1 it failed, 2 usage". */
  readonly status: string;
  /** Does the work. Returns the exit status, if it is not 0. @throws UsageError if the call is wrong after all. */
  readonly run: (values: OptionsOf<S>, named: readonly string[]) => number | void | Promise<number | void>;
}

const WIDTH = 80;
const HEADING = 'Options:';

/** Runs the script on this process's arguments, and sets the exit status. */
export async function script<const S extends Settings>(declared: Script<S>): Promise<void> {
  const called = `npm run ${declared.name}`;
  try {
    const read = parsed(declared, called, process.argv.slice(2));
    if (read === undefined) return;
    const status = await declared.run(read.values, read.named);
    if (typeof status === 'number') process.exitCode = status;
  } catch (error) {
    if (isFault(error)) throw error;
    const { message } = error as Error;
    if (error instanceof UsageError)
      console.error(`${message}${message.endsWith('?') ? ' See' : '; see'} ${called} -- --help`);
    else console.error(message);
    process.exitCode = error instanceof UsageError ? 2 : process.exitCode || 1;
  }
}

/** A fault of the program, which its stack explains: all other errors are said in one line. */
const isFault = (error: unknown): boolean =>
  !(error instanceof Error) || [TypeError, ReferenceError, RangeError].some((kind) => error instanceof kind);

interface Read<S extends Settings> {
  readonly values: OptionsOf<S>;
  readonly named: readonly string[];
}

/** @returns undefined after `--help`. @throws UsageError naming what is wrong. */
function parsed<S extends Settings>(declared: Script<S>, called: string, args: readonly string[]): Read<S> | undefined {
  const { settings, named, summary } = declared;
  const program = new StrictCommand(called)
    .description(summary)
    .usage(`--${named === undefined ? '' : ` [${named.as}…]`} [options]`)
    .helpOption(false)
    .configureHelp({ helpWidth: WIDTH });
  if (named !== undefined) program.addArgument(new Argument(`[${named.as}...]`, named.help));
  for (const [name, setting] of Object.entries(settings))
    for (const option of optionsOf(name, setting)) program.addOption(option.helpGroup(HEADING));
  program.addOption(new Option('-h, --help', 'Print this help.').helpGroup(HEADING));
  const after = [...(declared.notes === undefined ? [] : [declared.notes]), `Exit status: ${declared.status}.`];
  program.addHelpText('after', `\n${after.map(wrapped).join('\n\n')}`);
  if (args.includes('--help') || args.includes('-h')) {
    program.outputHelp();
    return undefined;
  }
  requireWellFormed(args, program.options, named === undefined ? 0 : Infinity);
  program.parse(args, { from: 'user' });
  const { help: _, ...given } = program.opts();
  const command = { name: called, summary, settings, strict: Object.keys(settings), example: '', load };
  return { values: valuesOf(command, given) as OptionsOf<S>, named: program.args };
}

/** `valuesOf` reads a command's declaration, of which a script has no code to load. */
const load = (): never => {
  throw new TypeError('a script has no code to load');
};

/** Breaks the lines that are wider than the help. */
const wrapped = (text: string): string =>
  text
    .split('\n')
    .map((line) => (line.length <= WIDTH ? line : line.replace(WIDEST, '$1\n').trimEnd()))
    .join('\n');
const WIDEST = new RegExp(`(.{1,${WIDTH}})(?: |$)`, 'g');
