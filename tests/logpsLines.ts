/** Compares what `npx alignbook logps` writes with what tests/oracles/logps.py computes. */
import assert from 'node:assert/strict';

import type { PairScore } from 'alignbook';

export type Line = PairScore;

/**
 * Ids and tokens must be equal, log-probs within `tolerance`, and sums within `tolerance` per token. Returns the
 * greatest difference for a token.
 */
export function sameLine(line: Line, expected: Line, tolerance: number): number {
  assert.deepEqual(Object.keys(line), ['promptIds', 'chosen', 'rejected']);
  assert.deepEqual(line.promptIds, expected.promptIds);
  let greatest = 0;
  for (const name of ['chosen', 'rejected'] as const) {
    const [made, wanted] = [line[name], expected[name]];
    assert.deepEqual([made.ids, made.tokens], [wanted.ids, wanted.tokens]);
    assert.equal(made.logps.length, wanted.logps.length);
    made.logps.forEach((logp, i) => {
      const difference = Math.abs(logp - wanted.logps[i]!);
      assert.ok(difference <= tolerance, `${name}, token ${i}: ${logp} instead of ${wanted.logps[i]}`);
      greatest = Math.max(greatest, difference);
    });
    assert.ok(
      Math.abs(made.sum - wanted.sum) <= tolerance * made.logps.length,
      `${name}, sum: ${made.sum} instead of ${wanted.sum}`,
    );
  }
  return greatest;
}
