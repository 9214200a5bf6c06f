/**
 * The product of a few rows by this project's own operation (scripts/setup/operations/few_rows.cc), against sums in
 * float64: every number of rows, tails of vectors, blocks, threads, and types.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

import { liveTensors, profile, Random } from 'alignbook';
import { bool, op, type } from 'alignbook/dist/engine/call';
import { release, scope, type Handle } from 'alignbook/dist/engine/handle';
import { constantEmpty, floats, inBfloat16, inFloat32, ints, isBfloat16, TF_BFLOAT16 } from 'alignbook/dist/engine/ops';
import { matmul } from 'alignbook/dist/engine/products';
import { binding, hasAvx512, hasVectorOperations, processorFlags } from 'alignbook/dist/tf';

import { fewRowsOf } from './fewRowsOf';

const { TF_FLOAT } = binding;

const random = new Random(23);
const matrix = (rows: number, columns: number) => Float32Array.from({ length: rows * columns }, () => random.normal());

/** With the kernels for AVX512 and for AVX2, where the processor has both. */
const WIDTHS = hasAvx512 ? [true, false] : [false];

/** x y, or x y' with `across`, in float64. */
function worked(x: Float32Array, y: Float32Array, [M, K, N]: readonly number[], across: boolean): Float64Array {
  const product = new Float64Array(M! * N!);
  for (let m = 0; m < M!; m += 1)
    for (let n = 0; n < N!; n += 1)
      for (let k = 0; k < K!; k += 1)
        product[m * N! + n]! += x[m * K! + k]! * (across ? y[n * K! + k]! : y[k * N! + n]!);
  return product;
}

/**
 * Sums of K products of numbers around 1 are of the size sqrt(K), and in float32 each of K additions errs by up to half
 * of 2 ** -23 of its sum: sqrt(K) of such errors for random signs, four times that for the worst of many sums.
 */
const toleranceOf = (K: number) => 4 * K * 2 ** -24 + 1e-6;

function close(values: Float32Array | Int32Array, expected: Float64Array, tolerance: number, what: string): void {
  assert.equal(values.length, expected.length, what);
  values.forEach((value, n) => {
    if (!(Math.abs(value - expected[n]!) <= tolerance))
      assert.fail(`${what}, element ${n}: ${value}, expected ${expected[n]}`);
  });
}

const product = (x: Handle, y: Handle, across: boolean, wide: boolean, out = TF_FLOAT) =>
  op(
    'AlignbookFewRows',
    [bool('transpose_y', across), bool('wide', wide), type('Tproduct', out)],
    x,
    y,
    constantEmpty(),
  );

/** On Linux, and where nothing was asked for that excludes it. */
const belongsHere =
  ['avx2', 'fma'].every((flag) => processorFlags.has(flag)) &&
  !binding.isUsingGpuDevice() &&
  process.env['ALIGNBOOK_OPERATIONS'] !== 'tensorflow';
test('it is there', { skip: !belongsHere && 'not on this device' }, () => assert.ok(hasVectorOperations));

const options = { skip: !hasVectorOperations && 'the operation is not available here' };

test('rows and columns of any number', options, () => {
  for (const [K, N] of [
    [1, 1],
    [3, 5],
    [16, 64],
    [17, 31],
    [40, 129],
    [64, 65],
    [200, 7],
  ] as const)
    // prettier-ignore
    for (const M of [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17])
      for (const across of [false, true]) {
        const [xs, ys] = [matrix(M, K), matrix(K, N)];
        const [x, y] = [floats(xs, [M, K]), floats(ys, across ? [N, K] : [K, N])];
        for (const wide of WIDTHS) {
          using made = product(x, y, across, wide);
          assert.deepEqual(made.shape, [M, N]);
          const what = `[${M}, ${K}] by ${N}${across ? ', transposed' : ''}, ${wide ? 'AVX512' : 'AVX2'}`;
          close(made.values(), worked(xs, ys, [M, K, N], across), toleranceOf(K), what);
        }
        release(x, y);
      }
});

