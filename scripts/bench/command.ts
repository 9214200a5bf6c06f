/** The command line of a benchmark: node:util's parseArgs inside the frame that all scripts share. */
import { parseArgs, type ParseArgsConfig } from 'node:util';

import { command as frame } from '../command';

type Options = NonNullable<ParseArgsConfig['options']>;
type Given<Own extends Options> = ReturnType<typeof parseArgs<{ options: Own; allowPositionals: true }>>;

/**
 * @param settings turns the parsed options into settings; throws an Error if one is wrong.
 * @param work does the work and returns the exit status.
 */
export async function command<Own extends Options, Settings>(
  usage: string,
  options: Own,
  settings: (given: Given<Own>) => Settings,
  work: (settings: Settings) => Promise<number>,
): Promise<void> {
  const parse = (): Settings | null => {
    if (process.argv.slice(2).some((argument) => argument === '--help' || argument === '-h')) return null;
    const given: unknown = parseArgs({ options, allowPositionals: true });
    return settings(given as Given<Own>);
  };
  await frame(usage, parse, async (read) => {
    process.exitCode = await work(read);
  });
}

/** @throws Error unless the text is a positive integer. */
export function wholeNumber(name: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`--${name} takes a whole number above 0, not "${text}"`);
  return Number(text);
}
