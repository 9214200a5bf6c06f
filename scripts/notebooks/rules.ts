/** Rules for notebook files. Each rule returns its findings; an empty list means that the notebook follows the rule. */
import { existsSync, readFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

import { plural } from 'alignbook/dist/errors';

import { compareText, hasBounds } from './compare';
import { isWalkthrough } from './execute';
import type { Expected } from './expected';
import { importedNames, lintCell } from './lint';
import { cellName, committedForm, printed, printedAndShown, type Cell, type Notebook, type Output } from './notebook';

/** The walkthrough's code cells in their own order: In 22, 26, 16 and 23 were run out of order, the PPO cells never. */
export const sourceCells: readonly string[] = [
  ...Array.from({ length: 13 }, (_, i) => `In ${i + 1}`),
  ...['In 22', 'In 26', 'In 16', 'In 23'],
  ...['PPO 1', 'PPO 2', 'PPO 3'],
];

/** The one cell that moved: the DPO loss is with the rest of DPO. */
const moved = { source: 'In 13', notebook: '04-dpo-loss.ipynb' };

const maximumLines = 15;
const maximumNames = 15;
const maximumColumns = 90;
/** Names of the library that show a value or check an answer. */
const showing: ReadonlySet<string> = new Set(['exercise', 'item', 'show', 'table', 'tokenParts', 'withSlider']);
const maximumOutput = 200_000;

const codeCells = (notebook: Notebook) => notebook.cells.filter((cell) => cell.cell_type === 'code');
const lineCount = (source: string) => source.split('\n').filter((line) => line.trim() !== '').length;

/** Every source cell is mirrored once, in the source's order except for the one that moved. */
export function coverage(notebooks: readonly Notebook[]): string[] {
  const mirrors = notebooks.flatMap((notebook) =>
    codeCells(notebook).flatMap((cell) => {
      const source = cell.metadata.alignbook?.source;
      return source === undefined ? [] : [{ source, id: cell.id, notebook: notebook.name }];
    }),
  );
  const findings: string[] = [];
  for (const { source, id, notebook } of mirrors) {
    if (!sourceCells.includes(source)) findings.push(`${notebook}, cell ${id}: the source has no cell "${source}"`);
    if (id !== source.toLowerCase().replace(' ', '-'))
      findings.push(
        `${notebook}, cell ${id}: mirrors ${source}, so its id should be "${source.toLowerCase().replace(' ', '-')}"`,
      );
    if (source === moved.source && notebook !== moved.notebook)
      findings.push(`${notebook}, cell ${id}: ${source} belongs in ${moved.notebook}`);
  }
  for (const source of sourceCells) {
    const places = mirrors.filter((mirror) => mirror.source === source).map((mirror) => mirror.notebook);
    if (places.length === 0) findings.push(`${source} is mirrored nowhere`);
    if (places.length > 1) findings.push(`${source} is mirrored more than once: ${places.join(', ')}`);
  }
  const order = mirrors.map((mirror) => mirror.source).filter((source) => source !== moved.source);
  order.forEach((source, i) => {
    const before = order[i - 1];
    if (before !== undefined && sourceCells.indexOf(source) < sourceCells.indexOf(before))
      findings.push(`${source} comes after ${before}, against the source's order`);
  });
  return findings;
}

/** Each mirror's link gives the lines of its Python twin: a whole cell, from its "# %% [id]" line to its last line. */
export function pythonLinks(notebook: Notebook, root: string): string[] {
  return codeCells(notebook).flatMap((cell) => {
    const { source, python } = cell.metadata.alignbook ?? {};
    if (source === undefined && python === undefined) return [];
    const where = `${notebook.name}, ${cellName(cell)}`;
    const link = /^(tests\/oracles\/\w+\.py)#L(\d+)-L(\d+)$/.exec(python ?? '');
    if (!link) return [`${where}: no link to its Python twin, such as "tests/oracles/02_pad_and_mask.py#L12-L40"`];
    const [, path, from, to] = link as unknown as [string, string, string, string];
    if (!existsSync(join(root, path))) return [`${where}: ${path} does not exist`];
    const [first, last] = pythonCell(readFileSync(join(root, path), 'utf8'), cell.id);
    if (first === 0) return [`${where}: ${path} has no line "# %% [${cell.id}]"`];
    return Number(from) === first && Number(to) === last
      ? []
      : [`${where}: its Python twin is ${path}#L${first}-L${last}, not ${python}`];
  });
}

/** First and last line of a "# %% [id]" cell, counted from 1; zeros if there is no such cell. */
function pythonCell(text: string, id: string): [number, number] {
  const lines = text.split('\n');
  const first = lines.indexOf(`# %% [${id}]`);
  if (first < 0) return [0, 0];
  const next = lines.findIndex((line, i) => i > first && line.startsWith('# %%'));
  let last = next < 0 ? lines.length : next;
  while (lines[last - 1]!.trim() === '') last -= 1;
  return [first + 1, last];
}

/**
 * A cell has at most 15 lines, not counting blank ones, unless it mirrors a source cell of any length, or repeats
 * others.
 */
export function thinCells(notebook: Notebook): string[] {
  return codeCells(notebook).flatMap((cell) => {
    const { source, repeats: ids } = cell.metadata.alignbook ?? {};
    const lines = lineCount(cell.source);
    return ids || source !== undefined || lines <= maximumLines
      ? []
      : [`${notebook.name}, ${cellName(cell)}: ${plural(lines, 'line')}, at most ${maximumLines} are allowed`];
  });
}

/** Cells must compile correctly with unmodified tslab, and have no tags that let a run ignore errors. */
export function safeCells(notebook: Notebook): string[] {
  return codeCells(notebook).flatMap((cell) => {
    const where = `${notebook.name}, ${cellName(cell)}`;
    const tags = (cell.metadata.tags ?? []).filter((tag) => tag === 'raises-exception' || tag === 'skip-execution');
    return [
      ...tags.map((tag) => `${where}: tag "${tag}"; catch the error inside the cell instead`),
      ...lintCell(cell.source).map(({ line, message }) => `${where}, line ${line}: ${message}`),
    ];
  });
}

/**
 * The walkthrough, notebooks 01 to 05, needs few names of the library that compute; the later notebooks are about the
 * rest of it.
 */
export function fewNames(notebooks: readonly Notebook[]): string[] {
  const walkthrough = notebooks.filter(({ name }) => isWalkthrough(name));
  const names = new Set(
    walkthrough
      .flatMap(codeCells)
      .flatMap((cell) => importedNames(cell.source, 'alignbook'))
      .filter((name) => !showing.has(name)),
  );
  return names.size <= maximumNames
    ? []
    : [
        `notebooks 01 to 05 import ${names.size} names from alignbook, at most ${maximumNames} are allowed: ` +
          `${[...names].sort().join(', ')}`,
      ];
}

/** Code is as wide as a page in JupyterLab at most, and `item` takes values out of tensors. */
export function readableCells(notebook: Notebook): string[] {
  return codeCells(notebook).flatMap(({ id, source, metadata }) => {
    const where = `${notebook.name}, cell ${id}`;
    const wide = source
      .split('\n')
      .flatMap((line, n) =>
        line.length > maximumColumns
          ? [`${where}, line ${n + 1}: ${line.length} columns, at most ${maximumColumns}`]
          : [],
      );
    const mirrors = metadata.alignbook?.source !== undefined || metadata.alignbook?.repeats !== undefined;
    const remedy =
      source.includes('.dataSync()[0]') && !mirrors ? [`${where}: write item(x), not x.dataSync()[0]`] : [];
    return [...wide, ...remedy];
  });
}

/** A link from a name of the library, [`gae`](../lib/losses/advantages.ts), leads to the file that exports it. */
export function sourceLinks(notebook: Notebook, root: string): string[] {
  return notebook.cells.flatMap(({ id, cell_type, source }) =>
    [...(cell_type === 'markdown' ? source.matchAll(/\[`(\w+)`\]\(\.\.\/(lib\/[^)\s]+\.ts)\)/g) : [])].flatMap(
      ([, name, path]) => {
        const file = join(root, path!);
        const exported = new RegExp(`^export (async )?(function\\*?|const|class|interface|type) ${name}\\b`, 'm');
        return existsSync(file) && exported.test(readFileSync(file, 'utf8'))
          ? []
          : [`${notebook.name}, cell ${id}: ${path} does not export ${name}`];
      },
    ),
  );
}

