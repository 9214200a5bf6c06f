/** The best-of-n estimator, against hand arithmetic and against an enumeration of all choices. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { bestOfN, bestOfNKl, InputError, Random } from 'alignbook';

const near = (actual: number, expected: number) =>
  assert.ok(Math.abs(actual - expected) <= 1e-12 * Math.max(1, Math.abs(expected)), `${actual} instead of ${expected}`);

/** Every way to choose n of the items. */
function* choices<Item>(items: readonly Item[], n: number): Generator<Item[]> {
  if (n === 0) yield [];
  for (let first = 0; first <= items.length - n && n > 0; first += 1)
    for (const rest of choices(items.slice(first + 1), n - 1)) yield [items[first]!, ...rest];
}

test('bestOfN by hand: of 1, 2, 4 the best of two is 2 once and 4 twice', () => {
  near(bestOfN([4, 1, 2], 1), 7 / 3);
  near(bestOfN([4, 1, 2], 2), (2 + 4 + 4) / 3);
  near(bestOfN([4, 1, 2], 3), 4);
  near(bestOfN([-0.5], 1), -0.5);
  near(bestOfN([1, 1, 0, 0], 2), 5 / 6); // one of six pairs has no 1
});

test('bestOfN is the mean of the highest over all subsets, with ties and without', () => {
  const random = new Random(0);
  for (let N = 1; N <= 9; N += 1) {
    const scores = Array.from({ length: N }, () => (random.uniform() < 0.5 ? random.normal() : random.integer(3)));
    for (let n = 1; n <= N; n += 1) {
      const highest = [...choices(scores, n)].map((chosen) => Math.max(...chosen));
      near(bestOfN(scores, n), highest.reduce((sum, value) => sum + value, 0) / highest.length);
    }
  }
});

test('bestOfN of many samples: the expected best of n uniform scores is n / (n + 1), without overflow', () => {
  const scores = Array.from({ length: 5000 }, (_, i) => (i + 1) / 5001);
  for (const n of [1, 16, 2500, 5000]) near(bestOfN(scores, n), n / (n + 1));
});

test('bestOfN refuses wrong arguments, and does not reorder the scores', () => {
  const scores = [3, 1, 2];
  bestOfN(scores, 2);
  assert.deepEqual(scores, [3, 1, 2]);
  for (const n of [0, 4, 1.5, NaN])
    assert.throws(
      () => bestOfN(scores, n),
      new InputError(`n must be a whole number from 1 to 3, the number of scores, got ${n}`),
    );
  assert.throws(() => bestOfN([], 1), InputError);
  assert.throws(() => bestOfN([1, NaN], 1), new InputError('score 1 is NaN; scores must be finite numbers'));
});

test('bestOfNKl: 0 for one sample, and the exact KL if no two scores are equal', () => {
  assert.equal(bestOfNKl(1), 0);
  near(bestOfNKl(2), Math.log(2) - 0.5);
  near(bestOfNKl(16), 4 * Math.log(2) - 15 / 16);
  // K answers, equally likely: the k-th best of them is the best of n with (k/K)^n - ((k-1)/K)^n
  const K = 20000;
  const kl = Array.from({ length: K }, (_, k) => ((k + 1) / K) ** 4 - (k / K) ** 4).reduce(
    (sum, p) => sum + p * Math.log(p * K),
    0,
  );
  assert.ok(kl <= bestOfNKl(4) && Math.abs(kl - bestOfNKl(4)) < 1e-3, `${kl}`);
  for (const n of [0, -1, 2.5]) assert.throws(() => bestOfNKl(n), InputError);
});
