/** Which results the benchmarks store, and how they compare results. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { joined, type Machine } from '../scripts/bench/machine';
import { median, near } from '../scripts/bench/worker';

test('results of one machine come together, those of another give way', () => {
  const here: Machine = { cpu: 'one', cores: 2, gigabytes: 24, instructions: ['avx2'], versions: { node: '20.20.2' } };
  const first = joined(undefined, here, { dpo: { seconds: [2] }, score: { seconds: [5] } }, '2026-11-01');
  const second = joined(first, here, { dpo: { seconds: [1] } }, '2026-11-02');
  assert.deepEqual(second, {
    machine: here,
    results: { dpo: { date: '2026-11-02', seconds: [1] }, score: { date: '2026-11-01', seconds: [5] } },
  });
  const sized = joined(undefined, here, { 'dpo, 16 pairs': {}, 'dpo, 4 pairs': {} }, '2026-11-01');
  assert.deepEqual(Object.keys(sized.results), ['dpo, 4 pairs', 'dpo, 16 pairs']);
  const updated = { ...here, versions: { node: '22.0.0' } };
  assert.deepEqual(joined(first, updated, { dpo: { seconds: [1] } }, '2026-11-02'), {
    machine: updated,
    results: { dpo: { date: '2026-11-02', seconds: [1] } },
  });
});

test('the median, of an odd and an even number', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
});

test('contenders agree within a tolerance, or not', () => {
  const result = [{ loss: 0.5, ids: [1, 2] }];
  assert.ok(near(result, [{ loss: 0.5, ids: [1, 2] }], 0));
  assert.ok(near([{ loss: 0.5004, ids: [1, 2] }], result, 1e-3));
  assert.ok(!near([{ loss: 0.501, ids: [1, 2] }], result, 1e-3), 'farther off');
  assert.ok(!near([{ loss: 0.5, ids: [1, 3] }], result, 1e-3), 'another id');
  assert.ok(!near([{ loss: 0.5, ids: [1] }], result, 1e-3), 'fewer');
  assert.ok(!near([{ loss: 0.5, ids: [1], more: 1 }], [{ loss: 0.5, ids: [1], less: 1 }], 1e-3), 'other names');
  assert.ok(!near(NaN, 1, 1e-3));
  assert.ok(!near(null, 1, 1e-3));
});
