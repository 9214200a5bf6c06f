/** `npm run kernel`, in a folder that stands for the user's own Jupyter. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { checkNotebook, readExpected } from '../scripts/notebooks/expected';
import { readNotebook } from '../scripts/notebooks/notebook';
import { root } from '../scripts/paths';

const folder = mkdtempSync(join(tmpdir(), 'user-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function run(args: readonly string[], env: NodeJS.ProcessEnv, platform: string = process.platform) {
  const preload = join(folder, 'preload.cjs');
  writeFileSync(preload, `Object.defineProperty(process, 'platform', { value: '${platform}' });`);
  const { JUPYTER_DATA_DIR: _, XDG_DATA_HOME: __, ...rest } = process.env;
  const file = join(root, '.alignbook', 'build', 'scripts', 'userKernel.js');
  return spawnSync(process.execPath, ['--require', preload, file, ...args], {
    encoding: 'utf8',
    env: { ...rest, HOME: folder, ...env },
  });
}

test("the kernel is added where the user's Jupyter looks, runs notebook 1 as in VS Code, and is removed again", () => {
  const data = join(folder, 'data');
  const path = join(data, 'kernels', 'tslab', 'kernel.json');
  const here = (...args: string[]) => run(args, { JUPYTER_DATA_DIR: data });
  assert.equal(here().stdout, `not added: ${path}\n`);
  assert.equal(here('--add').stdout.split('\n')[0], `added: ${path}`);
  assert.equal(here().stdout, `added: ${path}\n`);

  const ran = spawnSync(
    join(root, '.alignbook', 'python', 'bin', 'python'),
    [join(root, 'tests', 'vscode.py'), path, join(root, 'notebooks', '01-tokenize.ipynb')],
    { encoding: 'utf8', maxBuffer: 2 ** 28, env: { ...process.env, MODEL: 'tiny' } },
  );
  assert.deepEqual([ran.status, ran.stderr], [0, '']);
  const executed = join(folder, '01-tokenize.ipynb');
  writeFileSync(executed, ran.stdout);
  const expected = readExpected(join(root, 'tests', 'expected', '01-tokenize.json'));
  const { cellsCompared, problems } = checkNotebook(readNotebook(executed), expected, 'tiny');
  assert.deepEqual([cellsCompared, problems], [Object.keys(expected.cells).length, []]);

  const elsewhere = readFileSync(path, 'utf8').replaceAll(root, '/elsewhere');
  writeFileSync(path, elsewhere);
  assert.equal(here().stdout, `the kernel of another copy of this project: ${path}\n`);
  assert.equal(here('--remove').stdout, `removed: ${join(data, 'kernels', 'tslab')}\n`);
  assert.ok(!existsSync(join(data, 'kernels', 'tslab')));
  assert.equal(here('--remove').stdout, `there was none: ${path}\n`);
});

test('the place is that of the system; the kernel of another program is left', () => {
  const linux = join(folder, '.local', 'share', 'jupyter', 'kernels', 'tslab', 'kernel.json');
  assert.equal(run([], {}, 'linux').stdout, `not added: ${linux}\n`);
  const xdg = join(folder, 'xdg', 'jupyter', 'kernels', 'tslab', 'kernel.json');
  assert.equal(run([], { XDG_DATA_HOME: join(folder, 'xdg') }, 'linux').stdout, `not added: ${xdg}\n`);
  const mac = join(folder, 'Library', 'Jupyter', 'kernels', 'tslab', 'kernel.json');
  assert.equal(run([], {}, 'darwin').stdout, `not added: ${mac}\n`);

  const other = '{"argv": ["tslab", "kernel"], "display_name": "TypeScript", "language": "typescript"}';
  mkdirSync(join(linux, '..'), { recursive: true });
  writeFileSync(linux, other);
  for (const option of ['--add', '--remove']) {
    const { status, stderr } = run([option], {}, 'linux');
    assert.equal(status, 1);
    assert.match(stderr, /^.*kernel\.json: belongs to another program, so it is left as it is; jupyter kernelspec l/);
    assert.equal(readFileSync(linux, 'utf8'), other);
  }
  assert.equal(run(['--add', '--remove'], {}).status, 2);
});
