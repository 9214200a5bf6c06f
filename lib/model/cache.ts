/** The keys and values of the rows that are being continued: for each layer [nh, B, S, hs], of each row's tokens from its first on, with room after them. */
import { release, scope } from './handle';
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
  const longer = scope(() => {
    const room = fill([nHead, B, length - S, hs], 0); // what is never looked at must still be finite
    return cache.map(({ k, v }) => ({ k: concat([k, room], 2), v: concat([v, room], 2) }));
  });
  release(cache);
  return longer;
}

/** The rows of one cache before those of another; takes over both. */
export function join(first: Cache | undefined, second: Cache): Cache {
  if (first === undefined) return second;
  const length = Math.max(sizeOf(first).S, sizeOf(second).S);
  const parts = [extended(first, length), extended(second, length)] as const;
  const joined = scope(() => parts[0].map(({ k, v }, layer) => ({ k: concat([k, parts[1][layer]!.k], 1), v: concat([v, parts[1][layer]!.v], 1) })));
  release(...parts);
  return joined;
}

/** Rows of a cache by their numbers, some of them several times perhaps; takes over `cache`. */
export function keepRows(cache: Cache, rows: readonly number[]): Cache {
  const { B } = sizeOf(cache);
  if (rows.length === B && rows.every((row, n) => row === n)) return cache;
  const kept = scope(() => {
    const indices = ints(Int32Array.from(rows), [rows.length]);
    return cache.map(({ k, v }) => ({ k: gather(k, indices, 1), v: gather(v, indices, 1) }));
  });
  release(cache);
  return kept;
}

/** The cache as what attention writes into: each row's next key at its position. */
export function pastOf(cache: Cache, positions: readonly number[]): readonly Past[] {
  const [nHead, B, S] = cache[0]!.k.shape as [number, number, number];
  const places = ints(Int32Array.from({ length: nHead * B }, (_, row) => row * S + positions[row % B]!), [nHead * B]);
  return cache.map((layer) => ({ ...layer, places }));
}
