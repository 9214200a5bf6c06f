/**
 * Reads a benchmark's command line: `--help`, an error in one line before the usage, and the exit status.
 */
import { parseArgs, type ParseArgsConfig } from 'node:util';

type Options = NonNullable<ParseArgsConfig['options']>;
type Given<Own extends Options> = ReturnType<typeof parseArgs<{ options: Own; allowPositionals: true }>>;

/**
 * @param settings of what was given; throws an Error that says what is wrong.
 * @param work does it, and gives the exit status.
 */
export async function command<Own extends Options, Settings>(
  usage: string,
  options: Own,
  settings: (given: Given<Own>) => Settings,
  work: (settings: Settings) => Promise<number>,
): Promise<void> {
  if (process.argv.slice(2).some((argument) => argument === '--help' || argument === '-h')) {
    console.log(usage);
    return;
  }
  let read: Settings;
  try {
    const given: unknown = parseArgs({ options, allowPositionals: true });
    read = settings(given as Given<Own>);
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`);
    process.exitCode = 2;
    return;
  }
  try {
    process.exitCode = await work(read);
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
}

/** @throws Error if it is none. */
export function wholeNumber(name: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`--${name} takes a whole number above 0, not "${text}"`);
  return Number(text);
}
