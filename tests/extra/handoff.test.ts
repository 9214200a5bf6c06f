/**
 * A training handed over, taken by TRL on two processes under torchrun: the same steps, and a model that comes back.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { alignbook, check, data, folder, handOver, ran, train } from '../handedOver';

test('DPO, 20 steps on two processes: the same steps; the model that comes back has the same log-probs', () => {
  const handed = handOver('dpo', { data: data('train.jsonl'), steps: 20 });
  train(handed, 2, '--processes', '2');
  const { status, stdout } = check(handed);
  assert.equal(status, 0, stdout);
  assert.match(stdout, /^2 processes, MULTI_CPU, gloo\n/);

  // The bound is five times the greatest difference seen between the two float32 engines after 20 steps of AdamW.
  const own = join(folder, 'own');
  ran(process.execPath, [alignbook, 'train-dpo', '--config', join(folder, 'dpo.json'), '--output', own]);
  const sums = (model: string): number[] =>
    ran(process.execPath, [alignbook, 'logps', '--model', model, '--data', data('validation.jsonl')])
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<'chosen' | 'rejected', { sum: number }>)
      .flatMap(({ chosen, rejected }) => [chosen.sum, rejected.sum]);
  const [theirs, ours] = [sums(join(handed, 'out', 'model')), sums(join(own, 'model'))];
  const worst = Math.max(...theirs.map((sum, n) => Math.abs(sum - ours[n]!)));
  assert.ok(worst < 1e-4, `${worst}`);
});