/** A committed notebook contains outputs, but nothing about the run or the machine that made them. */
export function committed(notebook: Notebook, text: string, root: string): string[] {
  const findings: string[] = [];
  const ids = notebook.cells.map((cell) => cell.id);
  const doubled = ids.find((id, i) => ids.indexOf(id) !== i);
  if (doubled !== undefined) findings.push(`${notebook.name}: two cells have the id "${doubled}"`);
  if (text !== committedForm(notebook))
    findings.push(`${notebook.name}: not in the committed form; run "npm run notebooks:refresh"`);
  for (const cell of codeCells(notebook)) {
    const where = `${notebook.name}, ${cellName(cell)}`;
    const outputs = JSON.stringify(cell.outputs);
    if (outputs.length > maximumOutput)
      findings.push(
        `${where}: ${Math.ceil(outputs.length / 1000)} KB of output, at most ${maximumOutput / 1000} are allowed`,
      );
    const path = [root, homedir(), tmpdir(), '/home/', '/Users/'].find((folder) => outputs.includes(folder));
    if (path !== undefined) findings.push(`${where}: the output holds a path of this machine: ${path}`);
    if (cell.outputs.some((output) => output.output_type === 'stream' && output.name !== 'stdout'))
      findings.push(`${where}: the output holds stderr`);
    if (
      cell.outputs.some(
        ({ data }) => data?.['application/vnd.plotly.v1+json'] !== undefined && data['image/png'] === undefined,
      )
    )
      findings.push(`${where}: a figure without its image; run "npm run notebooks:refresh"`);
    if (cell.outputs.some((output) => output.output_type === 'error'))
      findings.push(`${where}: the output holds an error`);
  }
  return findings;
}

