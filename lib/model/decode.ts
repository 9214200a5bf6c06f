/**
 * One step of generation: the forward pass over whole prompts, or over each row's last token, and the choice of the
 * next.
 */
import { compiled } from '../engine/compiled';
import { scope, scoped, type Handle } from '../engine/handle';
import { hiddenStates } from '../engine/hiddenStates';
import { keepRows, pastOf, sizeOf, type Cache } from '../engine/keyValueCache';
import { layerNorm, type Read } from '../engine/layers';
import { argMaxLast, biasAdd, floats, ints, l2, mul, scalar, softmax } from '../engine/ops';
import { asFactor, isWorthPaddedCopy, matmul, padStride } from '../engine/products';
import { attentionBias, transformerStep } from '../engine/transformer';
import type { GPT2Config } from '../formats/config';
import type { Random } from '../random';
import { promptRows } from '../text/responseBatch';
import { draw, isGreedy, isPlain, nextToken, notFinite, suppression, type Sampling } from './sampling';
import type { Weights } from './weights';

/** A continuation in progress. */
export interface Row {
  readonly index: number;
  readonly prompt: readonly number[];
  readonly random: Random;
  readonly ids: number[];
  finish?: 'eos' | 'stop' | 'length';
}

/** Tokens so far. */
export const lengthOf = ({ prompt, ids }: Row): number => prompt.length + ids.length;

/** Chooses the next token of a row, given its place in the batch. */
export type Chooser = (row: Row, place: number) => number;

/** Name of the head in the form that products take. The embedding, to which it may be tied, is never rounded. */
const HEAD = 'lm_head.weight';

/**
 * Number of rows at once from which copies by `padStride` pay: those of GPT-2 124M take 114 MB, and making them takes
 * the time that they save within a few tokens. (The operation for few rows does not read such a copy.)
 */
const MANY = 16;

/**
 * The current weights, read once for all steps: each read is a call too, and a product in a model with adapters; and
 * where bfloat16 comes from rounding, rounding a matrix again for each token would cost more than its product.
 */
export function readWeights(weights: Weights, rowsAtOnce: number): ReadonlyMap<string, Handle> {
  return scope(() => {
    const read: Read = (name) => weights.read(name);
    // In a scope of its own, because with adapters a matrix that is read is a new one; only the result is kept.
    const ofBlock = scoped((name: string) => {
      const matrix = read(name);
      return rowsAtOnce >= MANY && isWorthPaddedCopy(matrix) ? padStride(matrix) : asFactor(matrix);
    });
    const isOfBlock = (name: string) => name.startsWith('h.') && weights.shape(name).length === 2;
    return new Map([
      ...weights.names.map((name) => [name, isOfBlock(name) ? ofBlock(name) : read(name)] as const),
      [HEAD, scope(() => asFactor(read(weights.headName)))],
    ]);
  });
}

/** The forward pass over the prompts, each computed once. */
export function prefill(
  config: GPT2Config,
  weights: ReadonlyMap<string, Handle>,
  rows: readonly Row[],
  options: Sampling,
): { choose: Chooser; cache: Cache } {
  const prompts = [...new Set(rows.map(({ prompt }) => prompt))];
  const places = rows.map(({ prompt }) => prompts.indexOf(prompt));
  const made = promptRows(prompts);
  const ends = Int32Array.from(prompts, (prompt, row) => row * made.shape[1] + prompt.length - 1);
  return scope(() => {
    const read: Read = (name) => weights.get(name)!;
    const { hidden, cache } = hiddenStates(made, ends, read, config, 'cache');
    const { y } = layerNorm(hidden, read, 'ln_f', config.layerNormEpsilon);
    const choose = chooser(y, read, config, options, { checked: true });
    return { choose: (row: Row, place: number) => choose(row, places[place]!), cache: keepRows(cache, places) };
  });
}

/** The forward pass over each row's last token, whose keys and values are written into `cache`. */
export function decode(
  config: GPT2Config,
  weights: ReadonlyMap<string, Handle>,
  rows: readonly Row[],
  cache: Cache,
  options: Sampling & { readonly maxNewTokens: number },
): Chooser {
  const { B, S } = sizeOf(cache);
  const positions = Int32Array.from(rows, (row) => lengthOf(row) - 1);
  const visible = new Uint8Array(B * S);
  positions.forEach((position, row) => visible.fill(1, row * S, row * S + position + 1));
  // A NaN stays in its row's cache, and such a row runs to its full length: checking the last token is enough.
  const checked = rows.some(
    (row) => row.ids.length + 1 === options.maxNewTokens || lengthOf(row) + 1 === config.blockSize,
  );
  return scope(() => {
    const read: Read = (name) => weights.get(name)!;
    const ids = ints(
      Int32Array.from(rows, ({ ids: made }) => made.at(-1)!),
      [B],
    );
    const places = ints(positions, [B]);
    const bias = attentionBias(visible, [B, 1, S]);
    const past = pastOf(cache, positions);
    const inputs = { ids, places, bias, past, weights };
    const y = compiled(JSON.stringify(config), inputs, () => {
      return layerNorm(transformerStep(ids, places, bias, read, config, past), read, 'ln_f', config.layerNormEpsilon).y;
    });
    return chooser(y, read, config, options, { checked });
  });
}

/**
 * The head over hidden states [B, C] after the final layer norm. Only the chosen tokens, or the distributions to draw
 * from, leave TensorFlow.
 *
 * @param checked whether to check the logits of greedy choices too: of NaNs, the first token is the largest. A draw
 *   notices them by itself.
 */
function chooser(
  y: Handle,
  read: Read,
  { vocabSize }: GPT2Config,
  options: Sampling,
  { checked }: { checked: boolean },
): Chooser {
  const { suppressTokens = [] } = options;
  const logitsOf = (states: Handle) => {
    const logits = matmul(states, read(HEAD), { transposeY: true }); // [B, V]
    if (checked) requireFinite(logits);
    if (suppressTokens.length === 0) return logits;
    return biasAdd(logits, floats(suppression(vocabSize, suppressTokens, -Infinity), [vocabSize]));
  };
  if (isGreedy(options)) {
    const topTokens = argMaxLast(logitsOf(y)).values();
    return (_, place) => topTokens[place]!;
  }
  const plain = isPlain(options);
  const result = plain ? softmax(logitsOf(mul(y, scalar(1 / options.temperature!)))) : logitsOf(y);
  const values = result.values() as Float32Array;
  const ofPlace = (place: number) => values.subarray(place * vocabSize, (place + 1) * vocabSize);
  if (plain) return ({ random }, place) => draw(ofPlace(place), random);
  return ({ prompt, ids, random }, place) => nextToken(ofPlace(place).slice(), options, random, [...prompt, ...ids]);
}

/** The sum of squares is computed first, as it is fast; it may overflow although every logit is finite. */
function requireFinite(logits: Handle): void {
  if (Number.isFinite(l2(logits).values()[0])) return;
  if ((logits.values() as Float32Array).some((logit) => !Number.isFinite(logit))) throw notFinite();
}
