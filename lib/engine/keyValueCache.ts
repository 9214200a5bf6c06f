/**
 * The keys and values of the rows being continued: for each layer [nh, B, S, hs], those of each row's tokens from its
 * first on, then room for more.
 */
import type { KeysAndValues, Past } from './attention';
import { scope, type Handle } from './handle';
import { concat, fill, gather, ints } from './ops';
import { asFactor } from './products';

export type Cache = readonly KeysAndValues[];

/** Positions that a cache grows by. Growing copies it, and TensorFlow's operations attend over all of it. */
const ROOM = 64;

/** Its rows and positions. */
export function sizeOf(cache: Cache): { B: number; S: number } {
  const [, B, S] = cache[0]!.k.shape as [number, number, number];
  return { B, S };
}

/** A cache with room for at least `length` positions, at most `most`; takes over `cache`. */
export function withRoom(cache: Cache, length: number, most: number): Cache {
  return sizeOf(cache).S >= length ? cache : extended(cache, Math.min(length + ROOM, most));
}

function extended(cache: Cache, length: number): Cache {
  const [nHead, B, S, hs] = cache[0]!.k.shape as [number, number, number, number];
  if (S === length) return cache;
  return scope(() => {
    const room = asFactor(fill([nHead, B, length - S, hs], 0)); // no token attends to it, but it must be finite
    return eachInTurn(cache, (x) => concat([x, room], 2));
  });
}

/** The rows of one cache, then those of another; takes over both. */
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

/** The rows of a cache at the given indices, which may repeat; takes over `cache`. */
export function keepRows(cache: Cache, rows: readonly number[]): Cache {
  const { B } = sizeOf(cache);
  if (rows.length === B && rows.every((row, n) => row === n)) return cache;
  return scope(() => {
    const indices = ints(Int32Array.from(rows), [rows.length]);
    return eachInTurn(cache, (x) => gather(x, indices, 1));
  });
}

/** Applies `change` to each tensor of a cache and frees that tensor at once: two whole caches would take too much. */
function eachInTurn(cache: Cache, change: (x: Handle, layer: number, part: 'k' | 'v') => Handle): Cache {
  const changed = (x: Handle, layer: number, part: 'k' | 'v') => {
    using former = x;
    return change(former, layer, part);
  };
  return cache.map(({ k, v }, layer) => ({ k: changed(k, layer, 'k'), v: changed(v, layer, 'v') }));
}

/** The cache in the form that attention writes to: each row's next key and value at its position. */
export function pastOf(cache: Cache, positions: Int32Array): readonly Past[] {
  const [nHead, B, S] = cache[0]!.k.shape as [number, number, number];
  const places = ints(
    Int32Array.from({ length: nHead * B }, (_, row) => row * S + positions[row % B]!),
    [nHead * B],
  );
  return cache.map((layer) => ({ ...layer, places }));
}
