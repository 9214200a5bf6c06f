/** The collection's kernel, and plain tslab beside it, under the tools that people run notebooks with. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { root } from '../../scripts/paths';

const python = join(root, '.alignbook', 'python', 'bin', 'python');
const folder = mkdtempSync(join(tmpdir(), 'kernels-'));
after(() => rmSync(folder, { recursive: true, force: true }));

before(() => {
  const plain = join(folder, 'kernels', 'plain');
  mkdirSync(plain, { recursive: true });
  const argv = [
    process.execPath,
    join(root, 'node_modules', 'tslab', 'bin', 'tslab'),
    'kernel',
    '--config-path',
    '{connection_file}',
  ];
  writeFileSync(
    join(plain, 'kernel.json'),
    JSON.stringify({ argv, display_name: 'tslab as it comes', language: 'typescript' }),
  );
});

/** Jupyter's files in `folder`; the kernels there and in the project's environment. */
const env = {
  ...process.env,
  JUPYTER_PATH: folder,
  JUPYTER_DATA_DIR: folder,
  JUPYTER_CONFIG_DIR: folder,
  JUPYTER_RUNTIME_DIR: folder,
  PYTHONPATH: join(root, '.alignbook', 'test-tools'),
};

function run(args: readonly string[], kernel: string): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(python, args, { encoding: 'utf8', cwd: folder, env: { ...env, KERNEL: kernel } });
}

/** What a script says of a kernel: outcomes by name. */
function outcomes(script: string, kernel: string): Record<string, string> {
  const { status, stdout, stderr } = run([join(root, 'tests', 'long', script)], kernel);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Record<string, string>;
}

const named = (all: Record<string, string>, outcome: (text: string) => boolean) =>
  Object.keys(all)
    .filter((name) => outcome(all[name]!))
    .sort();
const failed = (text: string) => text !== 'ok' && text !== 'skipped';

test('jupyter_kernel_test: all that tslab has; as it comes, three of its tests fail', () => {
  const found = outcomes('conformance.py', 'tslab');
  assert.deepEqual(
    named(found, (text) => text === 'ok'),
    [
      'test_completion',
      'test_display_data',
      'test_error',
      'test_execute_stderr',
      'test_execute_stdout',
      'test_inspect',
      'test_is_complete',
      'test_kernel_info',
    ],
    JSON.stringify(found),
  );
  assert.deepEqual(
    named(found, (text) => text === 'skipped'),
    ['test_clear_output', 'test_execute_result', 'test_history', 'test_pager'],
  );
  assert.deepEqual(named(outcomes('conformance.py', 'plain'), failed), [
    'test_error',
    'test_is_complete',
    'test_kernel_info',
  ]);
});

test("nbclient's notebooks: all; as it comes, eight of eighteen fail", () => {
  const found = outcomes('clients.py', 'tslab');
  assert.deepEqual(named(found, failed), [], JSON.stringify(found));
  assert.equal(Object.keys(found).length, 18);
  assert.deepEqual(named(outcomes('clients.py', 'plain'), failed), [
    'allowed_by_name',
    'allowed_errors',
    'error',
    'interrupt',
    'raises_after_raises',
    'raises_exception',
    'rejection',
    'top_level_await',
  ]);
});

test('a notebook that throws fails under jupyter execute and nbmake', () => {
  const broken = (name: string) => join(root, 'tests', 'broken', `${name}.ipynb`);
  const tools = {
    'jupyter execute': (path: string) => run([join(python, '..', 'jupyter-execute'), path], 'tslab'),
    nbmake: (path: string) => run(['-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--nbmake', path], 'tslab'),
  };
  for (const [tool, execute] of Object.entries(tools)) {
    const clean = execute(broken('clean'));
    assert.equal(clean.status, 0, `${tool}: ${clean.stdout}${clean.stderr}`);
    for (const name of ['throws', 'unhandled-rejection', 'does-not-compile']) {
      const { status, stdout, stderr } = execute(broken(name));
      assert.equal(status, 1, `${tool} ${name}: ${stdout}${stderr}`);
    }
  }
});
