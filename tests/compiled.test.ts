/**
 * A step of generation as a graph computes what its operations compute when they are called one by one, in the keys and
 * values that it writes, too. Generation itself is compared with transformers in generate.test.ts.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { profile, Random } from 'alignbook';
import { noted } from 'alignbook/dist/engine/call';
import { compiled } from 'alignbook/dist/engine/compiled';
import { release, scope, type Handle } from 'alignbook/dist/engine/handle';
import { pastOf, type Cache } from 'alignbook/dist/engine/keyValueCache';
import { add, floats, ints, mul } from 'alignbook/dist/engine/ops';
import { matmul } from 'alignbook/dist/engine/products';
import { attentionBias, transformerStep } from 'alignbook/dist/engine/transformer';
import { readWeights } from 'alignbook/dist/model/decode';
import { binding, hasVectorOperations } from 'alignbook/dist/tf';

import { engineModels, loadEngineModel } from './engineFixtures';

const [B, S] = [3, 7];
const random = new Random(5);
const normals = (shape: readonly number[]) =>
  Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal());

/**
 * In a graph, TensorFlow computes the softmax by another kernel, which differs in its last bits, as do the sums that
 * follow. Relative to the largest number of a tensor: seen are 3.9e-7 (AVX512) and 1e-7 (AVX2); 2 ** -23 is 1.2e-7.
 */
const TOLERANCE = 1e-6;

function near(actual: Handle, expected: Handle, what: string): void {
  const wanted = expected.values() as Float32Array;
  assert.deepEqual(actual.shape, expected.shape, what);
  const most = TOLERANCE * wanted.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  actual.values().forEach((value, n) => {
    assert.ok(Math.abs(value - wanted[n]!) <= most, `${what}, element ${n}: ${value} instead of ${wanted[n]}`);
  });
}
const graphCalls = (ops: readonly { op: string; calls: number }[]) => ops.find(({ op }) => op === 'graph')?.calls ?? 0;

