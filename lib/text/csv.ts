/** Reads the rows of a table of comma-separated values (CSV), or of values separated by tabs or semicolons. */
import { pipeline, Readable } from 'node:stream';

import { CsvError, parse, type CsvErrorCode } from 'csv-parse';

import { FileError, InputError, plural, quoted } from '../errors';

/** One row of a table. */
export interface TableRow {
  /** The line on which the row ends, from 1; a text may have several lines. */
  readonly line: number;
  /**
   * The row's columns as texts; an empty cell is undefined, and so is a column that was not asked for.
   *
   * @throws InputError if the row has more or fewer cells than the header, or a cell has a list as text.
   */
  parse(): Record<string, unknown>;
}

/** Maximum bytes in a row. */
const LONGEST_ROW = 32 * 2 ** 20;
const SEPARATORS = [',', '\t', ';'] as const;
/** A column's name in a header, where no file name says that it is a table. */
const NAME = /^("[^"]+"|[A-Za-z_][\w .-]{0,60})$/;

/**
 * The character between the cells, if a file is a table: its name says so (.csv or .tsv, also .gz), or its first line
 * has two names or more and is not JSON.
 *
 * @param start the file's first bytes.
 */
export function separatorOf(start: Buffer, path: string): string | undefined {
  const text = start.toString('utf8').replace(/^\ufeff/, '');
  const header = text.split(/\r?\n/).find((line) => line.trim() !== '') ?? '';
  const count = (separator: string): number => header.split(separator).length;
  const separator = SEPARATORS.reduce((best, each) => (count(each) > count(best) ? each : best));
  if (/\.csv(\.gz)?$/i.test(path)) return separator;
  if (/\.tsv(\.gz)?$/i.test(path)) return '\t';
  const names = header.split(separator).map((name) => name.trim());
  return names.length > 1 && names.every((name) => NAME.test(name)) ? separator : undefined;
}

/**
 * @param columns the columns to read.
 * @param file the file's name in messages.
 * @throws FileError if the quotes do not match, or the header names a column twice.
 */
export async function* tableRows(
  chunks: AsyncIterable<Buffer>,
  {
    separator,
    columns,
    file,
  }: { readonly separator: string; readonly columns: readonly string[]; readonly file: string },
): AsyncGenerator<TableRow> {
  const parser = parse({
    delimiter: separator,
    bom: true,
    encoding: null, // cells as bytes, so that one that is not UTF-8 can be recognized
    info: true,
    max_record_size: LONGEST_ROW,
    relax_column_count: true, // such a row can be left out; the parser would end the file
    skip_empty_lines: true,
  });
  const records = pipeline(Readable.from(chunks), parser, () => {}); // an error on either side ends both
  let names: readonly string[] | undefined;
  try {
    for await (const { record, info } of records as AsyncIterable<{ record: Buffer[]; info: { lines: number } }>) {
      if (names === undefined) names = header(record, file);
      else yield { line: info.lines, parse: rowOf(names, record, columns) };
    }
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause;
    throw new FileError(file, `line ${String(cause['lines'])}: ${problem(cause.code)}`, { cause });
  }
}

function header(record: readonly Buffer[], file: string): string[] {
  const names = record.map((cell) => cell.toString('utf8').trim());
  const twice = names.find((name, index) => name !== '' && names.indexOf(name) !== index);
  if (twice !== undefined)
    throw new FileError(file, `its first line, the header, names the column ${quoted(twice)} twice; rename one`);
  return names;
}

const rowOf = (names: readonly string[], record: readonly Buffer[], columns: readonly string[]) => () => {
  if (record.length !== names.length)
    throw new InputError(
      `has ${plural(record.length, 'cell')}, and the header has ${names.length}; put a text that has a separator or ` +
        'a line end between double quotes',
    );
  const cells = names.map((name, index) => [name, columns.includes(name) ? valueOf(name, record[index]!) : undefined]);
  // a column without a name is an index, as pandas writes it
  return Object.fromEntries(cells.filter(([name]) => name !== '')) as Record<string, unknown>;
};

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A text; undefined if the cell is empty; its bytes if it is not UTF-8, which the field then reports. */
function valueOf(name: string, cell: Buffer): string | Buffer | undefined {
  if (cell.length === 0) return undefined;
  let text: string;
  try {
    text = decoder.decode(cell);
  } catch {
    return cell;
  }
  if (/^\[\s*\{\s*["']\w+["']\s*:/.test(text))
    throw new InputError(`"${name}" has a list as text, and a table has only texts; write the rows as JSON lines`);
  return text;
}

const MIDDLE =
  'has a double quote in the middle of a cell; put the whole text between quotes, and write the quote as ""';
const PROBLEMS: Partial<Record<CsvErrorCode, string>> = {
  CSV_QUOTE_NOT_CLOSED: 'the file ends within a text in double quotes; close it, and write a quote within a text as ""',
  CSV_MAX_RECORD_SIZE: `a row is longer than ${LONGEST_ROW / 2 ** 20} MB, perhaps for want of a closing double quote`,
  CSV_INVALID_CLOSING_QUOTE: MIDDLE,
  INVALID_OPENING_QUOTE: MIDDLE,
};

const problem = (code: CsvErrorCode): string => PROBLEMS[code] ?? `is not valid CSV (${code})`;
