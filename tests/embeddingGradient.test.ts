/** wte's gradient, which is kept in parts, against the sum computed element by element in float64. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { liveTensors, Random } from 'alignbook';
import { embeddingGradient, headGradient, multiplied, squares } from 'alignbook/dist/engine/gradients';
import { Handle, release, scope } from 'alignbook/dist/engine/handle';
import { floats, ints } from 'alignbook/dist/engine/ops';

const [V, C, N] = [60, 40, 5];
/** The tokens that are read, one of them three times. */
const IDS = [7, 59, 7, 0, 7];
/** The tolerance for sums of a few dozen float32 products of numbers around 1. */
const TOLERANCE = 1e-5;

const random = new Random(3);
const matrix = (rows: number, columns: number) => Float32Array.from({ length: rows * columns }, () => random.normal());

function worked(dLogits: Float32Array, hidden: Float32Array, dx: Float32Array): Float64Array {
  const sum = new Float64Array(V * C);
  const M = dLogits.length / V;
  for (let v = 0; v < V; v += 1)
    for (let c = 0; c < C; c += 1)
      for (let m = 0; m < M; m += 1) sum[v * C + c]! += dLogits[m * V + v]! * hidden[m * C + c]!;
  IDS.forEach((id, n) => {
    for (let c = 0; c < C; c += 1) sum[id * C + c]! += dx[n * C + c]!;
  });
  return sum;
}

describe('the gradient of head and embedding', () => {
  for (const { M, inParts } of [
    { M: 2, inParts: true },
    { M: 11, inParts: true },
    { M: 13, inParts: false },
  ]) {
    test(`${M} scored tokens: ${inParts ? 'its parts have' : 'one tensor has'} the sum's values and squares`, () => {
      const [dLogits, hidden, dx] = [matrix(M, V), matrix(M, C), matrix(N, C)];
      const expected = worked(dLogits, hidden, dx);
      const made = () =>
        embeddingGradient(
          headGradient(floats(dLogits.slice(), [M, V]), floats(hidden.slice(), [M, C])),
          ints(Int32Array.from(IDS), [N]),
          floats(dx.slice(), [N, C]),
        );
      const once = () =>
        scope(() => {
          const gradient = made();
          assert.equal(!(gradient instanceof Handle), inParts);
          const sum = expected.reduce((all, value) => all + value ** 2, 0);
          const own = squares(gradient);
          assert.ok(Math.abs(own - sum) < TOLERANCE * sum, `squares ${own}, expected ${sum}`);
          multiplied(gradient)
            .values()
            .forEach((value, n) =>
              assert.ok(Math.abs(value - expected[n]!) < TOLERANCE, `element ${n}: ${value}, expected ${expected[n]}`),
            );
          multiplied(made(), 0.25)
            .values()
            .forEach((value, n) =>
              assert.ok(Math.abs(value - expected[n]! / 4) < TOLERANCE, `element ${n} of a quarter`),
            );
        });
      once();
      const before = liveTensors();
      once();
      assert.equal(liveTensors(), before);
    });
  }

  test('outlives what it was made of', () => {
    const [dLogits, hidden, ids, dx] = [
      floats(matrix(2, V), [2, V]),
      floats(matrix(2, C), [2, C]),
      ints(Int32Array.from(IDS), [N]),
      floats(matrix(N, C), [N, C]),
    ];
    const gradient = embeddingGradient(headGradient(dLogits, hidden), ids, dx);
    const before = squares(gradient);
    release(dLogits, hidden, ids, dx);
    assert.equal(squares(gradient), before);
    release(gradient);
  });
});
