/** Which rows of a file are taken: all, the first, or some at random. */
import { Random } from '../random';
import { RANGES, requireRange } from '../ranges';

export interface Selection {
  /** Take at most this number of rows of each file or data set. Default: all. */
  readonly limit?: number | undefined;
  /** Shuffle the rows by this seed before the limit applies. Default: the file's order. */
  readonly shuffleSeed?: number | undefined;
}

/**
 * Yields the rows that are selected. With a seed, a smaller limit takes the first rows of what a larger one takes, and
 * no more than twice `limit` rows are in memory.
 *
 * @throws InputError if the limit or the seed is out of its range.
 */
export async function* selected<Row>(
  rows: AsyncIterable<Row>,
  { limit = Infinity, shuffleSeed }: Selection,
): AsyncGenerator<Row> {
  if (limit !== Infinity) requireRange('limit', limit, RANGES.rows.limit);
  if (shuffleSeed === undefined) {
    let taken = 0;
    for await (const row of rows) {
      yield row;
      taken += 1;
      if (taken === limit) return;
    }
    return;
  }
  requireRange('shuffleSeed', shuffleSeed, RANGES.rows.shuffleSeed);
  const random = new Random(shuffleSeed);
  let drawn: { readonly key: number; readonly row: Row }[] = [];
  const first = (): typeof drawn => drawn.sort((a, b) => a.key - b.key).slice(0, limit);
  for await (const row of rows) {
    drawn.push({ key: random.uniform(), row });
    if (drawn.length >= 2 * limit) drawn = first();
  }
  for (const { row } of first()) yield row;
}