test('large matrices, in blocks and on threads; each row as if it were alone', options, () => {
  for (const across of [false, true])
    for (const [K, N] of [
      [1500, 333],
      [333, 1500],
    ] as const) {
      // prettier-ignore
      const M = 11;
      const [xs, ys] = [matrix(M, K), matrix(K, N)];
      const [x, y] = [floats(xs, [M, K]), floats(ys, across ? [N, K] : [K, N])];
      const expected = worked(xs, ys, [M, K, N], across);
      for (const wide of WIDTHS) {
        using together = product(x, y, across, wide);
        close(together.values(), expected, toleranceOf(K), `${K} by ${N}`);
        for (let m = 0; m < M; m += 1) {
          using row = floats(xs.slice(m * K, (m + 1) * K), [1, K]);
          using alone = product(row, y, across, wide);
          assert.deepEqual(alone.values(), together.values().slice(m * N, (m + 1) * N), `row ${m}`);
        }
      }
      release(x, y);
    }
});

test('every pair of types; a result in bfloat16 is the float32 one, rounded as TensorFlow rounds', options, () => {
  const [M, K, N] = [5, 70, 90];
  const [xs, ys] = [floats(matrix(M, K), [M, K]), floats(matrix(K, N), [K, N])];
  const [xHalf, yHalf] = [inBfloat16(xs), inBfloat16(ys)];
  const valuesOf = (x: Handle) => scope(() => [inFloat32(x).values() as Float32Array])[0]!;
  for (const across of [false, true])
    for (const x of [xs, xHalf])
      for (const y of [ys, yHalf])
        for (const wide of WIDTHS)
          scope(() => {
            const right = across ? op('Transpose', [], y, ints(Int32Array.of(1, 0), [2])) : y;
            const made = product(x, right, across, wide);
            const expected = worked(valuesOf(x), valuesOf(y), [M, K, N], false);
            close(made.values(), expected, toleranceOf(K), `${x.dtype} by ${y.dtype}`);
            const half = product(x, right, across, wide, TF_BFLOAT16);
            assert.ok(isBfloat16(half));
            assert.deepEqual(valuesOf(half), valuesOf(inBfloat16(made)));
          });
  release(xs, ys, xHalf, yHalf);
});

test('rounding to bfloat16: ties, denormals, infinities and NaN', options, () => {
  const between = [1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20];
  const given = [1, -1, 0, -0, ...between, 3.4e38, -3.4e38, 1e-40, Infinity, -Infinity, NaN];
  const values = Float32Array.from(given);
  for (const wide of WIDTHS)
    scope(() => {
      // x is 1, so each sum is a number of y, the zero in front of it apart
      const [x, y] = [floats(Float32Array.of(1), [1, 1]), floats(values, [1, values.length])];
      const rounded = inFloat32(product(x, y, false, wide, TF_BFLOAT16)).values();
      const byTensorFlow = op('MatMul', [bool('transpose_a', false), bool('transpose_b', false)], x, y);
      const cast = inFloat32(inBfloat16(byTensorFlow)).values();
      for (const [n, value] of given.entries())
        assert.ok(rounded[n] === cast[n] || (Number.isNaN(rounded[n]!) && Number.isNaN(cast[n]!)), `${value}`);
    });
});

test('denormals are zeros wherever they are for TensorFlow, on every thread', options, () => {
  const [K, N] = [1024, 256];
  const [x, y] = [floats(new Float32Array(K).fill(1), [1, K]), floats(new Float32Array(K * N).fill(1e-40), [K, N])];
  using expected = op('MatMul', [bool('transpose_a', false), bool('transpose_b', false)], x, y);
  for (const wide of WIDTHS)
    for (let n = 0; n < 50; n += 1) {
      using made = product(x, y, false, wide);
      assert.deepEqual(made.values(), expected.values());
    }
  release(x, y);
});

test('NaN and infinity come through in their row and column only', options, () => {
  const [M, K, N] = [3, 100, 80];
  const xs = matrix(M, K);
  const ys = matrix(K, N);
  xs[1 * K + 7] = NaN;
  ys[50 * N + 70] = Infinity;
  for (const across of [false, true])
    for (const wide of WIDTHS) {
      const right = across ? Float32Array.from(ys, (_, i) => ys[(i % K) * N + Math.floor(i / K)]!) : ys;
      const [x, y] = [floats(xs, [M, K]), floats(right, across ? [N, K] : [K, N])];
      using made = product(x, y, across, wide);
      made.values().forEach((value, i) => {
        const [m, n] = [Math.floor(i / N), i % N];
        if (m === 1) assert.ok(Number.isNaN(value));
        else assert.equal(Number.isFinite(value), n !== 70, `${m}, ${n}: ${value}`);
      });
      release(x, y);
    }
});

