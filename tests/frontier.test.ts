/** `npm run frontier`: its results file and its usage; the whole of it in small is tests/long/frontier.test.ts. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { addResult, readResults, type Result } from '../scripts/frontier/results';
import { root } from '../scripts/paths';

const COMMAND = join(root, '.alignbook', 'build', 'scripts', 'frontier', 'frontier.js');
const frontier = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [COMMAND, ...args], { encoding: 'utf8', cwd: root });
  return { status, stdout, stderr };
};

test(
  'results: a line a run, in order, an older one of the ' + 'same run replaced, nothing else left in the folder',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'frontier-'));
    const path = join(folder, 'new', 'tiny.jsonl');
    const result = (beta: number, seed: number, fingerprint: string): Result => ({
      method: 'dpo',
      setting: { beta },
      seed,
      fingerprint,
      seconds: 1,
      points: [],
    });
    assert.deepEqual(readResults(path), []);
    for (const one of [result(0.1, 0, 'a'), result(0.1, 1, 'a'), result(0.3, 0, 'a'), result(0.1, 0, 'b')])
      await addResult(path, one);
    assert.deepEqual(readResults(path), [result(0.1, 0, 'b'), result(0.1, 1, 'a'), result(0.3, 0, 'a')]);
    assert.deepEqual(readdirSync(join(folder, 'new')), ['tiny.jsonl']);
    await Promise.all([0, 1, 2].map((seed) => addResult(path, result(1, seed, 'c')))); // as several processes do
    assert.equal(readResults(path).length, 6);
    assert.deepEqual(readdirSync(join(folder, 'new')), ['tiny.jsonl']);

    writeFileSync(path, '{"method": "dpo"}\n{"method"');
    assert.throws(() => readResults(path), {
      name: 'FileError',
      message: `${path}: line 2 is not JSON; remove the line to repeat its run`,
    });
    rmSync(folder, { recursive: true });
  },
);

test('the command: usage', () => {
  assert.match(frontier('--help').stdout, /^Usage: npm run frontier/);
  for (const args of [
    ['--methods', 'dop'],
    ['--seeds', '0,x'],
    ['--steps', '3'],
  ])
    assert.equal(frontier(...args).status, 2, args.join(' '));
  assert.match(frontier('--model', './nowhere').stderr, /nowhere is not there; give a model folder/);
});
