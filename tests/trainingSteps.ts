/** Shared by the tests of the trainers: the steps of a training, and rows in an order that it takes. */
import assert from 'node:assert/strict';

import { batchOrder } from 'alignbook';

export async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export function near(actual: number, expected: number, tolerance: number, what: string): void {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${what}: ${actual} instead of ${expected}`);
}

/** Rows arranged so that the trainer's own shuffling gives the wanted order. */
export function ordered<Row>(rows: readonly Row[], order: readonly number[], batchSize: number, seed = 0): Row[] {
  const place = batchOrder(order.length, { batchSize, seed });
  const laid: Row[] = [];
  for (let n = 0; n < order.length; n += 1) laid[place(Math.floor(n / batchSize))[n % batchSize]!] = rows[order[n]!]!;
  return laid;
}
