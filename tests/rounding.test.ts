/**
 * The policy `bf16` where products round their factors: the engine rounds each matrix once, and keeps it so. Its bits
 * are those of products that each round their factors for themselves, for all kinds of models, batches and trainings;
 * only the number of casts differs. All operations are TensorFlow's here: this project's own round what they compute
 * (vectorOperations.test.ts, fewRows.test.ts), so they need fewer casts still.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { before, describe, test, type TestContext } from 'node:test';
import { promisify } from 'node:util';

import type { Outcome, Report } from './roundingWorker';

async function report(policy: 'fp32' | 'bf16', ...args: string[]): Promise<Report> {
  const worker = join(__dirname, 'roundingWorker.js');
  const { stdout } = await promisify(execFile)(process.execPath, [worker, ...args], {
    env: {
      ...process.env,
      ALIGNBOOK_COMPUTE: policy,
      ALIGNBOOK_OPERATIONS: 'tensorflow',
      TF_CPP_MIN_LOG_LEVEL: '2',
    },
  });
  return JSON.parse(stdout) as Report;
}

describe('products of bfloat16 numbers by rounding', () => {
  let once: Report;
  let each: Report;
  before(async () => {
    [once, each] = await Promise.all([report('bf16'), report('fp32', 'each')]);
  });
  const skipped = (t: TestContext): boolean => {
    const skips = once.bfloat16By !== 'rounding';
    if (skips) t.skip('oneDNN rounds inside its products here');
    return skips;
  };
  const of = (name: string): [once: Outcome, each: Outcome] => [once.outcomes[name]!, each.outcomes[name]!];

  test('each matrix rounded once gives the bits of each product rounding for itself', (t) => {
    if (skipped(t)) return;
    const names = Object.keys(each.outcomes);
    assert.ok(names.length > 80);
    assert.deepEqual(Object.keys(once.outcomes), names);
    for (const name of names) {
      const [ours, theirs] = of(name);
      assert.equal(ours.hash, theirs.hash, name);
      assert.equal(theirs.casts, 3 * theirs.products, `${name}: two factors and the result of each product`);
      assert.ok(ours.casts < theirs.casts || theirs.casts === 0, name);
    }
  });

  test('a step of DPO on tiny, 4 blocks: 158 casts instead of 234', (t) => {
    if (skipped(t)) return;
    const [ours, theirs] = of('one step of DPO');
    // A block has 4 linear layers of 3 products each, and attention 6. The head has 6: the logits, the gradients of
    // hidden states and of the head, and 3 for the norm of the latter.
    assert.equal(theirs.casts, 3 * (4 * (4 * 3 + 6) + 6));
    // Linear: x, matrix, dy, 3 results; but attention leaves the x of the layer after it as that layer reads it.
    const linear = 4 * 6 - 1;
    // Forward: q, k, v, the scores widened, the weights. Backward: the mixture widened, its gradient, the weights
    // again, the gradient of the scores, 4 results.
    const attention = 5 + 8;
    // The logits: 3. The hidden states' gradient, with the matrix of the logits: 2. The head's: 3; its norm: 3 and 3.
    const head = 14;
    assert.equal(ours.casts, 4 * (linear + attention) + head);
  });
});
