/** Packs rows of different lengths into as few windows of one length as is easily done. */
import { InputError, plural } from '../errors';

/**
 * Best-fit decreasing: from the longest row to the shortest, each goes into the window with the least room that it fits
 * into, or begins a window. The windows are those of TRL's `pack_dataset` with the strategy `bfd`
 * (https://arxiv.org/abs/2404.10830), which packs a thousand rows at a time; here all are packed together.
 *
 * @param lengths tokens of each row, at least 1.
 * @param capacity the most tokens in a window.
 * @returns for each window the indices of its rows, the longest first. Among equal lengths, and among windows with
 *   equal room, the earlier comes first.
 * @throws InputError naming a row that is longer than a window, counted from 1.
 */
export function packed(lengths: readonly number[], capacity: number): number[][] {
  const wrong = lengths.findIndex((length) => length > capacity);
  if (wrong >= 0)
    throw new InputError(
      `row ${wrong + 1} has ${plural(lengths[wrong]!, 'token')}, more than a window of ${capacity}; ` +
        'shorten it, or leave it out',
    );
  const windows: number[][] = [];
  /** The windows with each amount of room, in the order in which they came to it. */
  const withRoom = Array.from({ length: capacity }, (): Queue => ({ windows: [], taken: 0 }));
  const longestFirst = lengths.map((_, row) => row).sort((a, b) => lengths[b]! - lengths[a]!);
  for (const row of longestFirst) {
    let room = lengths[row]!;
    while (room < capacity && withRoom[room]!.taken === withRoom[room]!.windows.length) room += 1;
    let window: number;
    if (room === capacity) window = windows.push([]) - 1;
    else {
      const queue = withRoom[room]!;
      window = queue.windows[queue.taken]!;
      queue.taken += 1;
    }
    windows[window]!.push(row);
    withRoom[room - lengths[row]!]!.windows.push(window);
  }
  return windows;
}

/** Windows in the order in which they came; the first `taken` have left. */
interface Queue {
  readonly windows: number[];
  taken: number;
}
