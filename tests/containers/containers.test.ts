/**
 * The image built by an engine, and used: `npm run test:containers`. It takes docker, or podman where docker has no
 * engine.
 *
 * BUILD=cuda builds the image as it is by default (6 GB more); without it, the CPU build.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { test } from 'node:test';

import { root } from '../../scripts/paths';

const { BUILD = 'cpu', CONTAINER_BUILD_OPTIONS = '' } = process.env;
const image = `alignbook:test-${BUILD}`;
const engine = ['docker', 'podman'].find((name) => spawnSync(name, ['info']).status === 0);

function run(...args: string[]): { status: number | null; output: string } {
  assert.ok(engine, 'neither docker nor podman has an engine here');
  const { status, stdout, stderr } = spawnSync(engine, args, { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 28 });
  return { status, output: `${stdout}${stderr}` };
}

test('the image is built', () => {
  const { status, output } = run(
    'build',
    ...CONTAINER_BUILD_OPTIONS.split(' ').filter(Boolean),
    '--build-arg',
    `BUILD=${BUILD}`,
    '--tag',
    image,
    '.',
  );
  assert.equal(status, 0, output.slice(-4000));
});

test('the walkthrough in it: every value', () => {
  const { status, output } = run('run', '--rm', image, 'npm', 'run', 'tutorial');
  assert.equal(status, 0, output);
  assert.match(output, /20 of 20/);
});

test('its doctor names the build', () => {
  const { status, output } = run('run', '--rm', image, 'npx', 'alignbook', 'doctor');
  assert.match(output, BUILD === 'cuda' ? /CUDA build/ : /CPU build/);
  assert.equal(status, BUILD === 'cuda' && /no device/.test(output) ? 1 : 0, output);
});

test('its own command is JupyterLab, which asks for its token; it stops when it is told to', async () => {
  const name = `alignbook-test-${process.pid}`;
  const lab = spawn(engine!, ['run', '--rm', '--init', '--name', name, '--publish', '127.0.0.1:8888:8888', image]);
  const ended = new Promise<void>((resolve) => lab.on('exit', () => resolve()));
  try {
    let address: string | undefined;
    for await (const line of createInterface(lab.stderr))
      if ((address = /http:\/\/127\.0\.0\.1:8888\S+/.exec(line)?.[0])) break;
    const { origin, search } = new URL(address ?? assert.fail('JupyterLab printed no address'));
    assert.match(search, /^\?token=[0-9a-f]{48}$/);
    assert.equal((await fetch(`${origin}/api/kernelspecs`)).status, 403);
    const { kernelspecs } = (await (await fetch(`${origin}/api/kernelspecs${search}`)).json()) as {
      kernelspecs: Record<string, unknown>;
    };
    assert.ok(kernelspecs['tslab']);
  } finally {
    const start = performance.now();
    assert.equal(run('stop', '--time', '30', name).status, 0);
    await ended;
    assert.ok(performance.now() - start < 25_000, 'it had to be killed');
  }
});
