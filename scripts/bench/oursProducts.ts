/** A matrix product, many times, by the layers' `matmul`: in bf16, of factors that are rounded already. */
import { release } from 'alignbook/dist/engine/handle';
import { floats } from 'alignbook/dist/engine/ops';
import { asFactor, matmul } from 'alignbook/dist/engine/products';

import type { Task } from './cases';
import { inTurns } from './protocol';

/** The same numbers as in theirs_products.py, between -0.5 and 0.5. */
const factor = (height: number, width: number) =>
  floats(
    Float32Array.from({ length: height * width }, (_, n) => (((n * 7919) % 1013) - 506) / 1013),
    [height, width],
  );

async function main({ product: [rows, inner, columns] = [1, 1, 1], times = 1 }: Task): Promise<void> {
  const [x, y] = [asFactor(factor(rows, inner)), asFactor(factor(inner, columns))];
  await inTurns(() => {
    for (let n = 1; n < times; n += 1) release(matmul(x, y));
    using product = matmul(x, y);
    return Promise.resolve([...product.values().slice(-columns).slice(0, 4)]);
  });
}

void main(JSON.parse(process.argv[2]!) as Task);
