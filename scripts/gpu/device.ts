/**
 * Step 1: which libraries TensorFlow opened, the operations that it runs only on a GPU, and memory. With a folder as
 * its argument: the product of two matrices that values.py wrote there, under the policy of this process.
 */
// oxlint-disable-next-line import/no-duplicates -- first: it reads the card's memory before TensorFlow takes any
import './card';

import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

import { computePolicy, device, liveTensors, Random, SafetensorsFile } from 'alignbook';
import { diagnose } from 'alignbook/dist/doctor';
import { release, scope } from 'alignbook/dist/engine/handle';
import { addRows, floats, ints, putRows } from 'alignbook/dist/engine/ops';
import { matmul } from 'alignbook/dist/engine/products';

import { card, megabytesTaken } from './card';
import { checked, seen, step } from './report';

/** The names under which TensorFlow asks for them; GPT-2 computes with the first three. */
const LIBRARIES = [
  'libcudart.so.12',
  'libcublas.so.12',
  'libcublasLt.so.12',
  'libcufft.so.11',
  'libcusolver.so.11',
  'libcusparse.so.12',
  'libcudnn.so.9',
];
const USED = 3;

/**
 * Without memory growth, TensorFlow would take nine tenths of the card; its own kernels and cuBLAS's take about 1 GB.
 */
const MOST_MEGABYTES = 5000;

const onGpu = device().name === 'gpu';
const random = new Random(17);
const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal());

const greatest = (values: ArrayLike<number>, expected: ArrayLike<number>): number => {
  let most = 0;
  for (let n = 0; n < expected.length; n += 1) {
    const distance = Math.abs(values[n]! - expected[n]!);
    most = distance <= most ? most : distance; // NaN is kept
  }
  return most;
};

function doctor(): void {
  for (const [what, how] of diagnose().lines) seen(`${what.padEnd(12)} ${how}`);
  seen(`card         ${card() ?? 'no NVIDIA driver answers'}`);
  if (onGpu) seen('a GPU was opened', 'ok');
  else seen('no GPU was opened: everything below ran on the CPU');
  if (device().build === 'cuda') libraries();
}

function libraries(): void {
  const mapped = [
    ...new Set([...readFileSync('/proc/self/maps', 'utf8').matchAll(/\/\S+\.so[.\d]*$/gm)].map(([path]) => path)),
  ];
  LIBRARIES.forEach((name, n) => {
    const found = mapped.filter((path) => basename(path).startsWith(name.slice(0, name.indexOf('.so') + 3)));
    const text = `${name.padEnd(18)} ${found.length > 0 ? `opened as ${found.join(', ')}` : 'not opened'}`;
    if (onGpu && n < USED) checked(text, found.length > 0);
    else seen(text);
  });
  const empty = mapped.find((path) => basename(path) === 'libempty.so');
  if (empty !== undefined) seen(`${empty} was opened for those that GPT-2 does not use`);
}

/** Tests UnsortedSegmentSum, which replaces InplaceAdd, on rows whose place is named hundreds of times. */
function addRowsSums(tell: typeof checked): void {
  const [R, N, C] = [50, 4096, 64];
  const [x, rows] = [normal(R * C), normal(N * C)];
  const places = Int32Array.from({ length: N }, () => random.integer(10));
  const expected = Float64Array.from(x);
  places.forEach((place, n) => {
    for (let c = 0; c < C; c += 1) expected[place * C + c]! += rows[n * C + c]!;
  });
  const error = scope(() =>
    greatest(addRows(floats(x.slice(), [R, C]), ints(places, [N]), floats(rows, [N, C])).values(), expected),
  );
  tell(
    `addRows, ${N} rows to 10 places (${onGpu ? 'UnsortedSegmentSum' : 'InplaceAdd'}): greatest error ` +
      `${error.toExponential(1)}, of sums of some 400 numbers; bound 1e-3`,
    error <= 1e-3,
  );
}

/** Tests InplaceUpdate, for the cache of keys and values. */
function putRowsPuts(): void {
  const [R, C] = [40, 64];
  const [x, rows] = [normal(R * C), normal(3 * C)];
  const places = [39, 0, 17];
  const expected = x.slice();
  places.forEach((place, n) => expected.set(rows.subarray(n * C, (n + 1) * C), place * C));
  const error = scope(() =>
    greatest(
      putRows(floats(x.slice(), [R, C]), ints(Int32Array.from(places), [3]), floats(rows, [3, C])).values(),
      expected,
    ),
  );
  checked(
    'putRows (InplaceUpdate): ' +
      `${error === 0 ? 'the rows are there, the others as they were' : `greatest error ${error}`}`,
    error === 0,
  );
}

/** 1 + 2^-12 needs more bits of the fraction than TF32's 10, and 1 + 2^-9 more than bfloat16's 7. */
function keptBits(): void {
  const N = 64;
  const product = (value: number) =>
    scope(() => matmul(floats(new Float32Array(N * N).fill(value), [N, N]), floats(identity(N), [N, N])).values()[0]!);
  const [fine, coarse] = [product(1 + 2 ** -12) === 1 + 2 ** -12, product(1 + 2 ** -9) === 1 + 2 ** -9];
  const text = `${computePolicy} products ${fine ? 'keep' : 'lose'} the 12th bit, ${coarse ? 'keep' : 'lose'} the 9th`;
  const expected = { fp32: fine && coarse, tf32: onGpu ? !fine && coarse : fine, bf16: !coarse }[computePolicy];
  checked(text, expected);
}

function identity(N: number): Float32Array {
  const values = new Float32Array(N * N);
  for (let n = 0; n < N; n += 1) values[n * N + n] = 1;
  return values;
}

function memory(): void {
  const megabytes = megabytesTaken();
  if (onGpu && megabytes !== null)
    checked(
      `memory growth: ${megabytes} MB of the card after these, of at most ${MOST_MEGABYTES}`,
      megabytes <= MOST_MEGABYTES,
    );
  else seen('memory growth: not seen, as there is no GPU');
}

/**
 * @param folder contains product.safetensors, with x, y and their product in float64 rounded to float32; and
 *   product.json, with PyTorch's own errors.
 */
function product(folder: string): void {
  using file = new SafetensorsFile(join(folder, 'product.safetensors'));
  const pytorch = JSON.parse(readFileSync(join(folder, 'product.json'), 'utf8')) as Record<string, number>;
  const [N, K, M] = [512, 768, 1024];
  const exact = file.float32('exact');
  const [x, y] = [floats(file.float32('x').slice(), [N, K]), floats(file.float32('y').slice(), [K, M])];
  const result = matmul(x, y);
  const error = greatest(result.values(), exact) / exact.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  release(x, y, result);
  const theirs = pytorch[computePolicy]!;
  const bound = 3 * theirs + 1e-6; // sums in a different order; on a CPU, bf16 may also be rounded later
  checked(
    `product [${N}, ${K}] [${K}, ${M}] in ${computePolicy}: greatest error ${error.toExponential(1)} of the ` +
      `largest element, PyTorch's ${theirs.toExponential(1)}; bound ${bound.toExponential(1)}`,
    error <= bound,
  );
}

step(async () => {
  const folder = process.argv[2];
  if (folder !== undefined) {
    product(folder);
    keptBits();
    return;
  }
  doctor();
  addRowsSums(checked);
  putRowsPuts();
  const before = liveTensors(); // including the constants
  addRowsSums(() => undefined);
  checked(`tensors ${before} before, ${liveTensors()} after the same again`, liveTensors() === before);
  memory();
});
