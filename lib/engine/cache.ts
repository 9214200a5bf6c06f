/**
 * The keys and values of the rows that are being continued: for each layer [nh, B, S, hs], of each row's tokens from
 * its first on, with room after them.
 */
import { scope, type Handle } from './handle';
import type { KeysAndValues, Past } from './layers';
import { concat, fill, gather, ints } from './ops';

export type Cache = readonly KeysAndValues[];

/** Positions that a cache grows by: it is copied then, and looked at as a whole in every step. */
const ROOM = 64;

/** The rows and positions that there are. */
export function sizeOf(cache: Cache): { B: number; S: number } {
  const [, B, S] = cache[0]!.k.shape as [number, number, number];
  return { B, S };
}

/** A cache for at least `length` positions; takes over `cache`. */
export function withRoom(cache: Cache, length: number, most: number): Cache {
  return sizeOf(cache).S >= length ? cache : extended(cache, Math.min(length + ROOM, most));
}

function extended(cache: Cache, length: number): Cache {
  const [nHead, B, S, hs] = cache[0]!.k.shape as [number, number, number, number];
  if (S === length) return cache;
  return scope(() => {
    const room = fill([nHead, B, length - S, hs], 0); // what is never looked at must still be finite
    return eachInTurn(cache, (x) => concat([x, room], 2));
  });
}

/** The rows of one cache before those of another; takes over both. */
export function join(first: Cache | undefined, second: Cache): Cache {
  if (first === undefined) return second;
  const length = Math.max(sizeOf(first).S, sizeOf(second).S);
  const [before, after] = [extended(first, length), extended(second, length)];
  return scope(() =>
    eachInTurn(before, (x, layer, part) => {
      using rows = after[layer]![part];
      return concat([x, rows], 1);
    }),
  );
}

/** Rows of a cache by their numbers, some of them several times perhaps; takes over `cache`. */
export function keepRows(cache: Cache, rows: readonly number[]): Cache {
  const { B } = sizeOf(cache);
  if (rows.length === B && rows.every((row, n) => row === n)) return cache;
  return scope(() => {
    const indices = ints(Int32Array.from(rows), [rows.length]);
    return eachInTurn(cache, (x) => gather(x, indices, 1));
  });
}

/**
 * A cache of what `change` makes of each tensor, which is freed at once: two whole caches at a time would be too much.
 */
function eachInTurn(cache: Cache, change: (x: Handle, layer: number, part: 'k' | 'v') => Handle): Cache {
  const changed = (x: Handle, layer: number, part: 'k' | 'v') => {
    using former = x;
    return change(former, layer, part);
  };
  return cache.map(({ k, v }, layer) => ({ k: changed(k, layer, 'k'), v: changed(v, layer, 'v') }));
}

/** The cache as what attention writes into: each row's next key at its position. */
export function pastOf(cache: Cache, positions: readonly number[]): readonly Past[] {
  const [nHead, B, S] = cache[0]!.k.shape as [number, number, number];
  const places = ints(
    Int32Array.from({ length: nHead * B }, (_, row) => row * S + positions[row % B]!),
    [nHead * B],
  );
  return cache.map((layer) => ({ ...layer, places }));
}
