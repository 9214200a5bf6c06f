/**
 * `npx alignbook …`: a thin layer over the library. Exit codes: 0 done, 1 the input is wrong or a check failed, 2 the
 * call is wrong, 130 interrupted with a checkpoint saved.
 */
import { catalog } from './commands/catalog';
import { withHelp, type Command } from './commands/command';
import { UsageError } from './commands/commandLine';
import { readCall } from './commands/program';
import { FileError, HubError, InputError, SetupError } from './errors';

let running: Command | undefined;

async function main(args: readonly string[]): Promise<void> {
  const call = readCall(args);
  if (call === undefined) return;
  const { command, values, profile } = call;
  running = command;
  const { run } = await command.load();
  if (!profile) return run(values);
  const profiler = await import('./engine/profile.js');
  console.error(`\n${profiler.profileTable(await profiler.profile(() => run(values)))}`);
}

/** The system refuses a file or folder (no such folder, no space, no permission): the input is wrong. */
const ofSystem = (error: unknown): error is NodeJS.ErrnoException => error instanceof Error && 'syscall' in error;

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (running?.makesFiles) return; // `| head`, or a terminal that was closed: a training goes on
  if (error.code === 'EPIPE') {
    settled = true;
    process.exit(0); // the reader, such as `head`, has read enough
  }
  console.error(`alignbook: the standard output cannot be written (${error.message})`);
  process.exit(1);
});
process.stderr.on('error', () => undefined); // nobody is left to read it

let settled = false;
process.on('exit', (code) => {
  if (settled || code !== 0) return;
  console.error('alignbook: ended before its work was done'); // it waits for something that will never come
  process.exitCode = 1;
});

main(process.argv.slice(2))
  .finally(() => (settled = true))
  .catch((error: unknown) => {
    const expected = [FileError, HubError, InputError, SetupError, UsageError].some((kind) => error instanceof kind);
    if (!expected && !ofSystem(error)) throw error;
    const { message } = error as Error;
    const isUsage = error instanceof UsageError;
    const called = catalog.find(({ name }) => name === process.argv[2]);
    console.error(`alignbook: ${isUsage ? withHelp(message, called?.name) : message}`);
    process.exitCode = isUsage ? 2 : 1;
  });
