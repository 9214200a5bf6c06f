/** GPT-2 below its heads, over a batch of responses: the hidden states of some tokens, and the way back to the weights. */
import { InputError } from '../errors';
import type { ResponseBatch } from '../text/responseBatch';
import { attentionBias, blocks } from './blocks';
import type { GPT2Config } from './config';
import { release, type Handle } from './handle';
import { blockBackward, type BlockSaved, type Read, type WeightGradients } from './layers';
import { add, gather, ints, segmentSum } from './ops';

/** What the forward pass leaves for the backward pass. */
export type TrunkSaved = {
  readonly ids: Handle;
  readonly positions: Handle;
  readonly from: Handle;
  readonly blocks: BlockSaved[];
};

/**
 * The last block's output, before the final layer norm, of the tokens `from` [M], by their indices in the batch.
 *
 * @returns hidden [M, C]; of `saved`, `blocks` is empty unless activations are kept.
 * @throws InputError if an id or a position does not fit the model.
 */
export function trunk({ shape: [B, T], ids, positions, visible }: ResponseBatch, from: Int32Array, read: Read, config: GPT2Config, keep: 'nothing' | 'activations'): { hidden: Handle; saved: TrunkSaved } {
  within('ids', ids, config.vocabSize);
  within('positions', positions, config.blockSize);
  const places = { ids: ints(ids, [B * T]), positions: ints(positions, [B * T]), from: ints(from, [from.length]) };
  using bias = attentionBias(visible, [B, T, T]);
  const { y, saved } = blocks(places.ids, places.positions, bias, read, config, { keep });
  using x = y;
  return { hidden: gather(x, places.from), saved: { ...places, blocks: saved } };
}

/**
 * From the gradient with respect to `hidden` to those of the weights below, no deeper than the lowest block that has one that is
 * wanted. Frees the activations as it goes.
 *
 * @param dHead [V, C], the head's share of the gradient of `wte.weight`, where a head is tied to the embedding.
 */
export function trunkBackward(dHidden: Handle, { ids, positions, from, blocks: saved }: TrunkSaved, read: Read, { vocabSize, blockSize }: GPT2Config, names: readonly string[], gradients: WeightGradients, dHead?: Handle): void {
  const embeddings = gradients.wants('wte.weight') || gradients.wants('wpe.weight');
  const depth = embeddings ? 0 : saved.findIndex((_, layer) => names.some((name) => name.startsWith(`h.${layer}.`) && gradients.wants(name)));
  if (depth < 0) return;
  let dx = segmentSum(dHidden, from, ids.shape[0]!);
  for (let layer = saved.length - 1; layer >= depth; layer -= 1) {
    const before = blockBackward(dx, saved[layer]!, read, `h.${layer}`, gradients);
    release(dx, saved[layer]!);
    dx = before;
  }
  gradients.put('wpe.weight', () => segmentSum(dx, positions, blockSize));
  gradients.put('wte.weight', () => {
    const dTokens = segmentSum(dx, ids, vocabSize);
    if (dHead === undefined) return dTokens;
    using ofTokens = dTokens;
    return add(dHead, ofTokens);
  });
  release(dx);
}

/** @throws InputError naming the first value that is not from 0 to `limit` - 1. */
export function within(name: string, values: Int32Array, limit: number): void {
  const wrong = values.find((value) => value < 0 || value >= limit);
  if (wrong !== undefined) throw new InputError(`${name} must lie from 0 to ${limit - 1}, got ${wrong}`);
}
