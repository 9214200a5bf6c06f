import assert from 'node:assert/strict';
import { test } from 'node:test';

import { InputError, Random } from 'alignbook';

test('xoshiro128** gives the published sequence', () => {
  // From the state 1, 2, 3, 4: tests/oracles/xoshiro.py.
  const expected = [
    11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597, 4258142804,
  ];
  const random = new Random([1, 2, 3, 4]);
  assert.deepEqual(
    expected.map(() => random.uint32()),
    expected,
  );
});

test('the same seed gives the same numbers, another seed others', () => {
  const draw = (seed: number) =>
    Array.from(
      { length: 5 },
      (
        (random) => () =>
          random.uint32()
      )(new Random(seed)),
    );
  assert.deepEqual(draw(7), draw(7));
  assert.notDeepEqual(draw(7), draw(8));
});

test('a saved state goes on where it was', () => {
  const random = new Random(3);
  random.normal();
  const copy = new Random(random.state);
  const following = [random.uniform(), random.normal(), random.integer(10)];
  assert.deepEqual([copy.uniform(), copy.normal(), copy.integer(10)], following);
});

test('uniform, normal and integer have the moments of their distributions', () => {
  // 100,000 draws: bounds at 5 standard errors of each figure.
  const random = new Random(1);
  const n = 100_000;
  const moments = (draw: () => number) => {
    const values = Array.from({ length: n }, draw);
    const mean = values.reduce((sum, value) => sum + value, 0) / n;
    return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n };
  };
  const uniform = moments(() => random.uniform());
  assert.ok(Math.abs(uniform.mean - 0.5) < 5 * Math.sqrt(1 / 12 / n));
  assert.ok(Math.abs(uniform.variance - 1 / 12) < 5 * Math.sqrt(1 / 180 / n));
  const normal = moments(() => random.normal());
  assert.ok(Math.abs(normal.mean) < 5 * Math.sqrt(1 / n));
  assert.ok(Math.abs(normal.variance - 1) < 5 * Math.sqrt(2 / n));
  const die = moments(() => 1 + random.integer(6));
  assert.ok(Math.abs(die.mean - 3.5) < 5 * Math.sqrt(35 / 12 / n));
});

test('shuffle keeps every item, and every order is as likely as any other', () => {
  const random = new Random(5);
  const items = Array.from({ length: 20 }, (_, index) => index);
  assert.deepEqual(
    random.shuffle(items).sort((a, b) => a - b),
    items,
  );

  const counts = new Map<string, number>();
  for (let round = 0; round < 24_000; round += 1) {
    const order = random.shuffle(['a', 'b', 'c', 'd']).join('');
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  // Chi-square with 23 degrees of freedom: above 49.7 with probability 0.001.
  const chiSquare = [...counts.values()].reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
  assert.equal(counts.size, 24);
  assert.ok(chiSquare < 49.7, `chi-square ${chiSquare}`);
});

test('a seed or a range that is no integer is refused', () => {
  assert.throws(() => new Random(0.5), InputError);
  assert.throws(() => new Random(1).integer(0), InputError);
  assert.throws(() => new Random(1).integer(2.5), InputError);
});
