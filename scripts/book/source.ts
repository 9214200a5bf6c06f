/**
 * The notebooks and documents as Sphinx takes them for the book: figures that draw themselves, the walkthrough's cells
 * marked, links that lead somewhere.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';

import { escaped } from 'alignbook/dist/notebook/tokenTable';

import { isWalkthrough, notebookNames } from '../notebooks/execute';
import { readNotebook, type Cell, type Notebook } from '../notebooks/notebook';
import { root } from '../paths';
import { apiPlaces, writeApi } from './api';

const PLOTLY = 'application/vnd.plotly.v1+json';
/** README is the book's first page. */
const FIRST = 'README.md';
const DOCS = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md') && name !== FIRST);
/** Documents that are pages, by part of the book, in their order. */
const PARTS = {
  'How it works': ['docs/README.md', ...inReadingOrder(DOCS).map((name) => `docs/${name}`), 'data/README.md'],
  'Taking part': ['CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md', 'findings/README.md'],
};
const SOLUTIONS = readdirSync(join(root, 'notebooks', 'solutions')).map((name) => `notebooks/solutions/${name}`);
const PAGES = [...Object.values(PARTS).flat(), ...SOLUTIONS, 'data/models/tiny/README.md', 'lib/README.md'];

/** As docs/README.md lists them. */
function inReadingOrder(names: readonly string[]): string[] {
  const list = readFileSync(join(root, 'docs', FIRST), 'utf8');
  return [...names].sort((a, b) => list.indexOf(`(${a})`) - list.indexOf(`(${b})`));
}

interface Place {
  /** As the walkthrough counts: "In 5". */
  readonly source: string;
  readonly notebook: string;
  /** Of the cell. */
  readonly id: string;
}

/** What a page of the book links to besides other pages. */
interface Book {
  /** Where the API reference describes a public name. */
  readonly api: ReadonlyMap<string, string>;
  /** Takes a file of the project along. */
  readonly carry: (path: string) => void;
}

/** @param folder receives the book's source; what was there is removed. */
export function writeSource(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'notebooks'), { recursive: true });
  const names = notebookNames();
  const places: Place[] = [];
  const api = ['lib/README.md', ...writeApi(folder)];
  const book: Book = { api: apiPlaces(folder), carry: (path) => cpSync(join(root, path), join(folder, path)) };
  for (const name of names) {
    const notebook = readNotebook(join(root, 'notebooks', name));
    places.push(...sourcesOf(notebook));
    const cells = notebook.cells.flatMap((cell) =>
      bookCells(cell, (text) => withLinks(text, join(root, 'notebooks'), book)),
    );
    writeFileSync(
      join(folder, 'notebooks', name),
      JSON.stringify({ cells, metadata: notebook.metadata, nbformat: 4, nbformat_minor: 5 }),
    );
  }
  cpSync(join(root, 'notebooks', 'figures'), join(folder, 'notebooks', 'figures'), { recursive: true });
  for (const file of ['figures.js', 'book.css'])
    cpSync(join(root, 'scripts', 'book', file), join(folder, '_static', file));
  cpSync(join(root, 'scripts', 'book', 'conf.py'), join(folder, 'conf.py'));
  cpSync(join(root, 'docs', 'images'), join(folder, 'docs', 'images'), { recursive: true });
  for (const page of PAGES) {
    mkdirSync(join(folder, dirname(page)), { recursive: true });
    const text = readFileSync(join(root, page), 'utf8');
    writeFileSync(join(folder, page), withLinks(text, join(root, dirname(page)), book));
  }
  writeFileSync(join(folder, 'index.md'), landing(book, api) + contents(names, api));
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
  const shown = {
    ...cell,
    outputs: cell.outputs.map((output) =>
      output.data?.[PLOTLY] === undefined
        ? output
        : { ...output, data: { 'text/html': figureHtml(output.data), 'text/plain': output.data['text/plain'] } },
    ),
  };
  const { source, python } = cell.metadata.alignbook ?? {};
  if (source === undefined) return [shown];
  const twin = python === undefined ? '' : `; [its Python](${python.replace(/#.*$/, '')})`;
  const mark = {
    cell_type: 'markdown',
    id: `${cell.id}-mark`,
    metadata: {},
    source: linked(`(${cell.id})=\n*${source} of the walkthrough${twin}*`),
  };
  return [mark, shown];
}

