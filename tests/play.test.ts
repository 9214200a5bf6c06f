/**
 * Readers play with notebooks: they change a prompt, or stop a training. No cell may fail, and what is shown must match
 * the change. Numbers are compared with those of transformers in float64 (tests/oracles/play.py), within 1e-4 + 1e-5 of
 * their size, as elsewhere between two orders of float32 sums. tests/extra/play.test.ts does the same with the other
 * notebooks.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { play } from './play';
import { otherTexts, played } from './played';

const near = (got: number, want: number, what: string) =>
  assert.ok(Math.abs(got - want) <= 1e-4 + 1e-5 * Math.abs(want), `${what}: ${got}, expected ${want}`);
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

test(
  'notebook 3 with another prompt and another answer: its ' + 'figure shows that answer, its means are of its tokens',
  () => {
    const seen = play('03-logprobs', { changes: { repeats: otherTexts } });
    const { data } = seen['picture']!.displays[0]!['application/vnd.plotly.v1+json'] as unknown as {
      data: { x: string[]; y: number[] }[];
    };
    assert.deepEqual(
      data[0]!.x,
      played.scoredTokens.map((token, n) => `${n} ${JSON.stringify(token).slice(1, -1)}`),
    );
    for (const [n, wanted] of [played.before, played.itself].entries()) {
      assert.equal(data[n]!.y.length, wanted.length);
      data[n]!.y.forEach((value, t) => near(value, wanted[t]!, `bar ${t} of trace ${n}`));
    }
    const [, itself, next] = /itself: (\S+) a token\nnext: +(\S+) a token/
      .exec(seen['shift-model']!.stdout)!
      .map(Number);
    near(itself!, mean(played.itself), 'itself');
    near(next!, mean(played.before), 'next');
    near(Number(/loss: (\S+)/.exec(seen['check-corrected']!.stdout)![1]), -mean(played.before), 'loss');
    assert.match(seen['check-published']!.stdout, /the check sees wrong logits: fails/);
    assert.match(seen['check-corrected']!.stdout, /the check sees wrong logits: passes/);
  },
);
