/**
 * Reward models that TRL trains, scored here, and those that train-reward makes, scored by transformers: the same
 * scores, and right of every pair.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { root } from '../../scripts/paths';
import { oracle } from '../long/oracle';

const DATA = join(root, 'data', 'preferences');
const folder = mkdtempSync(join(tmpdir(), 'positions-'));
after(() => rmSync(folder, { recursive: true }));

const pairs = join(folder, 'pairs.jsonl');
writeFileSync(pairs, readFileSync(join(DATA, 'test.jsonl'), 'utf8').split('\n').slice(0, 100).join('\n'));

type Scores = [chosen: number, rejected: number][];

function alignbook(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'lib', 'bin', 'alignbook.js'), ...args], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return stdout;
}

function scoredHere(model: string): Scores {
  const lines = alignbook('score', '--model', model, '--data', pairs).trim().split('\n');
  return lines
    .map((line) => JSON.parse(line) as { chosen: number; rejected: number })
    .map(({ chosen, rejected }) => [chosen, rejected]);
}

function scoredByTransformers(model: string): Record<'asItIs' | 'trlPad' | 'tokenizerPad', Scores> {
  const file = join(folder, 'scores.json');
  oracle('reward_positions.py', 'score', model, pairs, file);
  return JSON.parse(readFileSync(file, 'utf8')) as ReturnType<typeof scoredByTransformers>;
}

const right = (scores: Scores): number => scores.filter(([chosen, rejected]) => chosen > rejected).length;

/** Two float32 engines, scores of size 5; greatest difference seen 5e-6. */
function same(ours: Scores, theirs: Scores): void {
  assert.equal(theirs.length, 100);
  ours
    .flat()
    .forEach((score, n) =>
      assert.ok(Math.abs(score - theirs.flat()[n]!) < 3e-5, `score ${n}: ${score} and ${theirs.flat()[n]}`),
    );
}

test("a RewardTrainer's model: 100 of 100 pairs right here, with transformers' scores", () => {
  const model = join(folder, 'trl');
  oracle('reward_positions.py', 'train', join(root, 'data', 'models', 'tiny'), join(DATA, 'train.jsonl'), model);
  const ours = scoredHere(model);
  same(ours, scoredByTransformers(model).asItIs);
  assert.equal(right(ours), 100);
});

test(
  "train-reward's model: 100 of 100 pairs right by transformers, with and without TRL's padding, with the scores " +
    'of here',
  () => {
    const out = join(folder, 'ours');
    alignbook('train-reward', '--config', join(DATA, 'train-reward.json'), '--output', out);
    const model = join(out, 'model');
    const theirs = scoredByTransformers(model);
    const ours = scoredHere(model);
    for (const scores of Object.values(theirs)) {
      same(ours, scores);
      assert.equal(right(scores), 100);
    }
  },
);
