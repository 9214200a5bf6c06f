/**
 * A command's arguments -> its options. Each is given once, unless it may be repeated; what is unknown is told with the
 * nearest that is known.
 */
import { quoted } from '../errors';
import { expandHome } from '../hub/homePath';

/** The command was called wrongly: exit status 2, with the usage. */
export class UsageError extends Error {}

/**
 * `flag` takes no value, `text` one, `texts` one each time that it is given; `path` is a text whose `~` is the home
 * folder.
 */
export type Kind = 'flag' | 'text' | 'texts' | 'path';

/**
 * Node's own `parseArgs` takes the last of two values without a word, and a negative number for an option; hence this
 * one.
 *
 * @param negatable whether `--no-NAME` takes a flag back.
 * @throws UsageError naming the argument.
 */
export function readArguments(
  args: readonly string[],
  known: Readonly<Record<string, Kind>>,
  { negatable = false } = {},
): Record<string, string | string[] | boolean> {
  const given: Record<string, string | string[] | boolean> = {};
  for (let at = 0; at < args.length; at += 1) {
    const argument = args[at]!;
    if (!/^--[^-=]/.test(argument))
      throw new UsageError(
        `takes no ${quoted(argument)} where an option is due; put it behind the option that it belongs to`,
      );
    const equals = argument.indexOf('=');
    const written = equals < 0 ? argument.slice(2) : argument.slice(2, equals);
    const positive = written.replace(/^no-/, '');
    const taken = negatable && !Object.hasOwn(known, written) && known[positive] === 'flag';
    const name = taken ? positive : written;
    const kind = Object.hasOwn(known, name) ? known[name]! : undefined;
    if (kind === undefined)
      throw new UsageError(`Unknown option '--${written}'${hint(nearest(written, Object.keys(known)), '--')}`);
    let value: string | boolean = !taken;
    if (kind === 'flag') {
      if (equals >= 0)
        throw new UsageError(
          `--${written} takes no value, got ${quoted(argument.slice(equals + 1))}; give --${written} alone`,
        );
    } else if (equals >= 0) {
      value = argument.slice(equals + 1);
    } else {
      const next = args[at + 1];
      if (next === undefined) throw new UsageError(`--${name} has no value; give one behind it`);
      if (isOption(next))
        throw new UsageError(
          `--${name} has no value before ${quoted(next)}; a value that begins with a dash is written --${name}=${next}`,
        );
      value = next;
      at += 1;
    }
    if (kind === 'texts') given[name] = [...((given[name] as string[] | undefined) ?? []), value as string];
    else if (Object.hasOwn(given, name))
      throw new UsageError(
        `--${name} is given twice${kind === 'flag' ? '' : `, ${quoted(String(given[name]))} and ${quoted(String(value))}`}; give it once`,
      );
    else given[name] = kind === 'path' ? expandHome(value as string) : value;
  }
  return given;
}

/** `-` is the standard input, and -1, -.5 and -Infinity are numbers, whose range is checked where they are used. */
const isOption = (argument: string): boolean =>
  argument.startsWith('-') && argument !== '-' && !/^-(\.?\d|Infinity\b|NaN\b)/i.test(argument);

export const hint = (name: string | undefined, prefix = ''): string =>
  name === undefined ? '' : `; did you mean ${prefix}${name}?`;

/** The known name that takes the fewest changed letters, at most a third of them; dashes and capitals don't count. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_]/g, '');
  const distances = known.map((each) => distance(plain(name), plain(each)));
  const least = Math.min(...distances);
  const most = Math.max(1, Math.floor(plain(name).length / 3));
  return least <= most
    ? known[distances.indexOf(least)]
    : known.find((each) => plain(name).length > 2 && plain(each).startsWith(plain(name)));
}

/** Letters to insert, remove, replace or swap with their neighbor (optimal string alignment). */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? rows[i - 2]![j - 2]! + 1 : Infinity;
      row.push(Math.min(row[j - 1]! + 1, rows[i - 1]![j]! + 1, rows[i - 1]![j - 1]! + same, swapped));
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
