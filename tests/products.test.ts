/** Matrix products whose right factor has an unfavorable layout for the processor's cache, against sums in float64. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { generate, GPT2, liveTensors, profile, Random } from 'alignbook';
import { release } from 'alignbook/dist/engine/handle';
import { floats } from 'alignbook/dist/engine/ops';
import { hasCacheConflicts, matmul, padStride } from 'alignbook/dist/engine/products';
import { Weights } from 'alignbook/dist/model/weights';
import { initialWeights } from 'alignbook/dist/model/weightShapes';
import { binding } from 'alignbook/dist/tf';

const K = 24;
/** The tolerance for sums of 24 float32 products of numbers around 1. */
const TOLERANCE = 2e-5;

const random = new Random(11);
const matrix = (rows: number, columns: number) => Float32Array.from({ length: rows * columns }, () => random.normal());

function worked(x: Float32Array, y: Float32Array, N: number): Float64Array {
  return Float64Array.from({ length: (x.length / K) * N }, (_, element) => {
    const [m, n] = [Math.floor(element / N), element % N];
    let sum = 0;
    for (let k = 0; k < K; k += 1) sum += x[m * K + k]! * y[k * N + n]!;
    return sum;
  });
}

function close(values: Float32Array | Int32Array, expected: Float64Array): void {
  assert.equal(values.length, expected.length);
  values.forEach((value, n) =>
    assert.ok(Math.abs(value - expected[n]!) < TOLERANCE, `element ${n}: ${value}, expected ${expected[n]}`),
  );
}

test(
  'a single row with a large matrix is multiplied in parts',
  { skip: binding.isUsingGpuDevice() && 'such a product is as any other on a GPU' },
  async () => {
    for (const { N, parts } of [
      { N: Math.ceil(2 ** 19 / K), parts: true },
      { N: Math.floor(2 ** 19 / K), parts: false },
    ]) {
      const [xValues, yValues] = [matrix(1, K), matrix(K, N)];
      const [x, y] = [floats(xValues, [1, K]), floats(yValues, [K, N])];
      const { result, ops } = await profile(() => matmul(x, y));
      assert.deepEqual(result.shape, [1, N]);
      assert.equal(
        ops.some(({ op }) => op === 'Sum'),
        parts,
      );
      close(result.values(), worked(xValues, yValues, N));
      release(result, x, y);
    }
  },
);

describe(
  'a product with a matrix whose rows are 4096 bytes apart',
  { skip: binding.isUsingGpuDevice() && 'such products are as any other on a GPU' },
  () => {
    // 1024 columns: copied from 64 rows up, and up to 1 / M + 1 / 1024 = 0.0038, which is M = 354
    for (const { M, N, copied } of [
      { M: 63, N: 1024, copied: false },
      { M: 64, N: 1024, copied: true },
      { M: 354, N: 1024, copied: true },
      { M: 355, N: 1024, copied: false },
      { M: 64, N: 1023, copied: false },
    ]) {
      test(`${M} rows, ${N} columns: ${copied ? 'by way of' : 'without'} a copy`, async () => {
        const [xValues, yValues] = [matrix(M, K), matrix(K, N)];
        const [x, y] = [floats(xValues, [M, K]), floats(yValues, [K, N])];
        const once = async () => {
          const { result, ops } = await profile(() => matmul(x, y));
          assert.deepEqual(result.shape, [M, N]);
          assert.equal(
            ops.some(({ op }) => op === 'ConcatV2'),
            copied,
          );
          close(result.values(), worked(xValues, yValues, N));
          release(result);
        };
        await once();
        const before = liveTensors();
        await once();
        assert.equal(liveTensors(), before);
        release(x, y);
      });
    }

    test('transposed, it is read along its rows, and stays as it is', async () => {
      const [xValues, yValues] = [matrix(64, 1024), matrix(K, 1024)];
      const [x, y] = [floats(xValues, [64, 1024]), floats(yValues, [K, 1024])];
      const { result, ops } = await profile(() => matmul(x, y, { transposeY: true }));
      assert.deepEqual(
        ops.map(({ op }) => op),
        ['MatMul'],
      );
      release(result, x, y);
    });

    test('a copy that is kept serves any number of rows', () => {
      const yValues = matrix(K, 1024);
      const y = floats(yValues, [K, 1024]);
      assert.ok(hasCacheConflicts(y));
      const wider = padStride(y);
      assert.ok(!hasCacheConflicts(wider));
      for (const M of [1, 70]) {
        const xValues = matrix(M, K);
        const x = floats(xValues, [M, K]);
        const product = matmul(x, wider, { columns: 1024 });
        close(product.values(), worked(xValues, yValues, 1024));
        release(product, x);
      }
      release(y, wider);
    });

    test('generation with many rows keeps such copies, and gives what few rows give', async () => {
      const config = { nLayer: 2, nHead: 4, nEmbd: 256, blockSize: 32, vocabSize: 90, layerNormEpsilon: 1e-5 };
      const model = new GPT2(config, Weights.from(initialWeights(config, new Random(5)), config));
      const prompts = Array.from({ length: 16 }, (_, row) =>
        Array.from({ length: 1 + (row % 5) }, () => random.integer(90)),
      );
      const alone = await generate(model, prompts, { maxNewTokens: 12, batchSize: 15 });
      const together = () => generate(model, prompts, { maxNewTokens: 12 });
      const { result, ops } = await profile(together);
      assert.deepEqual(result, alone);
      const before = liveTensors();
      await together();
      assert.equal(liveTensors(), before);
      const cut = ops.find(({ op }) => op === 'Slice');
      assert.equal(cut?.calls, 2 * 2, 'each layer, in the prompts and where the graph of a step is made');
      model.dispose();
    });
  },
);
