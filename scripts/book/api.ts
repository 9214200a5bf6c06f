/**
 * The API reference: a page for each room of the library, made by typedoc from the doc comments of its public names.
 * typedoc needs a TypeScript with a JavaScript API, which is why scripts/book has a package.json of its own.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

import { root } from '../paths';
import { headingAnchors } from './anchors';

const BASE = 'base';
/** Types of TensorFlow's and plotly's own, with thousands of members: their documentation is elsewhere. */
const FOREIGN = /\b(type )?(tf|Trace|FigureLayout), |, (type )?(tf|Trace|FigureLayout)\b/g;
/** The rooms as docs/architecture.md lists them. */
const ORDER = [BASE, 'formats', 'hub', 'text', 'engine', 'losses', 'model', 'training', 'notebook', 'commands'];
const packages = createRequire(join(root, 'scripts', 'book', 'package.json'));

/** The statements of lib/index.ts that export public names, by room, in their order. */
function exportsByRoom(index: string): Map<string, string[]> {
  const rooms = new Map<string, string[]>();
  for (const [statement, path] of index.matchAll(/^export [^;]*? from '\.\/([^']+)';$/gm)) {
    const room = path!.includes('/') ? path!.split('/')[0]! : BASE;
    rooms.set(room, [...(rooms.get(room) ?? []), statement]);
  }
  return new Map([...rooms].sort(([a], [b]) => ORDER.indexOf(a) - ORDER.indexOf(b)));
}

/**
 * Writes api/*.md into the book's source.
 *
 * @returns the pages in the order of the library's rooms.
 * @throws Error with typedoc's messages if a name or a link cannot be resolved.
 */
export function writeApi(source: string): string[] {
  const rooms = exportsByRoom(readFileSync(join(root, 'lib', 'index.ts'), 'utf8'));
  const entries = join(root, '.alignbook', 'api-entries');
  rmSync(entries, { recursive: true, force: true });
  mkdirSync(entries, { recursive: true });
  const entry = (room: string) => join(entries, `${room}.ts`);
  for (const [room, statements] of rooms) {
    const text = statements.map((statement) => statement.replace(FOREIGN, '')).join('\n');
    writeFileSync(entry(room), text.replaceAll(" from './", " from '../../lib/dist/"));
  }
  const compiler = { extends: '../../tsconfig.json', compilerOptions: { composite: false, skipLibCheck: true } };
  writeFileSync(join(entries, 'tsconfig.json'), JSON.stringify({ ...compiler, references: [], include: ['*.ts'] }));
  const typedoc = join(dirname(packages.resolve('typedoc/package.json')), 'bin', 'typedoc');
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [
      ...[typedoc, ...[...rooms.keys()].flatMap((room) => ['--entryPoints', entry(room)])],
      ...['--tsconfig', join(entries, 'tsconfig.json'), '--out', join(source, 'api')],
      ...['--plugin', packages.resolve('typedoc-plugin-markdown'), '--outputFileStrategy', 'modules'],
      ...['--hidePageHeader', '--hideBreadcrumbs', '--disableSources', '--excludePrivate', '--excludeExternals'],
      ...['--readme', 'none', '--name', 'The library', '--entryFileName', 'index', '--logLevel', 'Warn'],
      ...['--validation.notExported', 'false', '--formatWithPrettier', 'false'],
      ...['--parametersFormat', 'table', '--interfacePropertiesFormat', 'table', '--useCodeBlocks'],
      ...['Classes', 'Functions', 'Variables', '*'].flatMap((group) => ['--groupOrder', group]),
    ],
    { cwd: entries, encoding: 'utf8', maxBuffer: 2 ** 26 },
  );
  if (status !== 0) throw new Error(`typedoc ended with ${status}\n${stdout}${stderr}`);
  withoutDeadLinks(join(source, 'api'));
  return [...rooms.keys()].map((room) => `api/${room}.md`);
}

/** Where the API reference describes each public name: "api/losses.md#gae". */
export function apiPlaces(source: string): ReadonlyMap<string, string> {
  const places = new Map<string, string>();
  for (const file of readdirSync(join(source, 'api'))) {
    const text = readFileSync(join(source, 'api', file), 'utf8');
    const seen = new Map<string, number>();
    for (const [, name] of text.matchAll(/^### (\w+)(?:\(\))?$/gm)) {
      const slug = name!.toLowerCase();
      const n = seen.get(slug) ?? 0;
      seen.set(slug, n + 1);
      if (!places.has(name!)) places.set(name!, `api/${file}#${slug}${n === 0 ? '' : `-${n}`}`);
    }
  }
  return places;
}

/** typedoc links properties by anchors in HTML, which Sphinx does not know: only links to headings stay. */
function withoutDeadLinks(folder: string): void {
  rmSync(join(folder, 'index.md'));
  const pages = new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
  const anchors = new Map([...pages].map(([name, text]) => [name, headingAnchors(text)]));
  for (const [name, text] of pages) {
    const linked = text
      .replace(/<a id="[^"]*"><\/a> /g, '')
      .replace(/\[([^\][]+)\]\(([\w.-]*)#([^)\s]+)\)/g, (link, label: string, page: string, anchor: string) =>
        anchors.get(page || name)?.has(anchor) ? link : label,
      );
    writeFileSync(join(folder, name), linked);
  }
}