describe('a step as a graph', { skip: binding.isUsingGpuDevice() && 'on a GPU no graph is made' }, () => {
  for (const name of engineModels) {
    test(`the numbers of the same operations called one by one: ${name}`, async () => {
      const { model } = await loadEngineModel(name);
      const { config } = model;
      const weights = readWeights(model.weights, B);
      const shape = [config.nHead, B, S, config.nEmbd / config.nHead];
      const values = Array.from({ length: config.nLayer }, () => ({ k: normals(shape), v: normals(shape) }));
      const cacheOf = (): Cache =>
        values.map(({ k, v }) => ({ k: floats(k.slice(), shape), v: floats(v.slice(), shape) }));
      const [asGraph, byCalls] = [cacheOf(), cacheOf()];

      const step = (cache: Cache, position: number, how: (inputs: object, body: () => Handle) => Handle) =>
        scope(() => {
          const positions = Int32Array.from({ length: B }, (_, row) => Math.max(0, position - row));
          const visible = new Uint8Array(B * S);
          positions.forEach((at, row) => visible.fill(1, row * S, row * S + at + 1));
          const ids = ints(
            positions.map((at, row) => (at * 5 + row) % config.vocabSize),
            [B],
          );
          const at = ints(positions, [B]);
          const bias = attentionBias(visible, [B, 1, S]);
          const past = pastOf(cache, positions);
          return how({ ids, at, bias, past, weights }, () =>
            transformerStep(ids, at, bias, (weight) => weights.get(weight)!, config, past),
          );
        });

      const start = Math.min(3, config.blockSize - 2);
      for (const position of [start, start + 1]) {
        const { result: y, ops } = await profile(() =>
          step(asGraph, position, (inputs, body) => compiled(name, inputs as Record<string, Handle>, body)),
        );
        const expected = step(byCalls, position, (_, body) => body());
        near(y, expected, `position ${position}`);
        assert.equal(graphCalls(ops), 1);
        assert.equal(ops.length, position === start ? ops.length : 1, 'later steps call nothing else');
        release(y, expected);
      }
      for (const [layer, { k, v }] of asGraph.entries()) {
        near(k, byCalls[layer]!.k, `keys of layer ${layer}`);
        near(v, byCalls[layer]!.v, `values of layer ${layer}`);
      }
      release(asGraph, byCalls, weights);
      model.dispose();
    });
  }

  test('how many operations a step consists of, as notebook 12 counts them', async () => {
    const { model } = await loadEngineModel('five-layers');
    const { config } = model;
    const weights = readWeights(model.weights, 1);
    const shape = [config.nHead, 1, S, config.nEmbd / config.nHead];
    const cache: Cache = Array.from({ length: config.nLayer }, () => ({
      k: floats(normals(shape), shape),
      v: floats(normals(shape), shape),
    }));
    const [ids, at] = [ints(Int32Array.of(1), [1]), ints(Int32Array.of(2), [1])];
    const bias = attentionBias(Uint8Array.of(1, 1, 1, 0, 0, 0, 0), [1, 1, S]);
    const past = pastOf(cache, Int32Array.of(2));
    const { result, calls } = noted(() =>
      transformerStep(ids, at, bias, (weight) => weights.get(weight)!, config, past),
    );
    // two lookups of embeddings and their sum; this model has GELU's tanh form, of six operations
    assert.equal(calls.length, (hasVectorOperations ? 10 : 52) * config.nLayer + 3);
    release(result, cache, ids, at, bias, weights);
    release(past[0]!.places);
    model.dispose();
  });

  test('shapes that differ share a graph where their operations are the same', async () => {
    const double = (x: Handle, y: Handle) => compiled('double', { x, y }, () => add(mul(x, y), y));
    const [x, y] = [floats(normals([2, 3]), [2, 3]), floats(normals([3]), [3])];
    const [wide, long] = [floats(normals([2, 4]), [2, 4]), floats(normals([4]), [4])];
    release(double(x, y), double(wide, long));
    const { result, ops } = await profile(() => [double(x, y), double(wide, long)]);
    assert.equal(graphCalls(ops), 2);
    const worked = (a: Handle, b: Handle) => {
      const factors = b.values() as Float32Array;
      return Float32Array.from(a.values(), (value, n) => {
        const factor = factors[n % factors.length]!;
        return Math.fround(Math.fround(value * factor) + factor);
      });
    };
    assert.deepEqual(result[0]!.values(), worked(x, y));
    assert.deepEqual(result[1]!.values(), worked(wide, long));
    release(result, x, y, wide, long);
  });

  test("a single row, which this project's own operation multiplies", async () => {
    const [x, y] = [floats(normals([1, 512]), [1, 512]), floats(normals([512, 1024]), [512, 1024])];
    const { result, ops } = await profile(() => compiled('long row', { x, y }, () => matmul(x, y)));
    assert.equal(graphCalls(ops), 1);
    const expected = matmul(x, y);
    assert.deepEqual(result.values(), expected.values());
    release(result, expected, x, y);
  });

  test('a tensor that is not among the inputs is an error of the caller', () => {
    const [x, y] = [floats(Float32Array.of(1), [1]), floats(Float32Array.of(2), [1])];
    assert.throws(() => compiled('forgotten', { x }, () => add(x, y)), /reads a tensor that is none of its inputs/);
    release(x, y);
  });

  test('no file stays behind; where no temporary folder can be written, the operations are called', async () => {
    const [x, y] = [floats(Float32Array.of(3), [1]), floats(Float32Array.of(4), [1])];
    const twice = (key: string, body: () => Handle) =>
      profile(() => {
        release(compiled(key, { x, y }, body));
        using again = compiled(key, { x, y }, body);
        return again.values()[0];
      });
    const former = process.env['TMPDIR'];
    const folder = mkdtempSync(join(tmpdir(), 'compiled-'));
    try {
      process.env['TMPDIR'] = folder;
      const { result, ops } = await twice('sum', () => add(x, y));
      assert.deepEqual([result, graphCalls(ops)], [7, 2]);
      assert.deepEqual(readdirSync(folder), []);
      process.env['TMPDIR'] = join(folder, 'missing');
      const without = await twice('product', () => mul(x, y));
      assert.deepEqual([without.result, graphCalls(without.ops)], [12, 0]);
    } finally {
      if (former === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = former;
      rmSync(folder, { recursive: true });
    }
    release(x, y);
  });
});
