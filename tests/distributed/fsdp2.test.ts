/** The rows and settings that are handed over also give the same steps under torch's FSDP2, on two processes. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { compareTrajectory } from 'alignbook/dist/handoff/compare';

import { oraclePython, root } from '../../scripts/paths';
import { check, handOver, ON_CPU, ran } from '../handedOver';

test('DPO by fully_shard on two processes: the same 20 steps, with half of the parameters on each', () => {
  const handed = handOver('fsdp2', { steps: 20 });
  const script = join(root, 'tests', 'distributed', 'fsdp2.py');
  const launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2'];
  const said = ran(oraclePython, [...launcher, script, handed], ON_CPU);
  const [whole, own] = /(\d+) parameters, (\d+) of them/.exec(said)!.slice(1).map(Number);
  assert.ok(Math.abs(own! / whole! - 0.5) < 0.01, said);
  const { stdout } = check(handed);
  assert.match(stdout, /^2 processes, fully_shard, gloo\n/);
  const trajectory = join(handed, 'out', 'trajectory.json');
  for (const { figure, passes } of compareTrajectory(trajectory, handed).differences)
    assert.ok(passes || figure.startsWith('logps/'), stdout);
  // Summed log-probs are compared as they are: those of tiny, some 4 nats, are too small for a relative bound.
  const { steps } = JSON.parse(readFileSync(trajectory, 'utf8')) as { steps: Record<string, number>[] };
  const lines = readFileSync(join(handed, 'expected.jsonl'), 'utf8').trim().split('\n');
  lines.forEach((line, n) => {
    const { logps } = JSON.parse(line) as { logps: Record<'chosen' | 'rejected', number> };
    for (const name of ['chosen', 'rejected'] as const)
      assert.ok(Math.abs(steps[n]![`logps/${name}`]! - logps[name]) < 1e-4, `step ${n + 1}, ${name}`);
  });
});
