/** How many steps a training has, and which rows each step takes: epoch after epoch, each in its own random order. */
import { InputError, plural } from '../errors';
import { Random } from '../random';
import { RANGES, requireRange, requireRanges } from '../ranges';

export interface Duration {
  /** Total number of steps. Give either this or `epochs`. */
  steps?: number;
  /** Passes over the rows; 0.5 uses every second row once. */
  epochs?: number;
}

/** @throws InputError unless exactly one of the two is given and in its range. */
export function requireDuration({ steps, epochs }: Duration): void {
  if ((steps === undefined) === (epochs === undefined)) throw new InputError('give either steps or epochs');
  requireRanges({ steps, epochs }, RANGES.training);
}

/** @throws InputError as `requireDuration` does, or if the epochs take more steps than a run may have. */
export function stepCount(duration: Duration, rows: number, batchSize: number): number {
  requireDuration(duration);
  const { steps, epochs } = duration;
  if (epochs === undefined) return steps!;
  const count = Math.ceil((epochs * rows) / batchSize);
  if (count > RANGES.training.steps.most!)
    throw new InputError(
      `epochs ${epochs} over ${plural(rows, 'row')} are ${plural(count, 'step')}, ` +
        `more than the ${RANGES.training.steps.most} allowed; lower epochs`,
    );
  return count;
}

export interface OrderOptions {
  batchSize: number;
  seed: number;
  /**
   * The length of each row, to put rows of similar length into one batch, which then needs little padding. Default:
   * lengths do not matter.
   */
  lengths?: readonly number[];
}

/**
 * Rows are sorted by length within this many batches, as in transformers' LengthGroupedSampler; within more, they would
 * come in nearly the same order in every epoch.
 */
const SORTED_BATCHES = 50;

/**
 * The indices of the rows of the n-th batch, n from 0 up. A pure function of the options and n, so a resumed run needs
 * no state for it. Batches continue across the ends of epochs, so every batch is full.
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

/** The random numbers of the n-th epoch or step: a function of seed and n alone, so a resumed run needs no state. */
export function randomOf(seed: number, n: number): Random {
  const seeds = new Random(seed);
  for (let skipped = 0; skipped < n; skipped += 1) seeds.uint32();
  return new Random(seeds.uint32());
}

/**
 * Batches of rows of similar length, in a random order, but with the longest rows first, so that a batch too large for
 * memory fails at once.
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
