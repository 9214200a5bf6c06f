/** Notebook files: reads them and the cell metadata that this project adds, and writes them as nbformat does. */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';

import { version as typeScriptVersion } from 'typescript5/package.json';

/** This project's marks on a code cell, kept under `metadata.alignbook`. */
export interface Marks {
  /** The walkthrough's cell that this one mirrors, for example "In 6" or "PPO 1". */
  readonly source?: string;
  /** Its Python twin, for example "tests/oracles/02_pad_and_mask.py#L12-L40". */
  readonly python?: string;
  /** Ids of the cells in earlier notebooks that this cell repeats. */
  readonly repeats?: readonly string[];
  /** Why the cell's output is not compared. */
  readonly unchecked?: string;
}

export interface Output {
  readonly output_type: string;
  readonly name?: string;
  readonly text?: string;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly metadata?: unknown;
}

export interface Cell {
  readonly id: string;
  readonly cell_type: 'code' | 'markdown' | 'raw';
  readonly source: string;
  readonly metadata: {
    readonly tags?: readonly string[];
    readonly alignbook?: Marks;
    /** Whether JupyterLab shows the source only on a click; the tag "hide-input" does the same in the book. */
    readonly jupyter?: { readonly source_hidden?: boolean };
  };
  /** Empty for cells other than code. */
  readonly outputs: readonly Output[];
  /** Pictures in a Markdown cell. */
  readonly attachments?: unknown;
  readonly execution_count?: number | null;
}

export interface Notebook {
  /** The file's name, for example "01-tokenize.ipynb". */
  readonly name: string;
  readonly cells: readonly Cell[];
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly nbformat: number;
  readonly nbformat_minor: number;
}

type Json = Record<string, unknown>;

/** nbformat keeps multi-line text as a list of lines; base64 and JSON stay as they are. */
const joined = (text: unknown): string => (Array.isArray(text) ? text.join('') : String(text ?? ''));
const lines = (text: string): string[] => text.match(/[^\n]*\n|[^\n]+/g) ?? [];
const isText = (mime: string) => mime.startsWith('text/') || mime === 'image/svg+xml';

function mapText(data: Readonly<Json>, change: (text: never) => unknown): Json {
  return Object.fromEntries(
    Object.entries(data).map(([mime, value]) => [mime, isText(mime) ? change(value as never) : value]),
  );
}

function joinedOutput(output: Json): Output {
  const data = output['data'] as Json | undefined;
  return {
    ...(output as unknown as Output),
    ...('text' in output && { text: joined(output['text']) }),
    ...(data && { data: mapText(data, joined) }),
  };
}

function parseNotebook(text: string, path: string): Notebook {
  let file: Json;
  try {
    file = JSON.parse(text) as Json;
  } catch (cause) {
    throw new Error(`${path}: not a notebook: ${(cause as Error).message}`, { cause });
  }
  if (file['nbformat'] !== 4 || !Array.isArray(file['cells'])) throw new Error(`${path}: not a notebook of format 4`);
  const cells = (file['cells'] as Json[]).map((cell) => ({
    ...cell,
    source: joined(cell['source']),
    outputs: ((cell['outputs'] as Json[] | undefined) ?? []).map(joinedOutput),
  }));
  return { ...file, name: basename(path), cells } as unknown as Notebook;
}

export function readNotebook(path: string): Notebook {
  return parseNotebook(readFileSync(path, 'utf8'), path);
}

/** Keys sorted at every depth, as nbformat writes them. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, sorted(item)]),
  );
}

/**
 * The only notebook metadata that is committed. It equals the kernel's own description of itself; otherwise, opening a
 * notebook would mark it as modified.
 */
export const committedMetadata = {
  kernelspec: { display_name: 'TypeScript', language: 'typescript', name: 'tslab' },
  language_info: {
    codemirror_mode: { mode: 'typescript', name: 'javascript', typescript: true },
    file_extension: '.ts',
    mimetype: 'text/typescript',
    name: 'typescript',
    version: typeScriptVersion,
  },
};

/**
 * The committed form of a notebook: nbformat 4.5, keys sorted, indented by one space, without execution counts, and
 * without metadata except the kernel's name and this project's marks. Outputs stay.
 */
export function committedForm(notebook: Notebook): string {
  const cells = notebook.cells.map((cell) => {
    const { tags, alignbook, jupyter } = cell.metadata;
    const folded = jupyter?.source_hidden === true && { jupyter: { source_hidden: true } };
    return {
      cell_type: cell.cell_type,
      id: cell.id,
      metadata: { ...(tags?.length && { tags }), ...(alignbook && { alignbook }), ...folded },
      source: lines(cell.source),
      ...(cell.attachments !== undefined && { attachments: cell.attachments }),
      ...(cell.cell_type === 'code' && { execution_count: null, outputs: cell.outputs.map(committedOutput) }),
    };
  });
  return `${JSON.stringify(sorted({ cells, metadata: committedMetadata, nbformat: 4, nbformat_minor: 5 }), null, 1)}\n`;
}

function committedOutput(output: Output): Json {
  if (output.output_type === 'stream')
    return { output_type: 'stream', name: output.name, text: lines(output.text ?? '') };
  return {
    output_type: output.output_type,
    ...(output.output_type === 'execute_result' && { execution_count: null }),
    data: mapText(output.data ?? {}, lines),
    metadata: output.metadata ?? {},
  };
}

/** What a cell printed, including its last line's value, which unmodified tslab prints, too. */
export function printed(cell: Cell): string {
  return textOf(cell, (output) => (output.name === 'stdout' ? output.text : ''));
}

/** What a cell printed, and the text of the tables that it showed. */
export function printedAndShown(cell: Cell): string {
  return textOf(cell, (output) =>
    output.data?.['text/html'] === undefined
      ? output.name === 'stdout'
        ? output.text
        : ''
      : `${String(output.data['text/plain'])}\n`,
  );
}

function textOf(cell: Cell, of: (output: Output) => string | undefined): string {
  return cell.outputs
    .map((output) =>
      output.output_type === 'execute_result' ? `${String(output.data?.['text/plain'])}\n` : (of(output) ?? ''),
    )
    .join('');
}

/** The name of a cell in messages: the walkthrough's number if it has one. */
export function cellName(cell: Cell): string {
  const source = cell.metadata.alignbook?.source;
  return source ? `${source} (cell ${cell.id})` : `cell ${cell.id}`;
}
