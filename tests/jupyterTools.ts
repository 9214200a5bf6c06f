/** Runs kernels, the collection's or plain tslab, under the tools that people run notebooks with. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';

import { root } from '../scripts/paths';

export const python = join(root, '.alignbook', 'python', 'bin', 'python');
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

export function run(
  args: readonly string[],
  kernel: string,
): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(python, args, { encoding: 'utf8', cwd: folder, env: { ...env, KERNEL: kernel } });
}

/** What a script says of a kernel: outcomes by name. */
export function outcomes(script: string, kernel: string): Record<string, string> {
  const { status, stdout, stderr } = run([join(root, 'tests', 'long', script)], kernel);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Record<string, string>;
}

export const named = (all: Record<string, string>, outcome: (text: string) => boolean) =>
  Object.keys(all)
    .filter((name) => outcome(all[name]!))
    .sort();
export const failed = (text: string) => text !== 'ok' && text !== 'skipped';
