/** One product of a few rows, for fewRows.test.ts; run as a program, many of them on three threads of Node at once. */
import { isMainThread, parentPort, Worker } from 'node:worker_threads';

import { Random } from 'alignbook';
import { release } from 'alignbook/dist/engine/handle';
import { floats } from 'alignbook/dist/engine/ops';
import { matmul } from 'alignbook/dist/engine/products';

const [M, K, N] = [3, 1024, 600];
const PRODUCTS = 300;
const WORKERS = 2;

function factors(seed: number) {
  const random = new Random(seed);
  const matrix = (rows: number, columns: number) =>
    floats(
      Float32Array.from({ length: rows * columns }, () => random.normal()),
      [rows, columns],
    );
  return [matrix(M, K), matrix(K, N)] as const;
}

/** @returns [M * N] */
export function fewRowsOf(seed: number): Float32Array {
  const [x, y] = factors(seed);
  const product = matmul(x, y);
  const values = product.values().slice() as Float32Array;
  release(x, y, product);
  return values;
}

/** The first of many products, and how many of the others differ from it. */
function many(seed: number): { first: number[]; differing: number } {
  const [x, y] = factors(seed);
  let first: Float32Array | undefined;
  let differing = 0;
  for (let n = 0; n < PRODUCTS; n += 1) {
    using product = matmul(x, y);
    const values = product.values().slice() as Float32Array;
    first ??= values;
    if (values.some((value, i) => value !== first![i])) differing += 1;
  }
  release(x, y);
  return { first: [...first!], differing };
}

async function main(): Promise<void> {
  const seed = Number(process.argv[2]);
  if (!isMainThread) return parentPort!.postMessage(many(seed));
  const others = Array.from(
    { length: WORKERS },
    () =>
      new Promise<ReturnType<typeof many>>((resolve, reject) => {
        new Worker(__filename, { argv: [String(seed)] }).on('message', resolve).on('error', reject);
      }),
  );
  const own = many(seed);
  const results = [own, ...(await Promise.all(others))];
  const unlike = results.filter(({ first }) => first.some((value, i) => value !== own.first[i])).length;
  const differing = results.reduce((sum, result) => sum + result.differing, unlike);
  console.log(JSON.stringify({ first: own.first, differing }));
}

if (require.main === module || !isMainThread) void main();
