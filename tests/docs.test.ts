/**
 * Checks of the project's structure: links in the documents, README's size and list, the order of the rooms, the sizes
 * of files.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';

import { headingAnchors } from '../scripts/book/anchors';
import { notebookNames } from '../scripts/notebooks/execute';
import { root } from '../scripts/paths';

const lib = join(root, 'lib');

const ROOMS = [
  '',
  'formats',
  'hub',
  'text',
  'engine',
  'losses',
  'model',
  'training',
  'handoff',
  'notebook',
  'commands',
] as const;
/** Rooms that a room does not use, although they are above it. */
const APART: Readonly<Record<string, readonly string[]>> = { losses: ['engine', 'hub'] };
/** Files at the root that come after the rooms, and one that is on a level with the commands. */
const LAST = ['index.ts', 'cli.ts'];
const BESIDE_COMMANDS = ['doctor.ts'];

function filesBelow(folder: string, ending: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (['node_modules', 'dist', 'bin'].includes(entry.name) || entry.name.startsWith('.')) return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesBelow(path, ending) : path.endsWith(ending) ? [path] : [];
  });
}

const sources = filesBelow(lib, '.ts').map((path) => relative(lib, path));

/** The files of lib/ that a file imports, types included. */
function imported(file: string): string[] {
  const text = readFileSync(join(lib, file), 'utf8');
  const named = [...text.matchAll(/^(?:import|export)\b[^;']*?from '(\.{1,2}\/[^']+)'/gm)];
  const others = [...text.matchAll(/^import '(\.{1,2}\/[^']+)'|\b(?:require|import)\('(\.{1,2}\/[^']+)'\)/gm)];
  return [...named, ...others].map(([, first, second]) => {
    const path = resolve(lib, dirname(file), (first ?? second)!.replace(/\.js$/, ''));
    const found = [`${path}.ts`, join(path, 'index.ts'), path].find((candidate) => existsSync(candidate));
    assert.ok(found, `${file} imports ${first ?? second}, which does not exist`);
    return relative(lib, found);
  });
}

const roomOf = (file: string): string => {
  if (BESIDE_COMMANDS.includes(file)) return 'commands';
  return file.includes('/') ? file.split('/')[0]! : '';
};
const rank = (file: string): number =>
  LAST.includes(file) ? ROOMS.length : ROOMS.findIndex((room) => room === roomOf(file));

const documents = [
  ...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md', 'lib/README.md', 'data/README.md'],
  ...['findings/README.md', 'data/models/tiny/README.md', 'scripts/kernel/README.md', 'scripts/bench/README.md'],
  ...['docs', 'notebooks']
    .flatMap((folder) => filesBelow(join(root, folder), '.md'))
    .map((path) => relative(root, path)),
];

test('every relative link of a document leads to a file, and its anchor to a heading', () => {
  const dead: string[] = [];
  for (const document of documents) {
    const text = readFileSync(join(root, document), 'utf8').replace(/^```[^]*?^```/gm, '');
    for (const [, target] of text.matchAll(/\]\((?!https?:|mailto:)([^)\s]+)\)/g)) {
      const [file = '', anchor] = target!.split('#');
      const path = file === '' ? join(root, document) : resolve(root, dirname(document), file);
      if (!existsSync(path)) dead.push(`${document}: ${target}`);
      else if (anchor !== undefined && !headingAnchors(readFileSync(path, 'utf8')).has(anchor))
        dead.push(`${document}: ${target}: there is no such heading`);
    }
  }
  assert.deepEqual(dead, []);
});

test('README fits on one page, and lists the notebooks of the folder in their order', () => {
  const path = join(root, 'README.md');
  assert.ok(statSync(path).size < 10_000, `README.md has ${statSync(path).size} bytes`);
  const listed = [...readFileSync(path, 'utf8').matchAll(/^\| \[[^\]]+\]\(notebooks\/([^)]+)\)/gm)].map(
    ([, name]) => name,
  );
  assert.deepEqual(listed, notebookNames());
});

test('README leads to every page of docs/, and so does their index', () => {
  const pages = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md') && name !== 'README.md');
  for (const [document, prefix] of [
    ['README.md', 'docs/'],
    ['docs/README.md', ''],
  ] as const) {
    const text = readFileSync(join(root, document), 'utf8');
    for (const page of pages) assert.ok(text.includes(`](${prefix}${page})`), `${document} does not link ${page}`);
  }
});

test('the pages of scripts/kernel and scripts/bench name every file of their folder', () => {
  const missing = ['scripts/kernel', 'scripts/bench'].flatMap((folder) => {
    const page = readFileSync(join(root, folder, 'README.md'), 'utf8');
    const files = readdirSync(join(root, folder)).filter((name) => /\.(ts|py)$/.test(name));
    return files.filter((name) => !page.includes(`\`${name}\``)).map((name) => `${folder}/${name}`);
  });
  assert.deepEqual(missing, []);
});

test('every folder of lib/ is a room, and a file imports only from its own room and those above', () => {
  const wrong = sources.flatMap((file) => {
    if (rank(file) < 0) return [`${file} is in no room`];
    return imported(file)
      .filter((other) => rank(other) > rank(file) || APART[roomOf(file)]?.includes(roomOf(other)))
      .map((other) => `${file} imports ${other}`);
  });
  assert.deepEqual(wrong, []);
});

test('no file imports itself in a circle, not even types', () => {
  const graph = new Map(sources.map((file) => [file, imported(file)]));
  const clean = new Set<string>();
  const visit = (file: string, way: readonly string[]): void => {
    if (clean.has(file)) return;
    assert.ok(!way.includes(file), `a circle of imports: ${[...way.slice(way.indexOf(file)), file].join(' -> ')}`);
    for (const other of graph.get(file) ?? []) visit(other, [...way, file]);
    clean.add(file);
  };
  for (const file of sources) visit(file, []);
});

/** The source files of some folders, in every language. */
const filesOf = (...folders: readonly string[]): string[] =>
  folders.flatMap((folder) =>
    ['.ts', '.mjs', '.js', '.py'].flatMap((ending) => filesBelow(join(root, folder), ending)),
  );
const linesOf = (path: string): string[] => readFileSync(path, 'utf8').trimEnd().split('\n');

test('files of lib/ and scripts/ have at most 300 lines, and no line has more than 120 columns', () => {
  const long = filesOf('lib', 'scripts').filter((path) => linesOf(path).length > 300);
  assert.deepEqual(
    long.map((path) => `${relative(root, path)}: ${linesOf(path).length} lines`),
    [],
  );
  // fixtures are made by programs
  const sourceFiles = filesOf('lib', 'scripts', 'tests').filter((path) => !path.includes('/fixtures/'));
  const wide = sourceFiles.flatMap((path) =>
    linesOf(path).flatMap((line, n) => ([...line].length > 120 ? [`${relative(root, path)}:${n + 1}`] : [])),
  );
  assert.deepEqual(wide, []);
});

test('files of lib/ have different names', () => {
  const names = sources.map((file) => basename(file));
  const doubled = names.filter((name, n) => names.indexOf(name) !== n);
  assert.deepEqual([...new Set(doubled)], []);
});