/**
 * Links to files of the project take the file along; those to its folders, and to texts that are no page of the book,
 * are text. A public name that leads to its source leads to the API reference, too.
 */
function withLinks(text: string, from: string, { api, carry }: Book): string {
  return text.replace(/(?<!!)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)/g, (link, label: string, target: string) => {
    const [file = '', anchor = ''] = target.split(/(?=#)/);
    const path = resolve(from, file);
    const page = relative(root, path);
    if (page === FIRST) return `[${label}](${relative(from, join(root, 'index.md'))}${anchor})`;
    if (path.endsWith('.ipynb') || PAGES.includes(page)) return link;
    if (!existsSync(path) || statSync(path).isDirectory() || path.endsWith('.md')) return label;
    carry(page);
    const place = page.startsWith('lib/') ? api.get(label.replace(/^`(\w+)`$/, '$1')) : undefined;
    return place === undefined ? link : `${link} ([API](${relative(from, join(root, place))}))`;
  });
}

/** The image, which figures.js replaces by plotly's figure. */
function figureHtml(data: Readonly<Record<string, unknown>>): string {
  const alt = String(data['text/plain']);
  const json = JSON.stringify(data[PLOTLY]).replaceAll('<', '\\u003c'); // nothing in it ends the script
  const image =
    data['image/png'] === undefined
      ? `<p>${escaped(alt)}</p>`
      : `<img src="data:image/png;base64,${String(data['image/png'])}" alt="${escaped(alt)}">`;
  const figure = `${image}<script type="application/json">${json}</script>`;
  return `<div class="alignbook-figure" role="img" aria-label="${escaped(alt)}">${figure}</div>`;
}

/** README, and what is in the book, which its contents on the left only name. */
function landing(book: Book, api: readonly string[]): string {
  const readme = withLinks(readFileSync(join(root, FIRST), 'utf8'), root, book);
  const rooms = api.filter((page) => page.startsWith('api/')).map((page) => `[${basename(page, '.md')}](${page})`);
  return [
    `${readme}\n## These pages\n`,
    '| part | what is in it |\n|---|---|',
    '| The walkthrough | notebooks 1 to 5 as executed, and [where each cell of the walkthrough is](source-cells.md) |',
    '| Solutions | of the exercises, each with an answer that looks right and is not |',
    '| Training | the other notebooks as executed |',
    '| How it works | the documents; [their list](docs/README.md) says what each covers |',
    '| Taking part | how to change the project, and what has changed |',
    `| The library | [its rooms](lib/README.md), and the API reference: ${rooms.join(', ')} |`,
    '',
  ].join('\n');
}

function crossReference(places: readonly Place[]): string {
  const rows = places.map(
    ({ source, notebook, id }) => `| [${source}](#${id}) | [${basename(notebook, '.ipynb')}](notebooks/${notebook}) |`,
  );
  return [
    '# The walkthrough, cell by cell',
    '',
    'Each cell of the Python walkthrough, in the order of the notebooks.',
    '',
    '| cell | notebook |',
    '|---|---|',
    ...rows,
    '',
  ].join('\n');
}

/** In MyST's words: https://myst-parser.readthedocs.io/en/latest/syntax/organising_content.html */
function contents(names: readonly string[], api: readonly string[]): string {
  const part = (caption: string, pages: readonly string[]) =>
    ['', '```{toctree}', `:caption: ${caption}`, ':maxdepth: 1', '', ...pages, '```', ''].join('\n');
  const pages = (chosen: (name: string) => boolean) =>
    names.filter(chosen).map((name) => `notebooks/${basename(name, '.ipynb')}`);
  const withoutEnding = (paths: readonly string[]) => paths.map((path) => path.replace(/\.md$/, ''));
  return [
    part('The walkthrough', [...pages(isWalkthrough), 'source-cells']),
    part('Solutions', withoutEnding(SOLUTIONS)),
    part(
      'Training',
      pages((name) => !isWalkthrough(name)),
    ),
    ...Object.entries(PARTS).map(([caption, documents]) => part(caption, withoutEnding(documents))),
    part('The library', withoutEnding([...api, 'data/models/tiny/README.md'])),
  ].join('');
}
