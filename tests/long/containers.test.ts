/** The Dockerfile, the devcontainer and Binder's files, read; tests/containers has an engine build and run it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { parse } from 'yaml';

import { root } from '../../scripts/paths';

const read = (...path: string[]): string => readFileSync(join(root, ...path), 'utf8');
const dockerfile = read('Dockerfile');
const devcontainer = JSON.parse(read('.devcontainer', 'devcontainer.json')) as {
  build: Record<'dockerfile' | 'context' | 'target', string>;
  remoteUser: string;
  postCreateCommand: string;
  forwardPorts: number[];
  remoteEnv: Record<string, string>;
  customizations: { vscode: { extensions: string[]; settings: Record<string, object> } };
};
const { scripts, engines } = JSON.parse(read('package.json')) as {
  scripts: Record<string, string>;
  engines: { node: string };
};
const first = (pattern: RegExp): string =>
  pattern.exec(dockerfile)?.[1] ?? assert.fail(`no ${pattern} in the Dockerfile`);

/** What hadolint, and ShellCheck in it, say of a Dockerfile. */
function hadolint(text: string): string {
  const program = join(root, '.alignbook', 'test-tools', 'bin', 'hadolint');
  const { stdout, stderr } = spawnSync(program, ['-'], { cwd: root, encoding: 'utf8', input: text });
  return stdout + stderr;
}

test('hadolint has nothing against the Dockerfile', () => {
  assert.equal(hadolint(dockerfile), '');
});

test("Binder's files: names that repo2docker knows, scripts that exist, a Node that is supported", () => {
  assert.deepEqual(readdirSync(join(root, '.binder')).sort(), ['apt.txt', 'environment.yml', 'postBuild']);
  accessSync(join(root, '.binder', 'postBuild'), constants.X_OK);
  const [shebang, ...lines] = read('.binder', 'postBuild').split('\n');
  assert.equal(shebang, '#!/usr/bin/env bash');
  const commands = lines.filter((line) => line !== '' && !line.startsWith('#'));
  const linted = (body: readonly string[]) =>
    hadolint(`FROM debian\nSHELL ["/bin/bash", "-o", "pipefail", "-c"]\nRUN ${body.join(' && \\\n')}\n`);
  assert.equal(linted(commands), linted(['true']));
  assert.match(linted(['rm $HOME/x']), /SC2086/);
  const run = commands.flatMap((line) => /^npm run (\S+)/.exec(line)?.[1] ?? []);
  assert.deepEqual(run, ['setup', 'kernel']);
  for (const name of run) assert.ok(scripts[name], name);
  const { dependencies } = parse(read('.binder', 'environment.yml')) as { dependencies: string[] };
  assert.deepEqual(dependencies, [`nodejs=${first(/^FROM node:(\d+)\./m)}`, 'python=3.12']);
});

test('VS Code is offered the same extensions in a container and outside', () => {
  const { recommendations } = JSON.parse(read('.vscode', 'extensions.json')) as { recommendations: string[] };
  assert.deepEqual(recommendations, devcontainer.customizations.vscode.extensions);
  const { 'files.watcherExclude': excluded } = JSON.parse(read('.vscode', 'settings.json')) as Record<string, object>;
  assert.deepEqual(excluded, devcontainer.customizations.vscode.settings['files.watcherExclude']);
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

test('compose.yaml builds the Dockerfile for both devices, and publishes its port on this machine only', () => {
  const { services } = parse(read('compose.yaml'), { merge: true }) as {
    services: Record<string, { build: { context: string; args: { BUILD: string } }; ports: string[] }>;
  };
  assert.deepEqual(
    Object.values(services).map(({ build }) => build),
    ['cpu', 'cuda'].map((BUILD) => ({ context: '.', args: { BUILD } })),
  );
  const port = first(/^EXPOSE (\d+)$/m);
  for (const { ports } of Object.values(services)) assert.deepEqual(ports, [`127.0.0.1:${port}:${port}`]);
});

test('the workflows run scripts that there are, with no more rights than they need', () => {
  for (const file of ['ci.yml', 'nightly.yml']) {
    const workflow = parse(read('.github', 'workflows', file)) as {
      permissions: object;
      jobs: Record<string, { permissions?: object; steps: { run?: string }[] }>;
    };
    assert.deepEqual(workflow.permissions, { contents: 'read' });
    for (const [name, { permissions, steps }] of Object.entries(workflow.jobs)) {
      assert.deepEqual(permissions, name === 'pages' ? { pages: 'write', 'id-token': 'write' } : undefined);
      for (const { run } of steps) {
        if (run === undefined) continue;
        const script = /^npm (?:run )?([\w:]+)/.exec(run)?.[1];
        assert.ok(script === undefined ? existsSync(join(root, run)) : scripts[script], run);
      }
    }
  }
});
