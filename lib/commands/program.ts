/** The program `npx alignbook`: the commands' help and options, through commander. */
import { Argument, Help, Option } from 'commander';

import { quoted } from '../errors';
import { didYouMean } from '../nearest';
import type { Setting } from '../training/declare';
import { catalog } from './catalog';
import { valuesOf, type Command } from './command';
import { description, GROUPS, optionsOf, OTHER, StrictCommand, UsageError } from './commandLine';
import { trainCommands, TRAINING_SUMMARY } from './trainCommands';
import { version } from './version';

/** Width of the help in columns, whatever the terminal: 80 columns fit everywhere. */
const WIDTH = 80;

/** The command that a command line requests, with its values. */
export interface Call {
  readonly command: Command;
  readonly values: Readonly<Record<string, unknown>>;
  /** Whether to report how the time was spent. */
  readonly profile: boolean;
}

/**
 * Reads a command line. `--help` and `--version` print their text here.
 *
 * @param args the arguments, without node and the program's path.
 * @returns the call; undefined after `--help` or `--version`.
 * @throws UsageError for an invalid call; FileError or InputError for invalid settings.
 */
export function readCall(args: readonly string[]): Call | undefined {
  const asked = helpAsked(args);
  const name = asked[0];
  const names = catalog.map((command) => command.name);
  if (name === undefined) throw new UsageError('no command is given');
  if (!name.startsWith('-') && !names.includes(name))
    throw new UsageError(`there is no command ${quoted(name)}${didYouMean(name, [...names, 'help'])}`);
  return parse(asked);
}

/** `help`, `help COMMAND` and `--help COMMAND` as `--help` and `COMMAND --help`. */
function helpAsked(args: readonly string[]): readonly string[] {
  const [first = '', about] = args;
  if (!['help', '--help', '-h'].includes(first)) return args;
  return about === undefined || about.startsWith('-') ? ['--help'] : [about, '--help'];
}

function parse(args: readonly string[]): Call | undefined {
  const help = new Help();
  let call: Call | undefined;
  const program = new StrictCommand('npx alignbook')
    .description('Preference tuning of GPT-2. COMMAND --help describes a command; also --version.')
    .usage('COMMAND [options]')
    .version(version(), '-V, --version')
    .helpOption('-h, --help')
    .helpCommand(false)
    .enablePositionalOptions()
    .configureHelp({
      helpWidth: WIDTH,
      // the training commands share one entry, in the place of the first
      visibleCommands: (command) => help.visibleCommands(command).filter((part) => !isTraining(part) || isFirst(part)),
      subcommandTerm: (command) =>
        isTraining(command) ? 'train-METHOD' : [command.name(), ...command.registeredArguments.map(termOf)].join(' '),
      subcommandDescription: (command) => (isTraining(command) ? TRAINING_SUMMARY : command.summary()),
      // the program's own two are in its description: the whole help fits a terminal of 24 lines
      visibleOptions: (command) => (command.parent === null ? [] : help.visibleOptions(command)),
    })
    .exitOverride((end) => {
      throw end;
    });
  for (const command of catalog) add(program, command, (made) => (call = made));
  try {
    program.parse(args, { from: 'user' });
  } catch (end) {
    if (!isEnd(end)) throw end;
  }
  return call;
}

const isTraining = (command: { name(): string }): boolean => command.name().startsWith('train-');
const isFirst = (command: { name(): string }): boolean => command.name() === trainCommands[0]!.name;

/**
 * Whether an error is the one that commander throws, instead of ending the process, after printing help or the version.
 */
const isEnd = (error: unknown): boolean =>
  error instanceof Error &&
  ['commander.helpDisplayed', 'commander.version'].includes((error as { code?: string }).code ?? '');

function add(program: StrictCommand, command: Command, made: (call: Call) => void): void {
  const { name, summary, details, settings, argument, config = false, example } = command;
  const part = program
    .command(name)
    .summary(summary)
    .description(details === undefined ? summary : `${summary} ${details}`)
    .usage([...(argument === undefined ? [] : [placeOf(argument, settings[argument]!)]), '[options]'].join(' '))
    .addHelpText('after', `\nExample:\n${wrapped(`npx alignbook ${example}`)}`);
  part.addHelpOption(new Option('-h, --help', 'Print this help.').helpGroup(OTHER));
  if (argument !== undefined) {
    const many = settings[argument]!.kind === 'repeated' ? '...' : '';
    part.addArgument(new Argument(`[${argument}${many}]`, description(settings[argument]!)));
  }
  const listed = Object.entries(settings).filter(([setting]) => setting !== argument);
  for (const group of GROUPS)
    for (const [setting, declared] of listed)
      if ((declared.group ?? 'data') === group)
        for (const option of optionsOf(setting, declared)) part.addOption(option);
  if (config)
    part.addOption(
      new Option(
        '--config <file>',
        'Read settings from a JSON file, {"batchSize": 16} for --batch-size 16; options override it.',
      ).helpGroup(OTHER),
    );
  part.addOption(
    new Option('--profile', 'At the end, print in which TensorFlow operations the time went.').helpGroup(OTHER),
  );
  part.action((...all: unknown[]) => {
    const { profile = false, ...given } = part.opts<{ profile?: boolean; config?: string }>();
    const place = argument === undefined || isNone(all[0]) ? {} : { [argument]: all[0] };
    made({ command, values: valuesOf(command, { ...place, ...given }), profile });
  });
}

/** RUN… for a setting `runs` that takes several values. */
const placeOf = (argument: string, { kind }: Setting): string =>
  kind === 'repeated' ? `${argument.toUpperCase().replace(/S$/, '')}…` : argument.toUpperCase();
const termOf = (argument: Argument): string =>
  argument.variadic ? `${argument.name().toUpperCase().replace(/S$/, '')}…` : argument.name().toUpperCase();
/** Commander gives an empty list for an argument that takes several values and has none. */
const isNone = (value: unknown): boolean => Array.isArray(value) && value.length === 0;

/** Wraps a command line into as many lines as it needs, indented by two spaces. */
function wrapped(line: string): string {
  const lines = [''];
  // keep an option with its value
  for (const part of line.split(/ (?=--)/)) {
    const last = lines.at(-1)!;
    if (last !== '' && last.length + part.length + 5 > WIDTH) lines.push(part);
    else lines[lines.length - 1] = last === '' ? part : `${last} ${part}`;
  }
  return lines.map((text, n) => `${n === 0 ? '  ' : '    '}${text}`).join(' \\\n');
}
