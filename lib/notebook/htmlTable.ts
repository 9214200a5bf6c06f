/** Rows of names and numbers as a table. */
import { InputError } from '../errors';
import type { Html } from './show';
import { escaped } from './tokenTable';

/** One row: the values by the name of their column. */
export type TableRow = Readonly<Record<string, string | number>>;

export interface TableOptions {
  /** Decimals of numbers that are not whole. Default: 4. */
  digits?: number;
}

const CELL = 'padding: 2px 12px; border-bottom: 1px solid rgba(128, 128, 128, 0.35)';
const BESIDE = ' '.repeat(2);

/**
 * Makes a table for `show`. Numbers are aligned to the right; whole ones stay whole, the others have `digits` decimals.
 *
 *     show(table([{ form: 'by hand', loss: 0.437488 }, { form: 'dpoLoss', loss: item(loss) }], { digits: 6 }));
 *
 * @param rows each with the columns of the first, in its order.
 * @throws InputError if there is no row, or a row has other columns than the first.
 */
export function table(rows: readonly TableRow[], { digits = 4 }: TableOptions = {}): Html {
  const names = Object.keys(rows[0] ?? {});
  if (names.length === 0) throw new InputError('a table needs at least one row with at least one column');
  for (const [n, row] of rows.entries()) {
    if (Object.keys(row).length !== names.length || names.some((name) => !Object.hasOwn(row, name)))
      throw new InputError(
        `row ${n} has the columns ${Object.keys(row).join(', ')}; the first has ${names.join(', ')}`,
      );
  }
  const written = (value: string | number) =>
    typeof value === 'string' || Number.isInteger(value)
      ? `${value}`
      : value.toFixed(digits).replace(/^-(?=[0.]+$)/, ''); // no minus before 0.0000
  const texts = rows.map((row) => names.map((name) => written(row[name]!)));
  const isNumber = names.map((name) => rows.every((row) => typeof row[name] === 'number'));

  const cell = (tag: 'th' | 'td') => (text: string, n: number) =>
    `<${tag} style="${CELL}; text-align: ${isNumber[n] ? 'right' : 'left'}">${escaped(text)}</${tag}>`;
  const line = (tag: 'th' | 'td', cells: readonly string[]) => `<tr>${cells.map(cell(tag)).join('')}</tr>`;
  const widths = names.map((name, n) => Math.max(name.length, ...texts.map((row) => row[n]!.length)));
  const plain = (cells: readonly string[]) =>
    cells
      .map((text, n) => (isNumber[n] ? text.padStart(widths[n]!) : text.padEnd(widths[n]!)))
      .join(BESIDE)
      .trimEnd();
  return {
    html:
      `<table style="border-collapse: collapse"><thead>${line('th', names)}</thead>` +
      `<tbody>${texts.map((row) => line('td', row)).join('')}</tbody></table>`,
    text: [names, ...texts].map(plain).join('\n'),
  };
}
