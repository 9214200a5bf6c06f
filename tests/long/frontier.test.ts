/** `npm run frontier`, the whole of it in small. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { bestOfNKl } from 'alignbook';

import { readResults, type Result } from '../../scripts/frontier/results';
import { root } from '../../scripts/paths';

const QUICK = join(root, 'runs', 'frontier', 'quick', 'tiny');

const COMMAND = join(root, '.alignbook', 'build', 'scripts', 'frontier', 'frontier.js');
const frontier = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [COMMAND, ...args], { encoding: 'utf8', cwd: root });
  return { status, stdout, stderr };
};

test('the command in small: every run once, points of every look, and what is there is not made again', () => {
  rmSync(QUICK, { recursive: true, force: true });
  const first = frontier('--quick', '--seeds', '0');
  assert.deepEqual({ status: first.status, stderr: first.stderr }, { status: 0, stderr: '' });
  const results = readResults(join(QUICK, 'results.jsonl'));
  assert.deepEqual(
    results.map(({ method, setting, seed }) => [method, setting, seed]),
    [
      ['best-of-n', {}, 0],
      ['dpo', { beta: 0.03 }, 0],
      ['dpo', { beta: 0.1 }, 0],
      ['dpo', { beta: 0.3 }, 0],
      ['dpo', { beta: 1 }, 0],
      ['grpo', { beta: 0.1 }, 0],
      ['grpo', { beta: 0.4 }, 0],
      ['grpo', { beta: 1 }, 0],
      ['online-dpo', { beta: 0.1 }, 0],
      ['online-dpo', { beta: 0.3 }, 0],
      ['online-dpo', { beta: 1 }, 0],
      ['ppo', { klTarget: 1 }, 0],
      ['ppo', { klTarget: 2 }, 0],
      ['ppo', { klTarget: 5 }, 0],
    ],
  );
  const [best, ...trained] = results as [Result, ...Result[]];
  assert.deepEqual(
    best.points.map(({ step, kl }) => [step, kl]),
    [1, 2, 4].map((n) => [n, bestOfNKl(n)]),
  );
  assert.ok(best.points[0]!.reward <= best.points[1]!.reward && best.points[1]!.reward <= best.points[2]!.reward);
  for (const { method, points } of trained) {
    assert.deepEqual(
      points.map(({ step }) => step),
      method === 'dpo' ? [0, 2, 4] : [0, 1, 2],
    );
    assert.deepEqual(points[0], trained[0]!.points[0]);
    assert.equal(points[0]!.kl, 0);
    assert.ok(points[2]!.kl !== 0);
    for (const point of points) for (const value of Object.values(point)) assert.ok(Number.isFinite(value));
  }
  assert.ok(!existsSync(join(QUICK, 'sft', 'checkpoint-00000010')));

  const text = readFileSync(join(QUICK, 'results.jsonl'), 'utf8');
  const lost = ({ setting }: Result) => setting['beta'] === 0.3 || setting['klTarget'] === 2;
  const kept = text.split('\n').filter((line) => line === '' || !lost(JSON.parse(line) as Result));
  writeFileSync(join(QUICK, 'results.jsonl'), kept.join('\n'));
  const listed = frontier('--quick', '--seeds', '0', '--list');
  assert.match(listed.stdout, /^14 runs, of which 11 are in /);
  assert.deepEqual(
    listed.stdout.split('\n').filter((line) => line.startsWith('to make')),
    ['to make  dpo, beta 0.3, seed 0', 'to make  ppo, klTarget 2, seed 0', 'to make  online-dpo, beta 0.3, seed 0'],
  );
  const second = frontier('--quick', '--seeds', '0');
  assert.match(second.stdout, /^14 runs, of which 11 are in /);
  const unchanged = ({ seconds: _, ...rest }: Result) => rest;
  const again = readResults(join(QUICK, 'results.jsonl'));
  assert.deepEqual(again.map(unchanged), results.map(unchanged)); // the same bits, made anew
});

test('the results that are kept are complete, and of the settings, reviews and constants as they are now', () => {
  const { status, stdout } = spawnSync(process.execPath, [COMMAND, '--list'], {
    encoding: 'utf8',
    cwd: root,
    env: { ...process.env, MODEL: 'tiny' },
  });
  assert.equal(status, 0);
  assert.match(stdout, /^42 runs, of which 42 are in .*tiny\.jsonl\n/);
  for (const { points } of readResults(join(root, 'data', 'frontier', 'tiny.jsonl'))) assert.ok(points.length >= 3);
});
