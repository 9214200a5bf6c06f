/** Which rows come when: epoch after epoch, each in an order of its own. */
import { InputError } from '../errors';
import { Random } from '../random';

/**
 * The rows of the n-th batch, n from 0 up. A pure function of the seed and n: a resumed run needs no state for it. Batches run
 * on over the ends of epochs, so that every batch is full.
 */
export function batchOrder(rows: number, { batchSize, seed }: { batchSize: number; seed: number }): (batch: number) => number[] {
  if (rows < 1) throw new InputError('there are no rows to train on');
  if (!Number.isInteger(batchSize) || batchSize < 1) throw new InputError(`batchSize must be a whole number from 1 up, got ${batchSize}`);
  const epochs = new Map<number, number[]>();
  const orderOf = (epoch: number): number[] => {
    const known = epochs.get(epoch);
    if (known) return known;
    for (const old of epochs.keys()) if (old < epoch - 1) epochs.delete(old);
    const seeds = new Random(seed);
    for (let skipped = 0; skipped < epoch; skipped += 1) seeds.uint32();
    const made = new Random(seeds.uint32()).shuffle(Array.from({ length: rows }, (_, row) => row));
    epochs.set(epoch, made);
    return made;
  };
  return (batch) => Array.from({ length: batchSize }, (_, n) => {
    const place = batch * batchSize + n;
    return orderOf(Math.floor(place / rows))[place % rows]!;
  });
}
