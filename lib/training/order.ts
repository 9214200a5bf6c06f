/** How many steps there are, and which rows come when: epoch after epoch, each in an order of its own. */
import { InputError } from '../errors';
import { Random } from '../random';
import { RANGES, requireRange, requireRanges } from '../ranges';

export interface Duration {
  /** Steps in all. Either this or `epochs` is given. */
  steps?: number;
  /** Or: how often each row comes; 0.5 is every second row once. */
  epochs?: number;
}

/** @throws InputError unless one of the two is given, and in its range. */
export function requireDuration({ steps, epochs }: Duration): void {
  if ((steps === undefined) === (epochs === undefined)) throw new InputError('give either steps or epochs');
  requireRanges({ steps, epochs }, RANGES.training);
}

/** @throws InputError as `requireDuration` does, or if the epochs come to more steps than a run may have. */
export function stepCount(duration: Duration, rows: number, batchSize: number): number {
  requireDuration(duration);
  const { steps, epochs } = duration;
  if (epochs === undefined) return steps!;
  const count = Math.ceil((epochs * rows) / batchSize);
  if (count > RANGES.training.steps.most!)
    throw new InputError(
      `epochs ${epochs} of ${rows} rows are ${count} steps; a run may have ${RANGES.training.steps.most}, so lower epochs`,
    );
  return count;
}

export interface OrderOptions {
  batchSize: number;
  seed: number;
  /**
   * Of each row, to put rows of much the same length into one batch, which then holds little padding. Default: in any
   * order.
   */
  lengths?: readonly number[];
}

/**
 * Rows are sorted by length within so many batches, as transformers' LengthGroupedSampler does it; in more, they would
 * come in much the same order in every epoch.
 */
const SORTED_BATCHES = 50;

/**
 * The rows of the n-th batch, n from 0 up. A pure function of the options and n: a resumed run needs no state for it.
 * Batches
 * run on over the ends of epochs, so that every batch is full.
 */
export function batchOrder(rows: number, { batchSize, seed, lengths }: OrderOptions): (batch: number) => number[] {
  if (rows < 1) throw new InputError('there are no rows to train on');
  requireRange('batchSize', batchSize, RANGES.training.batchSize);
  const epochs = new Map<number, number[]>();
  const orderOf = (epoch: number): number[] => {
    const known = epochs.get(epoch);
    if (known) return known;
    for (const old of epochs.keys()) if (old < epoch - 1) epochs.delete(old);
    const random = randomOf(seed, epoch);
    const shuffled = random.shuffle(Array.from({ length: rows }, (_, row) => row));
    const made = lengths ? grouped(shuffled, lengths, batchSize, random) : shuffled;
    epochs.set(epoch, made);
    return made;
  };
  return (batch) =>
    Array.from({ length: batchSize }, (_, n) => {
      const place = batch * batchSize + n;
      return orderOf(Math.floor(place / rows))[place % rows]!;
    });
}

/**
 * The draws of the n-th epoch, or step: a function of the seed and n alone, so that a resumed run needs no state for
 * them.
 */
export function randomOf(seed: number, n: number): Random {
  const seeds = new Random(seed);
  for (let skipped = 0; skipped < n; skipped += 1) seeds.uint32();
  return new Random(seeds.uint32());
}

/**
 * Batches of rows of much the same length, themselves in a random order; the longest rows come first, so that what
 * memory cannot hold fails at once.
 */
function grouped(order: readonly number[], lengths: readonly number[], batchSize: number, random: Random): number[] {
  const stretch = SORTED_BATCHES * batchSize;
  const batches: number[][] = [];
  for (let start = 0; start < order.length; start += stretch) {
    const sorted = order.slice(start, start + stretch).sort((a, b) => lengths[b]! - lengths[a]!);
    for (let at = 0; at < sorted.length; at += batchSize) batches.push(sorted.slice(at, at + batchSize));
  }
  const full = batches.filter((batch) => batch.length === batchSize);
  const longest = full.reduce((best, batch, n) => (lengths[batch[0]!]! > lengths[full[best]![0]!]! ? n : best), 0);
  const first = full.splice(longest, 1);
  return [...first, ...random.shuffle(full), ...batches.filter((batch) => batch.length < batchSize)].flat();
}
