/** Low-rank differences: added to a model's weights, or joined into one. */
import { join } from 'node:path';

import { scope } from '../engine/handle';
import { add, floats, mul, scalar } from '../engine/ops';
import { matmul } from '../engine/products';
import type { Variables } from '../engine/variables';
import { FileError } from '../errors';
import { ADAPTER_WEIGHTS, type LowRank } from '../formats/peftAdapter';

/**
 * Adds an adapter to the weights of its base model, in place: W + scale A B.
 *
 * @param folder the adapter's, for messages.
 * @throws FileError if the model lacks one of the adapter's matrices, or has it in another shape.
 */
export function addDifferences(weights: Variables, differences: ReadonlyMap<string, LowRank>, folder: string): void {
  requireFit(weights, differences, folder);
  for (const [name, { a, b, shape, rank, scale }] of differences) {
    const sum = scope(() => {
      const product = matmul(floats(a, [shape[0], rank]), floats(b, [rank, shape[1]]));
      return add(floats(weights.values(name), shape), mul(product, scalar(scale))).values() as Float32Array;
    });
    weights.assign(name, sum);
  }
}

/** @throws FileError as `addDifferences` does. */
export function requireFit(weights: Variables, differences: ReadonlyMap<string, LowRank>, folder: string): void {
  const path = join(folder, ADAPTER_WEIGHTS);
  for (const [name, { shape }] of differences) {
    const matrix = name.replace(/\.weight$/, '');
    if (!weights.names.includes(name))
      throw new FileError(path, `adapts ${matrix}, which its base model lacks; name its own base model`);
    const own = weights.shape(name);
    if (own.join() !== shape.join())
      throw new FileError(
        path,
        `adapts ${matrix} as [${shape.join(', ')}], but the base model has it as [${own.join(', ')}]; ` +
          'name its own base model',
      );
  }
}

/**
 * Two adapters that were added one after the other, as one: [A1 A2] and [scale1 B1; scale2 B2], with scale 1. A matrix
 * that only one of them adapts keeps that one.
 */
export function stacked(
  first: ReadonlyMap<string, LowRank>,
  second: ReadonlyMap<string, LowRank>,
): Map<string, LowRank> {
  const both = new Map(first);
  for (const [name, added] of second) {
    const under = first.get(name);
    both.set(name, under === undefined ? added : joined(under, added));
  }
  return both;
}

function joined(one: LowRank, two: LowRank): LowRank {
  const [from] = one.shape;
  const rank = one.rank + two.rank;
  const a = new Float32Array(from * rank);
  for (let row = 0; row < from; row += 1) {
    a.set(one.a.subarray(row * one.rank, (row + 1) * one.rank), row * rank);
    a.set(two.a.subarray(row * two.rank, (row + 1) * two.rank), row * rank + one.rank);
  }
  const b = new Float32Array(rank * one.shape[1]);
  b.set(one.b.map((value) => one.scale * value));
  b.set(
    two.b.map((value) => two.scale * value),
    one.b.length,
  );
  return { a, b, shape: one.shape, rank, scale: 1 };
}
