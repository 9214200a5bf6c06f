/** lib/README.md's way to install the library elsewhere, as printed, in an empty folder. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { root } from '../../scripts/paths';
import { printedFences } from '../printedText';

const folder = mkdtempSync(join(tmpdir(), 'elsewhere-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const printed = printedFences().filter(({ document }) => document === 'lib/README.md');
const fence = (language: string): string => printed.find((candidate) => candidate.language === language)!.text;
/** npm passes its settings on to the programs that it runs, among them this folder's. */
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_')));

function shell(line: string, cwd: string): string {
  const { status, stdout, stderr } = spawnSync('bash', ['-euo', 'pipefail', '-c', line], {
    cwd,
    env: { ...env, HF_HUB_OFFLINE: '1' },
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  assert.equal(status, 0, `${line}\n${stdout}\n${stderr}`);
  return stdout;
}

test('packed here, installed and set up there, ten lines run and give the same number', () => {
  const [pack = '', enter, install = '', setup = '', ...more] = fence('sh').trim().split('\n');
  assert.deepEqual([enter, more], ['cd ../elsewhere', []]);
  shell(pack.replace('../elsewhere', folder), root);
  writeFileSync(join(folder, 'package.json'), '{ "private": true }');
  shell(install, folder);

  const before = spawnSync('npx', ['alignbook', 'doctor'], { cwd: folder, env, encoding: 'utf8' });
  assert.equal(before.status, 1);
  assert.match(before.stderr, /npx alignbook setup/);
  shell(`${setup} --cpu`, folder);
  assert.match(shell(`${setup} --check`, folder), /^addon +ok/m);

  writeFileSync(join(folder, 'first.mjs'), fence('ts'));
  const here = join(root, '.alignbook', 'first.mjs');
  writeFileSync(here, readFileSync(join(folder, 'first.mjs')));
  const there = shell('node first.mjs', folder);
  assert.match(there, /-92\.19/);
  assert.equal(there, shell(`node ${here}`, folder));
  rmSync(here);

  assert.match(shell('npx alignbook doctor', folder), /^model tiny +.*\/node_modules\/alignbook\/tiny$/m);
  const question = `--instruct --prompt "What is an antonym of 'complicated'?"`;
  assert.match(shell(`npx alignbook generate --model tiny ${question}`, folder), /simple/);
});