/**
 * The committed outputs equal those of a fresh run, except for another processor's rounding: trained values must be
 * within the tolerance of their cell or file, or within the bounds that are expected of both.
 */
export function sameOutputs(committedNotebook: Notebook, fresh: Notebook, expected?: Expected): string[] {
  const kinds = (cell: Cell) =>
    JSON.stringify(cell.outputs.map(({ output_type, data }) => [output_type, Object.keys(data ?? {}).sort()]));
  const plain = ({ data }: Output) => String(data?.['text/plain'] ?? '');
  const text = (cell: Cell) => [printed(cell), ...cell.outputs.map(plain)].join('\n');
  return codeCells(committedNotebook).flatMap((cell) => {
    const where = `${committedNotebook.name}, ${cellName(cell)}`;
    const again = fresh.cells.find((other) => other.id === cell.id)!;
    const remedy = 'run "npm run notebooks:refresh" and look at the difference';
    if (kinds(cell) !== kinds(again))
      return [`${where}: the committed outputs are of other kinds than a fresh run's; ${remedy}`];
    if (cell.metadata.alignbook?.unchecked !== undefined) return [];
    const wanted = expected?.cells[cell.id];
    const tolerance = wanted?.tolerance ?? expected?.tolerance ?? { absolute: 1e-6, relative: 1e-5 };
    const bounded = wanted?.any ?? wanted?.tiny ?? '';
    const { difference } = hasBounds(bounded)
      ? compareText(bounded, printedAndShown(cell), tolerance)
      : compareText(text(cell), text(again), tolerance);
    return difference
      ? [
          `${where}: the committed output is not a fresh run's; ${remedy}\n  committed  ${difference.expected}\n ` +
            ` fresh      ${difference.got}`,
        ]
      : [];
  });
}
