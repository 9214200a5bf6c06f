/** `npm run book`: the executed notebooks and the documents as pages that open from disk. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { plural } from 'alignbook/dist/errors';
import { path } from 'alignbook/dist/training/declare';

import { script } from '../command';
import { fromCaller, root } from '../paths';
import { writeSource } from './source';

function main(out: string): void {
  if (existsSync(out) && !existsSync(join(out, 'searchindex.js')))
    throw new Error(`${out} exists and is not a book: choose another --out, or remove it`);
  const source = join(root, '.alignbook', 'book-source');
  writeSource(source);
  const mathjax = join(root, 'node_modules', 'mathjax', 'es5');
  cpSync(join(mathjax, 'tex-mml-chtml.js'), join(source, '_static', 'mathjax', 'tex-mml-chtml.js'));
  cpSync(join(mathjax, 'output', 'chtml', 'fonts'), join(source, '_static', 'mathjax', 'output', 'chtml', 'fonts'), {
    recursive: true,
  });
  cpSync(require.resolve('plotly.js-dist'), join(source, '_static', 'plotly.js'));

  const pages = join(source, '_build');
  const python = join(root, '.alignbook', 'book', 'bin', 'python');
  const { status, stdout, stderr, error } = spawnSync(
    python,
    ['-m', 'sphinx', '-b', 'html', '--fail-on-warning', '--keep-going', '-q', source, pages],
    { encoding: 'utf8', maxBuffer: 2 ** 26 },
  );
  if (status !== 0) throw new Error(`Sphinx ended with ${status}\n${error?.message ?? stdout + stderr}`);
  for (const left of ['.buildinfo', '.doctrees']) rmSync(join(pages, left), { recursive: true, force: true });
  rmSync(out, { recursive: true, force: true });
  renameSync(pages, out);
  const notebooks = readdirSync(join(out, 'notebooks')).filter((name) => name.endsWith('.html')).length;
  console.log(`${join(out, 'index.html')}: ${plural(notebooks, 'notebook')}, ${(size(out) / 1e6).toFixed(1)} MB`);
}

function size(path: string): number {
  return statSync(path).isDirectory()
    ? readdirSync(path).reduce((sum, name) => sum + size(join(path, name)), 0)
    : statSync(path).size;
}

void script({
  name: 'book',
  summary:
    'Make a static site of the notebooks as committed, with their outputs, and of the documents: contents, search, ' +
    'an API reference, live figures. Its pages need no server and no network: open FOLDER/index.html.',
  settings: {
    out: path({
      value: 'folder',
      otherwise: 'book in the project',
      help: 'Write the site to this folder, in place of the book of an earlier run.',
    }),
  },
  status: '0 done, 1 it failed, 2 usage',
  run: ({ out }) => main(out === undefined ? join(root, 'book') : fromCaller(out)),
});
