/** What every command shares: reading its options, and telling a wrong call from a wrong input. */
import { parseArgs } from 'node:util';

/** The command was called wrongly: exit status 2, with the usage. */
export class UsageError extends Error {}

export const TEXT = { type: 'string' } as const;
export const TEXTS = { type: 'string', multiple: true } as const;
export const FLAG = { type: 'boolean' } as const;

type Known = Readonly<Record<string, typeof TEXT | typeof TEXTS | typeof FLAG>>;
type Value<Option> = Option extends typeof TEXTS ? string[] : Option extends typeof TEXT ? string : boolean;

/** A command's options by name; it takes nothing else. */
export function options<const K extends Known>(args: readonly string[], known: K): { [Name in keyof K]?: Value<K[Name]> } {
  try {
    return parseArgs({ args: [...args], options: known }).values as { [Name in keyof K]?: Value<K[Name]> };
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause });
  }
}

/** The number that an option holds, undefined if it is not given. */
export function number(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^-?\d+(\.\d+)?(e-?\d+)?$/i.test(text)) throw new UsageError(`--${name} must be a number, got "${text}"`);
  return Number(text);
}

/** One line on a terminal, in place of the one before; nothing elsewhere. */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
