/**
 * The notebooks as Sphinx takes them for the book: figures that draw themselves, the walkthrough's cells marked, links
 * that lead somewhere.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';

import { escaped } from 'alignbook/dist/notebook/tokenTable';

import { isWalkthrough, notebookNames } from '../notebooks/execute';
import { root } from '../paths';
import { readNotebook, type Cell, type Notebook } from '../notebooks/notebook';

const PLOTLY = 'application/vnd.plotly.v1+json';
/** A page of its own, beside the notebooks. */
const DATA = join('data', 'README.md');

interface Place {
  /** As the walkthrough counts: "In 5". */
  readonly source: string;
  readonly notebook: string;
  /** Of the cell. */
  readonly id: string;
}

/** @param folder receives the book's source; what was there is removed. */
export function writeSource(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'notebooks'), { recursive: true });
  const names = notebookNames();
  const places: Place[] = [];
  const carried = (path: string) => cpSync(join(root, path), join(folder, path));
  for (const name of names) {
    const notebook = readNotebook(join(root, 'notebooks', name));
    places.push(...sourcesOf(notebook));
    const cells = notebook.cells.flatMap((cell) => bookCells(cell, (text) => withLinks(text, join(root, 'notebooks'), carried)));
    writeFileSync(join(folder, 'notebooks', name), JSON.stringify({ cells, metadata: notebook.metadata, nbformat: 4, nbformat_minor: 5 }));
  }
  cpSync(join(root, 'notebooks', 'figures'), join(folder, 'notebooks', 'figures'), { recursive: true });
  cpSync(join(root, 'scripts', 'book', 'figures.js'), join(folder, '_static', 'figures.js'));
  cpSync(join(root, 'scripts', 'book', 'conf.py'), join(folder, 'conf.py'));
  mkdirSync(join(folder, 'data'), { recursive: true });
  writeFileSync(join(folder, DATA), withLinks(readFileSync(join(root, DATA), 'utf8'), join(root, 'data'), carried));
  writeFileSync(join(folder, 'index.md'), landing() + contents(names));
  writeFileSync(join(folder, 'source-cells.md'), crossReference(places));
}

function sourcesOf({ name, cells }: Notebook): Place[] {
  return cells.flatMap((cell) => {
    const { source } = cell.metadata.alignbook ?? {};
    return source === undefined ? [] : [{ source, notebook: name, id: cell.id }];
  });
}

/** A cell, and before one that mirrors the walkthrough's a line that says so, which links lead to. */
function bookCells(cell: Cell, linked: (text: string) => string): object[] {
  if (cell.cell_type === 'markdown') return [{ ...cell, source: linked(cell.source) }];
  const shown = { ...cell, outputs: cell.outputs.map((output) => (output.data?.[PLOTLY] === undefined ? output : { ...output, data: { 'text/html': figureHtml(output.data), 'text/plain': output.data['text/plain'] } })) };
  const { source, python } = cell.metadata.alignbook ?? {};
  if (source === undefined) return [shown];
  const twin = python === undefined ? '' : `; [its Python](${python.replace(/#.*$/, '')})`;
  const mark = { cell_type: 'markdown', id: `${cell.id}-mark`, metadata: {}, source: linked(`(${cell.id})=\n*${source} of the walkthrough${twin}*`) };
  return [mark, shown];
}

/**
 * Links to files of the project take the file along; those to its folders, and to texts that are no page of the book,
 * are text.
 */
function withLinks(text: string, from: string, carried: (path: string) => void): string {
  return text.replace(/(?<!!)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)/g, (link, label: string, target: string) => {
    const path = resolve(from, target.replace(/#.*$/, ''));
    if (path.endsWith('.ipynb') || path === join(root, DATA)) return link;
    if (!existsSync(path) || statSync(path).isDirectory() || path.endsWith('.md')) return label;
    carried(relative(root, path));
    return link;
  });
}

/** The image, which figures.js replaces by plotly's figure. */
function figureHtml(data: Readonly<Record<string, unknown>>): string {
  const alt = String(data['text/plain']);
  const json = JSON.stringify(data[PLOTLY]).replaceAll('<', '\\u003c'); // nothing in it ends the script
  const image = data['image/png'] === undefined ? `<p>${escaped(alt)}</p>` : `<img src="data:image/png;base64,${String(data['image/png'])}" alt="${escaped(alt)}">`;
  return `<div class="alignbook-figure" role="img" aria-label="${escaped(alt)}">${image}<script type="application/json">${json}</script></div>`;
}

/** README's beginning, up to its commands. */
function landing(): string {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  return `${readme.slice(0, readme.indexOf('\n## '))}\n\nThese pages are the notebooks as they were executed. [Where each cell of the walkthrough is](source-cells.md).\n`;
}

function crossReference(places: readonly Place[]): string {
  const rows = places.map(({ source, notebook, id }) => `| [${source}](#${id}) | [${basename(notebook, '.ipynb')}](notebooks/${notebook}) |`);
  return ['# The walkthrough, cell by cell', '', 'Each cell of the Python walkthrough, in the order of the notebooks.', '', '| cell | notebook |', '|---|---|', ...rows, ''].join('\n');
}

/** In MyST's words: https://myst-parser.readthedocs.io/en/latest/syntax/organising_content.html */
function contents(names: readonly string[]): string {
  const part = (caption: string, pages: readonly string[]) => ['', '```{toctree}', `:caption: ${caption}`, ':maxdepth: 1', '', ...pages, '```', ''].join('\n');
  const pages = (chosen: (name: string) => boolean) => names.filter(chosen).map((name) => `notebooks/${basename(name, '.ipynb')}`);
  return part('The walkthrough', [...pages(isWalkthrough), 'source-cells']) + part('Training', [...pages((name) => !isWalkthrough(name)), `The data <${DATA.replace(/\.md$/, '')}>`]);
}
