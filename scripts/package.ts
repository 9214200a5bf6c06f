/** `npm run package`: the library as a package that installs anywhere: the compiled files, set-up, and `tiny`. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, extname, join } from 'node:path';

import { path } from 'alignbook/dist/training/declare';

import { script } from './command';
import { fromCaller, root } from './paths';

/** Steps of set-up that a package does without. */
const REPOSITORY_ONLY = ['main.mjs', 'npm.mjs', 'build.mjs', 'tokenizer.mjs', 'kernelspec.mjs'];

interface Manifest {
  readonly version: string;
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly engines: object;
}

function main(out: string): void {
  const staged = join(root, '.alignbook', 'package');
  rmSync(staged, { recursive: true, force: true });
  mkdirSync(join(staged, 'requirements'), { recursive: true });
  mkdirSync(out, { recursive: true });
  const copy = (from: string, to: string, wanted = (_path: string) => true) =>
    cpSync(join(root, from), join(staged, to), { recursive: true, filter: wanted });
  copy('lib/dist', 'dist', (path) => extname(path) !== '.map' && !path.endsWith('tsbuildinfo'));
  copy('lib/bin', 'bin');
  copy('lib/handoff', 'handoff', (path) => extname(path) !== '.ts');
  copy('lib/README.md', 'README.md');
  copy('LICENSE', 'LICENSE');
  copy('scripts/setup', 'setup', (path) => !REPOSITORY_ONLY.includes(basename(path)));
  for (const lock of ['compiler.txt', 'cuda.txt']) copy(`requirements/${lock}`, `requirements/${lock}`);
  copy('data/models/tiny', 'tiny', (path) => !path.endsWith('.log'));
  writeFileSync(join(staged, 'package.json'), `${JSON.stringify(manifest(), null, 2)}\n`);

  const { status, stdout, stderr } = spawnSync('npm', ['pack', '--json', '--pack-destination', out], {
    cwd: staged,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  if (status !== 0) throw new Error(`npm pack ended with ${status}\n${stderr}`);
  const [{ filename, size }] = JSON.parse(stdout) as [{ filename: string; size: number }];
  console.log(`${join(out, filename)}: ${(size / 1e6).toFixed(1)} MB`);
}

/** In the repository the dependencies are the workspace's, whose versions an install elsewhere needs as its own. */
function manifest(): object {
  const read = (path: string) => JSON.parse(readFileSync(join(root, path), 'utf8')) as Manifest;
  const { peerDependencies, ...rest } = read(join('lib', 'package.json'));
  const { devDependencies, engines } = read('package.json');
  const headers = { 'node-api-headers': devDependencies['node-api-headers'] };
  const platforms = { os: ['linux', 'darwin'], cpu: ['x64', 'arm64'] };
  return { ...rest, engines, ...platforms, dependencies: { ...peerDependencies, ...headers } };
}

void script({
  name: 'package',
  summary:
    'Pack the library, its set-up and the model tiny as alignbook-VERSION.tgz. lib/README.md says how to install it.',
  settings: { out: path({ value: 'folder', otherwise: 'the current one', help: 'Write the package to this folder.' }) },
  status: '0 done, 1 it failed, 2 usage',
  run: ({ out = '.' }) => main(fromCaller(out)),
});
