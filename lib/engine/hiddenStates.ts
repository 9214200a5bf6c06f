/** Batches of token rows -> the hidden states of some of their tokens, and the way back to the weights. */
import { InputError } from '../errors';
import type { GPT2Config } from '../formats/config';
import type { TokenRows } from '../text/responseBatch';
import type { KeysAndValues, Padding } from './attention';
import { embeddingGradient, type HeadGradient } from './gradients';
import { release, type Handle } from './handle';
import type { Read, WeightGradients } from './layers';
import { ints, segmentSum } from './ops';
import {
  attentionBias,
  transformer,
  transformerBackward,
  type BlockSaved,
  type TransformerOptions,
} from './transformer';

/** The part of the forward pass that the backward pass needs. */
export type HiddenStatesSaved = {
  readonly ids: Handle;
  readonly positions: Handle;
  readonly from: Handle;
  readonly bias: Handle;
  readonly padding?: Padding;
  readonly blocks: BlockSaved[];
};

/**
 * The last block's output, before the final layer norm, at the tokens `from` [M], which are indices into [B * T].
 *
 * @returns hidden [M, C] float32; `saved.blocks` is empty unless `keep` is 'activations' or 'inputs', `cache` unless it
 *   is 'cache'.
 * @throws InputError if an id or a position does not fit the model.
 */
export function hiddenStates(
  { shape: [B, T], ids, positions, tokens, visible }: TokenRows,
  from: Int32Array,
  read: Read,
  config: GPT2Config,
  keep: NonNullable<TransformerOptions['keep']>,
): { hidden: Handle; saved: HiddenStatesSaved; cache: KeysAndValues[] } {
  requireBelow('ids', ids, config.vocabSize);
  requireBelow('positions', positions, config.blockSize);
  const N = tokens.length;
  const tokenAt = new Int32Array(B * T); // place -> token
  tokens.forEach((place, n) => (tokenAt[place] = n));
  const ofTokens = (values: Int32Array) => tokens.map((place) => values[place]!);
  const rows = {
    ids: ints(ofTokens(ids), [N]),
    positions: ints(ofTokens(positions), [N]),
    from: ints(
      from.map((place) => tokenAt[place]!),
      [from.length],
    ),
    bias: attentionBias(visible, [B, T, T]),
    ...(N < B * T && { padding: { padded: ints(tokenAt, [B * T]), tokens: ints(tokens, [N]) } }),
  };
  const { y, saved, cache } = transformer(rows.ids, rows.positions, rows.bias, read, config, {
    keep,
    padding: rows.padding,
    only: rows.from,
  });
  return { hidden: y, saved: { ...rows, blocks: saved }, cache };
}

/**
 * From the gradient with respect to `hidden` to those of the weights below, going no deeper than the lowest block with
 * a weight whose gradient is wanted. Takes over `dHidden`, and frees the activations on the way.
 *
 * @param names the model's weights.
 * @param dHead the head's part of the gradient of `wte.weight`, where the head is tied to the embedding; it is taken
 *   over.
 */
export function hiddenStatesBackward(
  dHidden: Handle,
  { ids, positions, from, bias, padding, blocks: saved }: HiddenStatesSaved,
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
  const dx = transformerBackward(dHidden, saved, depth, read, config, gradients, { bias, padding, only: from });
  gradients.put('wpe.weight', () => segmentSum(dx, positions, config.blockSize));
  gradients.put('wte.weight', () =>
    dHead ? embeddingGradient(dHead, ids, dx) : segmentSum(dx, ids, config.vocabSize),
  );
  release(dx);
}

/** @throws InputError naming the first value outside 0 to `limit` - 1. */
export function requireBelow(name: string, values: Int32Array, limit: number): void {
  const wrong = values.find((value) => value < 0 || value >= limit);
  if (wrong !== undefined) throw new InputError(`${name} must lie from 0 to ${limit - 1}, got ${wrong}`);
}
