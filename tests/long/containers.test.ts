/** The Dockerfile and the devcontainer, read: what an engine would do with them is in tests/containers. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { root } from '../../scripts/paths';

const read = (...path: string[]): string => readFileSync(join(root, ...path), 'utf8');
const dockerfile = read('Dockerfile');
const devcontainer = JSON.parse(read('.devcontainer', 'devcontainer.json')) as {
  build: Record<'dockerfile' | 'context' | 'target', string>;
  remoteUser: string;
  postCreateCommand: string;
  forwardPorts: number[];
  remoteEnv: Record<string, string>;
};
const { scripts, engines } = JSON.parse(read('package.json')) as {
  scripts: Record<string, string>;
  engines: { node: string };
};
const first = (pattern: RegExp): string =>
  pattern.exec(dockerfile)?.[1] ?? assert.fail(`no ${pattern} in the Dockerfile`);

test('hadolint has nothing against the Dockerfile', () => {
  const { status, stdout, stderr } = spawnSync(
    join(root, '.alignbook', 'test-tools', 'bin', 'hadolint'),
    ['Dockerfile'],
    { cwd: root, encoding: 'utf8' },
  );
  assert.deepEqual([status, stdout, stderr], [0, '', '']);
});

test('the devcontainer is a stage of the Dockerfile, with its user and its port', () => {
  const folder = join(root, '.devcontainer');
  assert.equal(join(folder, devcontainer.build.dockerfile), join(root, 'Dockerfile'));
  assert.equal(join(folder, devcontainer.build.context), root);
  assert.match(dockerfile, new RegExp(`^FROM \\S+ AS ${devcontainer.build.target}$`, 'm'));
  assert.equal(devcontainer.remoteUser, first(/^USER (\S+)$/m));
  assert.deepEqual(devcontainer.forwardPorts, [Number(first(/^EXPOSE (\d+)$/m))]);
  const kernels = devcontainer.remoteEnv['JUPYTER_PATH']!.replace('${containerWorkspaceFolder}', root);
  assert.ok(existsSync(join(kernels, 'kernels', 'tslab', 'kernel.json')), kernels);
});

test('both name commands that there are, and a Node that is supported, exactly', () => {
  const commands = [
    ...`${dockerfile}\n${devcontainer.postCreateCommand}`.matchAll(/npm run (\S+)/g),
    ...dockerfile.matchAll(/"npm", "run", "--silent", "(\w+)"/g),
  ].map(([, name]) => name!);
  assert.deepEqual(commands, ['setup', 'setup', 'lab']);
  for (const name of commands) assert.ok(scripts[name], name);
  const [major, minor] = first(/^FROM node:(\d+\.\d+)\.\d+-bookworm-slim AS system$/m)
    .split('.')
    .map(Number) as [number, number];
  const [least, leastMinor] = /^>=(\d+)\.(\d+)$/.exec(engines.node)!.slice(1).map(Number) as [number, number];
  assert.ok(major > least || (major === least && minor >= leastMinor), `${major}.${minor}`);
});

test('what git does not keep stays out of the image, but for what set-up finds right or makes anew', () => {
  const lines = (text: string) =>
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.replace(/^\/|\/$/g, ''));
  const left = new Set(lines(read('.dockerignore')));
  const made = lines(read('.gitignore')).filter((path) => !path.startsWith('data/models/tiny/'));
  assert.deepEqual(
    made.filter((path) => !left.has(path) && !left.has(`**/${path}`)),
    [],
  );
});