test('matrices without rows or columns', options, () => {
  for (const [M, K, N] of [
    [0, 3, 4],
    [2, 0, 4],
    [2, 3, 0],
  ] as const)
    // prettier-ignore
    for (const across of [false, true])
      for (const wide of WIDTHS) {
        const [x, y] = [floats(matrix(M, K), [M, K]), floats(matrix(K, N), across ? [N, K] : [K, N])];
        using made = product(x, y, across, wide);
        assert.deepEqual([made.shape, [...made.values()]], [[M, N], Array<number>(M * N).fill(0)]);
        release(x, y);
      }
});

test('a bias is added to each row', options, () => {
  const [M, K, N] = [3, 500, 300];
  const [xs, ys, bias] = [matrix(M, K), matrix(K, N), matrix(1, N)];
  const [x, y, vector] = [floats(xs, [M, K]), floats(ys, [K, N]), floats(bias, [N])];
  const expected = worked(xs, ys, [M, K, N], false).map((value, i) => value + bias[i % N]!);
  using made = matmul(x, y, { bias: vector });
  close(made.values(), expected, toleranceOf(K), 'with a bias');
  using many = floats(matrix(20, K), [20, K]);
  using plain = matmul(many, y);
  using other = matmul(many, y, { bias: vector });
  const added = plain.values().map((value, i) => value + bias[i % N]!);
  close(other.values(), Float64Array.from(added), 1e-5, 'of many rows');
  const attributes = [bool('transpose_y', false), bool('wide', false), type('Tproduct', TF_FLOAT)];
  assert.throws(() => op('AlignbookFewRows', attributes, x, y, x), /AlignbookFewRows: the shapes do not fit/);
  release(x, y, vector);
});

test('shapes that do not fit are an error', options, () => {
  const [x, y, vector] = [floats(matrix(2, 3), [2, 3]), floats(matrix(4, 5), [4, 5]), floats(matrix(1, 3), [3])];
  for (const [a, b] of [
    [x, y],
    [x, vector],
    [vector, y],
  ] as const)
    // prettier-ignore
    assert.throws(() => product(a, b, false, false), /AlignbookFewRows: the shapes do not fit/);
  release(x, y, vector);
});

test('which products it computes: of up to twelve rows that are not transposed', options, async () => {
  const y = floats(matrix(20, 30), [20, 30]);
  for (const { M, transposeX, own } of [
    { M: 1, transposeX: false, own: true },
    { M: 12, transposeX: false, own: true },
    { M: 13, transposeX: false, own: false },
    { M: 12, transposeX: true, own: false },
  ]) {
    using x = floats(matrix(M, 20), transposeX ? [20, M] : [M, 20]);
    const before = liveTensors();
    const { result, ops } = await profile(() => matmul(x, y, { transposeX }));
    assert.deepEqual(result.shape, [M, 30]);
    assert.equal(liveTensors(), before + 1);
    assert.equal(ops.some(({ op: name }) => name === 'AlignbookFewRows'), own, `${M} rows`); // prettier-ignore
    release(result);
  }
  release(y);
});

test('with any number of threads, and on several threads of Node at once', { ...options, timeout: 120_000 }, () => {
  const own = fewRowsOf(5);
  for (const threads of [1, 2, 3, 16]) {
    const { stdout, stderr, status } = spawnSync(process.execPath, [join(__dirname, 'fewRowsOf.js'), '5'], {
      encoding: 'utf8',
      env: { ...process.env, TF_NUM_INTRAOP_THREADS: String(threads) },
    });
    assert.equal(status, 0, stderr);
    const results = JSON.parse(stdout) as { first: number[]; differing: number };
    assert.equal(results.differing, 0, 'every product of each thread of Node is the same');
    close(Float32Array.from(results.first), Float64Array.from(own), toleranceOf(1024), `${threads} threads`);
  }
});
