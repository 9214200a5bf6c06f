/** Matrix products in each form in which they are computed, against sums in float64; and which form is chosen. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { generate, GPT2, liveTensors, profile, Random } from 'alignbook';
import { release } from 'alignbook/dist/engine/handle';
import { floats } from 'alignbook/dist/engine/ops';
import { formOf, inForm, isWorthPaddedCopy, matmul, padStride, type Form } from 'alignbook/dist/engine/products';
import { Weights } from 'alignbook/dist/model/weights';
import { initialWeights } from 'alignbook/dist/model/weightShapes';
import { binding, hasAvx512 } from 'alignbook/dist/tf';

const K = 24;
/** The tolerance for sums of 24 float32 products of numbers around 1. */
const TOLERANCE = 2e-5;

/** Whether a right factor that is not transposed is read as it is, whatever its rows. */
const isRead = binding.isUsingGpuDevice() || hasAvx512;
const READ_AS_IT_IS = 'such a product is as any other on a GPU or with AVX512';

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

test('which form is chosen, by processor, rows and matrix', () => {
  const plain = {};
  const acrossRows = { transposeY: true };
  for (const { M, shape, options = plain, avx2, avx512 } of [
    // a single row, where no operation is made for few: in parts from 2 ** 19 numbers on
    { M: 1, shape: [512, 1024], avx2: 'parts', avx512: 'plain' },
    { M: 1, shape: [512, 1023], avx2: 'plain', avx512: 'plain' },
    { M: 1, shape: [767, 2304], avx2: 'plain', avx512: 'plain' }, // not divisible by 4
    { M: 2, shape: [768, 2304], avx2: 'plain', avx512: 'plain' },
    // rows 4096 bytes apart: copied from 64 rows up, and up to 1 / M + 1 / 1024 = 0.0038, which is M = 354
    { M: 63, shape: [24, 1024], avx2: 'plain', avx512: 'plain' },
    { M: 64, shape: [24, 1024], avx2: 'padded', avx512: 'plain' },
    { M: 354, shape: [24, 1024], avx2: 'padded', avx512: 'plain' },
    { M: 355, shape: [24, 1024], avx2: 'plain', avx512: 'plain' },
    { M: 64, shape: [24, 1023], avx2: 'plain', avx512: 'plain' },
    // transposed, y is read along its rows
    { M: 64, shape: [24, 1024], options: acrossRows, avx2: 'plain', avx512: 'plain' },
    { M: 3, shape: [50257, 768], options: acrossRows, avx2: 'plain', avx512: 'plain' },
    { M: 4, shape: [50257, 768], options: acrossRows, avx2: 'plain', avx512: 'batch' },
    { M: 4, shape: [512, 1024], options: acrossRows, avx2: 'plain', avx512: 'batch' },
    { M: 4, shape: [512, 1023], options: acrossRows, avx2: 'plain', avx512: 'plain' },
    { M: 64, shape: [24, 1024], options: { transposeX: true }, avx2: 'plain', avx512: 'plain' },
    { M: 1, shape: [512, 1024], options: { transposeX: true }, avx2: 'plain', avx512: 'plain' },
    { M: 4, shape: [512, 1024], options: { transposeX: true, transposeY: true }, avx2: 'plain', avx512: 'plain' },
  ] satisfies { M: number; shape: number[]; options?: object; avx2: Form; avx512: Form }[]) {
    const chosen = [false, true].map((wide) => formOf(M, shape, options, wide));
    assert.deepEqual(chosen, [avx2, avx512], `${M} rows by [${shape}] ${JSON.stringify(options)}`);
  }
});

/** y [K, N] -> [N, K]. */
const transposed = (y: Float32Array, N: number) =>
  Float32Array.from({ length: y.length }, (_, element) => y[(element % K) * N + Math.floor(element / K)]!);

test('each form gives the product', () => {
  const N = 1024;
  for (const { form, M, across } of [
    { form: 'plain', M: 3 },
    { form: 'plain', M: 3, across: true },
    { form: 'batch', M: 3 },
    { form: 'batch', M: 3, across: true },
    { form: 'parts', M: 1 },
    { form: 'padded', M: 3 },
  ] satisfies { form: Form; M: number; across?: boolean }[]) {
    const [xValues, yValues] = [matrix(M, K), matrix(K, N)];
    const x = floats(xValues, [M, K]);
    const y = across ? floats(transposed(yValues, N), [N, K]) : floats(yValues, [K, N]);
    const options = across ? { transposeY: true } : {};
    release(inForm[form](x, y, options)); // makes constants
    const before = liveTensors();
    const result = inForm[form](x, y, options);
    assert.equal(liveTensors(), before + 1, form);
    assert.deepEqual(result.shape, [M, N], form);
    close(result.values(), worked(xValues, yValues, N));
    release(result, x, y);
  }
});

test('a large product with a transposed matrix', async () => {
  const [M, N] = [13, Math.ceil(2 ** 19 / K)];
  const [xValues, yValues] = [matrix(M, K), matrix(K, N)];
  const [x, y] = [floats(xValues, [M, K]), floats(transposed(yValues, N), [N, K])];
  const { result, ops } = await profile(() => matmul(x, y, { transposeY: true }));
  const isCpu = !binding.isUsingGpuDevice();
  assert.deepEqual(
    ops.map(({ op }) => op),
    [hasAvx512 && isCpu ? 'BatchMatMulV2' : 'MatMul'],
  );
  close(result.values(), worked(xValues, yValues, N));
  release(result, x, y);
});

describe('a product with a matrix whose rows are 4096 bytes apart', { skip: isRead && READ_AS_IT_IS }, () => {
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
    assert.ok(isWorthPaddedCopy(y));
    const wider = padStride(y);
    assert.ok(!isWorthPaddedCopy(wider));
    for (const M of [1, 13, 70]) {
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
});
