/** GPT-2 below its heads, over rows of tokens: the hidden states of some of them, and the way back to the weights. */
import { InputError } from '../errors';
import type { GPT2Config } from '../formats/config';
import type { TokenRows } from '../text/responseBatch';
import { attentionBias, blocks, type BlocksOptions } from './blocks';
import { embeddingGradient, type HeadGradient } from './embeddingGradient';
import { release, type Handle } from './handle';
import {
  blockBackward,
  type BlockSaved,
  type KeysAndValues,
  type Padding,
  type Read,
  type WeightGradients,
} from './layers';
import { ints, segmentSum } from './ops';

/** What the forward pass leaves for the backward pass. */
export type TrunkSaved = {
  readonly ids: Handle;
  readonly positions: Handle;
  readonly from: Handle;
  readonly padding?: Padding;
  readonly blocks: BlockSaved[];
};

/**
 * The last block's output, before the final layer norm, of the tokens `from` [M], by their indices in the batch.
 *
 * @returns hidden [M, C]; of `saved`, `blocks` is empty unless activations are kept; `cache` is, unless it is.
 * @throws InputError if an id or a position does not fit the model.
 */
export function trunk(
  { shape: [B, T], ids, positions, tokens, visible }: TokenRows,
  from: Int32Array,
  read: Read,
  config: GPT2Config,
  keep: NonNullable<BlocksOptions['keep']>,
): { hidden: Handle; saved: TrunkSaved; cache: KeysAndValues[] } {
  within('ids', ids, config.vocabSize);
  within('positions', positions, config.blockSize);
  const number = new Int32Array(B * T); // of the token at a place
  tokens.forEach((place, n) => (number[place] = n));
  const ofTokens = (values: Int32Array) =>
    ints(
      tokens.map((place) => values[place]!),
      [tokens.length],
    );
  const padding =
    tokens.length === B * T ? undefined : { padded: ints(number, [B * T]), tokens: ints(tokens, [tokens.length]) };
  const places = {
    ids: ofTokens(ids),
    positions: ofTokens(positions),
    from: ints(
      from.map((place) => number[place]!),
      [from.length],
    ),
    ...(padding && { padding }),
  };
  using bias = attentionBias(visible, [B, T, T]);
  const { y, saved, cache } = blocks(places.ids, places.positions, bias, read, config, {
    keep,
    padding,
    only: places.from,
  });
  return { hidden: y, saved: { ...places, blocks: saved }, cache };
}

/**
 * From the gradient with respect to `hidden` to those of the weights below, no deeper than the lowest block that has
 * one that is
 * wanted. Frees the activations as it goes, and `dHidden`.
 *
 * @param dHead the head's share of the gradient of `wte.weight`, where a head is tied to the embedding; it is taken
 *   over.
 */
export function trunkBackward(
  dHidden: Handle,
  { ids, positions, from, padding, blocks: saved }: TrunkSaved,
  read: Read,
  config: GPT2Config,
  names: readonly string[],
  gradients: WeightGradients,
  dHead?: HeadGradient,
): void {
  const embeddings = gradients.wants('wte.weight') || gradients.wants('wpe.weight');
  const depth = embeddings
    ? 0
    : saved.findIndex((_, layer) => names.some((name) => name.startsWith(`h.${layer}.`) && gradients.wants(name)));
  if (depth < 0) return;
  const last = saved.length - 1;
  let dx = dHidden;
  for (let layer = last; layer >= depth; layer -= 1) {
    const before = blockBackward(dx, saved[layer]!, read, layer, config, gradients, {
      padding,
      only: layer === last ? from : undefined,
    });
    release(dx, saved[layer]);
    dx = before;
  }
  gradients.put('wpe.weight', () => segmentSum(dx, positions, config.blockSize));
  gradients.put('wte.weight', () =>
    dHead ? embeddingGradient(dHead, ids, dx) : segmentSum(dx, ids, config.vocabSize),
  );
  release(dx);
}

/** @throws InputError naming the first value that is not from 0 to `limit` - 1. */
export function within(name: string, values: Int32Array, limit: number): void {
  const wrong = values.find((value) => value < 0 || value >= limit);
  if (wrong !== undefined) throw new InputError(`${name} must lie from 0 to ${limit - 1}, got ${wrong}`);
}
