/** GPT-2 without its ends: token ids -> embeddings -> blocks. */
import type { GPT2Config } from '../formats/config';
import { release, type Handle } from './handle';
import { block, type BlockRows, type BlockSaved, type KeysAndValues, type Past, type Read } from './layers';
import { add, floats, gather } from './ops';

/** Added to the scores of forbidden keys: their weight is then exactly 0 in float32. */
const FORBIDDEN = -1e9;

/** `only` is for the last block; all tokens go through the others. */
export interface BlocksOptions extends BlockRows {
  /**
   * What to keep of each block: all that its backward needs, or the keys and values for later positions. Default
   * nothing.
   */
  keep?: 'nothing' | 'activations' | 'cache';
  /** Keys and values of earlier positions, for each block. */
  past?: readonly Past[];
}

/**
 * @param ids [N] int32, N = B * T, or less by the padding.
 * @param positions [N] int32.
 * @param bias [B, T, S], see `attentionBias`; S is T, or that of `past`.
 * @returns y [N, C], or [M, C] by `only`, before the final layer norm, and what was to be kept of each block.
 */
export function blocks(
  ids: Handle,
  positions: Handle,
  bias: Handle,
  read: Read,
  config: GPT2Config,
  { keep = 'nothing', past, padding, only }: BlocksOptions = {},
) {
  const { nLayer } = config;
  const saved: BlockSaved[] = [];
  const cache: KeysAndValues[] = [];
  using tokens = gather(read('wte.weight'), ids);
  using places = gather(read('wpe.weight'), positions);
  let x = add(tokens, places);
  for (let layer = 0; layer < nLayer; layer += 1) {
    const result = block(x, bias, read, layer, config, {
      past: past?.[layer],
      padding,
      only: layer === nLayer - 1 ? only : undefined,
    });
    release(x);
    x = result.y;
    if (keep === 'activations') {
      saved.push(result.saved);
      continue;
    }
    const { heads, ...others } = result.saved;
    const { k, v, ...rest } = heads.saved;
    release(others, heads.y, rest);
    if (keep === 'cache') cache.push({ k, v });
    else release(k, v);
  }
  return { y: x, saved, cache };
}

/**
 * What attention adds to the score of a query and a key, from 1 where the query may look at the key: the same shape.
 */
export function attentionBias(visible: Uint8Array, shape: readonly [B: number, T: number, S: number]): Handle {
  return floats(
    Float32Array.from(visible, (sees) => (sees === 1 ? 0 : FORBIDDEN)),
    shape,
  );
}
