/**
 * `npx alignbook …`: a thin layer over the library. Exit codes: 0 done, 1 the input is wrong, 2 usage, 130 interrupted.
 */
import { hint, nearest } from './commands/arguments';
import * as doctor from './commands/doctor';
import * as download from './commands/download';
import * as evaluate from './commands/evaluate';
import * as exportTo from './commands/export';
import * as generate from './commands/generate';
import * as logps from './commands/logps';
import * as score from './commands/score';
import * as trainDpo from './commands/trainDpo';
import * as trainGrpo from './commands/trainGrpo';
import * as trainPpo from './commands/trainPpo';
import * as trainReward from './commands/trainReward';
import * as trainSft from './commands/trainSft';
import { UsageError } from './commands/usage';
import * as weights from './commands/weights';
import { profile, profileTable } from './engine/profile';
import { FileError, HubError, InputError, quoted, SetupError } from './errors';

/** Each in a file of its own: its part of the usage, and what it does with its arguments. */
interface Command {
  readonly usage: string;
  /** Whether what it makes are files, so that it goes on where nobody reads its output any more. */
  readonly makesFiles?: boolean;
  run(args: readonly string[]): void | Promise<void>;
}

const commands: Readonly<Record<string, Command>> = {
  doctor,
  download,
  weights,
  logps,
  score,
  generate,
  evaluate,
  'train-sft': trainSft,
  'train-dpo': trainDpo,
  'train-reward': trainReward,
  'train-ppo': trainPpo,
  'train-grpo': trainGrpo,
  export: exportTo,
};

const HEADER = 'Usage: npx alignbook COMMAND';
const FOOTER = `Any COMMAND with --profile tells at its end, on the standard error, in which of TensorFlow's operations the time went.

M is tiny (the embedded model), the name of a model on the Hugging Face hub, or a folder such as ./my-gpt2.`;

/** Of one command, or of all. */
const usageOf = (command?: Command): string =>
  `${HEADER}\n\n${(command ? [command] : Object.values(commands)).map(({ usage }) => usage).join('\n')}\n\n${FOOTER}`;

let running: Command | undefined;

async function main([name, ...args]: readonly string[]): Promise<void> {
  if (name === '--help' || name === '-h') return console.log(usageOf());
  const command = name !== undefined && Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined)
    throw new UsageError(
      name === undefined
        ? 'no command given'
        : `unknown command ${quoted(name)}${hint(nearest(name, Object.keys(commands)))}`,
    );
  if (args.includes('--help')) return console.log(usageOf(command));
  running = command;
  if (args.includes('--profile'))
    console.error(`\n${profileTable(await profile(() => command.run(args.filter((arg) => arg !== '--profile'))))}`);
  else await command.run(args);
}

/**
 * A file or folder that the system refuses (no such folder, no space, no permission) is the input's fault, not ours.
 */
const ofSystem = (error: unknown): error is NodeJS.ErrnoException => error instanceof Error && 'syscall' in error;

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (running?.makesFiles) return; // `| head`, or a terminal that was closed: a training goes on
  if (error.code === 'EPIPE') {
    settled = true;
    process.exit(0); // whoever read us has enough, such as `head`
  }
  console.error(`alignbook: the standard output cannot be written (${error.message})`);
  process.exit(1);
});
process.stderr.on('error', () => undefined); // nobody is left to tell

let settled = false;
process.on('exit', (code) => {
  if (settled || code !== 0) return;
  console.error('alignbook: ended before its work was done'); // what it waited for will never come
  process.exitCode = 1;
});

main(process.argv.slice(2))
  .finally(() => (settled = true))
  .catch((error: unknown) => {
    if (error instanceof UsageError) {
      console.error(`alignbook: ${error.message}\n\n${usageOf(running)}`);
      process.exitCode = 2;
    } else if ([FileError, HubError, InputError, SetupError].some((kind) => error instanceof kind) || ofSystem(error)) {
      console.error(`alignbook: ${(error as Error).message}`);
      process.exitCode = 1;
    } else {
      throw error;
    }
  });
