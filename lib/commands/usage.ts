/** What every command shares: reading its options, and telling a wrong call from a wrong input. */
import { quoted } from '../errors';
import { readArguments, UsageError, type Kind } from './arguments';

export { UsageError };

export const TEXT = 'text' as const;
export const PATH = 'path' as const;
export const TEXTS = 'texts' as const;
export const FLAG = 'flag' as const;

type Value<Option extends Kind> = { text: string; path: string; texts: string[]; flag: boolean }[Option];

/** A command's options by name; it takes nothing else. */
export function options<const K extends Readonly<Record<string, Kind>>>(
  args: readonly string[],
  known: K,
): { [Name in keyof K]?: Value<K[Name]> } {
  return readArguments(args, known) as { [Name in keyof K]?: Value<K[Name]> };
}

/** The number that an option holds, undefined if it is not given: a plain decimal one, such as 5, -0.5, .5 or 1e-4. */
export function number(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : NaN;
  if (!Number.isFinite(value))
    throw new UsageError(`--${name} must be a number such as 5, 0.5 or 1e-4, got ${quoted(text)}`);
  return value;
}

/** One line on a terminal, in place of the one before; nothing elsewhere. */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
