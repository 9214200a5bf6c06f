/** Prompts -> tokens, one after another, with the keys and values of earlier positions kept. */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { attentionBias, blocks } from '../engine/blocks';
import { join, keepRows, pastOf, sizeOf, withRoom, type Cache } from '../engine/cache';
import { release, scope, type Handle } from '../engine/handle';
import { layerNorm, type Read } from '../engine/layers';
import {
  argMaxLast,
  biasAdd,
  floats,
  ints,
  isCrowded,
  l2,
  matmul,
  mul,
  roundedMatrix,
  scalar,
  softmax,
  spaced,
} from '../engine/ops';
import { trunk } from '../engine/transformer';
import { InputError } from '../errors';
import type { GPT2Config } from '../formats/config';
import { Random } from '../random';
import { largest, RANGES, requireRanges } from '../ranges';
import { promptRows } from '../text/responseBatch';
import { bfloat16By } from '../tf';
import type { GPT2 } from './gpt2';
import { checkSampling, draw, isGreedy, isPlain, nextToken, notNumbers, suppression, type Sampling } from './sampling';
import type { Weights } from './weights';

export interface GenerateOptions extends Sampling {
  /** Default 64. A prompt that comes to the end of the model's window stops there. */
  maxNewTokens?: number;
  /** Ends a row, and is its last id; several may. Default: none. */
  eosTokenId?: number | readonly number[];
  /** Ends a row where it says true of the ids made so far, for instance because their text holds a stop string. */
  stop?: (ids: readonly number[]) => boolean;
  /** So many continuations of each prompt, one after another in the result; its prompt is computed once. Default 1. */
  samples?: number;
  /** Default 0. A row's draws depend on it and the row's number, not on the other rows. */
  seed?: number;
  /**
   * The most rows at once, each of which holds the keys and values of all its positions: 74 kB a position in GPT-2
   * 124M. Default 64.
   */
  batchSize?: number;
  /** Called for each token as it is made. */
  onToken?: (id: number, row: number) => void;
  /** Ends the work between two tokens, with the signal's reason as the error. */
  signal?: AbortSignal;
}

export interface Generated {
  /** What was made, without the prompt. */
  ids: number[];
  /** Why it ended: the end-of-sequence token, `stop`, or `maxNewTokens` or the window's end. */
  finish: 'eos' | 'stop' | 'length';
}

/** A continuation on its way. */
interface Row {
  readonly index: number;
  readonly prompt: readonly number[];
  readonly random: Random;
  readonly ids: number[];
  finish?: Generated['finish'];
}

/**
 * Continues prompts, `batchSize` rows at once, those of like lengths together: where rows have ended, others take their
 * places. Nothing
 * but attention is computed for padding.
 *
 * @param prompts token ids, at least one a prompt.
 * @returns `samples` rows for each prompt.
 * @throws InputError if a prompt or an option does not fit.
 */
export async function generate(
  model: GPT2,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions = {},
): Promise<Generated[]> {
  const ends = new Set([options.eosTokenId ?? []].flat());
  const { maxNewTokens = 64, stop, samples = 1, seed = 0, batchSize = 64, onToken, signal } = options;
  const { blockSize, vocabSize } = model.config;
  checkSampling(options);
  requireRanges({ maxNewTokens, seed }, RANGES.generation);
  requireRanges({ samples, batchSize }, { samples: RANGES.training.batchSize, batchSize: RANGES.training.batchSize });
  prompts.forEach((prompt, index) => checkPrompt(prompt, index, blockSize, vocabSize));

  const seeds = new Random(seed);
  const begin = (prompt: readonly number[], index: number): Row => ({
    index,
    prompt,
    random: new Random(seeds.uint32()),
    ids: [],
  });
  const all = prompts.flatMap((prompt) => Array<readonly number[]>(samples).fill(prompt)).map(begin);
  const addTokens = (rows: readonly Row[], choose: Chooser) => {
    for (const [place, row] of rows.entries()) {
      if (row.finish) continue;
      const id = choose(row, place);
      row.ids.push(id);
      onToken?.(id, row.index);
      if (ends.has(id)) row.finish = 'eos';
      else if (stop?.(row.ids)) row.finish = 'stop';
      else if (row.ids.length === maxNewTokens || row.prompt.length + row.ids.length === blockSize)
        row.finish = 'length';
    }
  };

  const weights = readWeights(model.weights, Math.min(batchSize, all.length));
  const waiting = [...all].sort((a, b) => b.prompt.length - a.prompt.length); // a prompt's samples stay side by side
  let rows: Row[] = []; // at their places in the batch; those that have ended keep theirs for a while
  let cache: Cache | undefined;
  try {
    while (waiting.length > 0 || rows.some(({ finish }) => !finish)) {
      await nextTurn(); // lets an interrupt through
      signal?.throwIfAborted();
      const going = rows.filter(({ finish }) => !finish);
      if (rows.length - going.length >= MOVED * rows.length) {
        if (going.length > 0)
          cache = keepRows(
            cache!,
            going.map((row) => rows.indexOf(row)),
          );
        else {
          release(cache);
          cache = undefined;
        }
        rows = going;
        const entering = waiting.splice(0, batchSize - rows.length);
        if (entering.length > 0) {
          const { choose, cache: entered } = prefill(model.config, weights, entering, options);
          cache = join(cache, entered);
          rows = [...rows, ...entering];
          addTokens(entering, choose);
          continue;
        }
      }
      cache = withRoom(cache!, largest(rows.map(lengthOf)), blockSize);
      const { choose, cache: changed } = decode(model.config, weights, rows, cache, { ...options, maxNewTokens });
      release(cache);
      cache = changed;
      addTokens(rows, choose);
    }
  } finally {
    release(cache, weights);
  }
  return all.map(({ ids, finish }) => ({ ids, finish: finish! }));
}

/** Tokens so far. */
const lengthOf = ({ prompt, ids }: Row): number => prompt.length + ids.length;

/**
 * Rows move up, and others enter, when this share of them has ended: the whole cache is copied then, and until then
 * they are computed in vain.
 */
const MOVED = 1 / 8;

/** The next token of a row, from its place in the batch. */
type Chooser = (row: Row, place: number) => number;

/** The head, as a factor; where it is tied to the embedding, that is the same tensor, which is not rounded. */
const HEAD = 'lm_head.weight';

/**
 * Rows at once from which `spaced` copies of matrices pay: those of GPT-2 124M take 114 MB, and are made in the time
 * that they save in a few tokens.
 */
const MANY = 16;

/**
 * The weights as they are now, for all steps: to read one is a call as well, in a model with adapters a product, and
 * where bfloat16
 * comes by rounding, to round a matrix anew for each token would cost more than its product.
 */
function readWeights(weights: Weights, rowsAtOnce: number): ReadonlyMap<string, Handle> {
  return scope(() => {
    const read = weights.reader();
    const factor = (name: string) => (bfloat16By === 'rounding' ? roundedMatrix(read(name)) : read(name));
    const ofBlock = (name: string) => (rowsAtOnce >= MANY && isCrowded(read(name)) ? spaced(read(name)) : factor(name));
    const isOfBlock = (name: string) => name.startsWith('h.') && weights.shape(name).length === 2;
    return new Map([
      ...weights.names.map((name) => [name, isOfBlock(name) ? ofBlock(name) : read(name)] as const),
      [HEAD, factor(weights.headName)],
    ]);
  });
}

interface Step {
  readonly choose: Chooser;
  readonly cache: Cache;
}

/** The forward pass over prompts, of each once. */
function prefill(
  config: GPT2Config,
  weights: ReadonlyMap<string, Handle>,
  rows: readonly Row[],
  options: Sampling,
): Step {
  const prompts = [...new Set(rows.map(({ prompt }) => prompt))];
  const places = rows.map(({ prompt }) => prompts.indexOf(prompt));
  const made = promptRows(prompts);
  const ends = Int32Array.from(prompts, (prompt, row) => row * made.shape[1] + prompt.length - 1);
  return scope(() => {
    const read: Read = (name) => weights.get(name)!;
    const { hidden, cache } = trunk(made, ends, read, config, 'cache');
    const choose = chooser(hidden, read, config, options, { checked: true });
    return { choose: (row: Row, place: number) => choose(row, places[place]!), cache: keepRows(cache, places) };
  });
}

/** The forward pass over each row's last token. */
function decode(
  config: GPT2Config,
  weights: ReadonlyMap<string, Handle>,
  rows: readonly Row[],
  cache: Cache,
  options: Sampling & { readonly maxNewTokens: number },
): Step {
  const { B, S } = sizeOf(cache);
  const positions = rows.map((row) => lengthOf(row) - 1);
  const visible = new Uint8Array(B * S);
  positions.forEach((position, row) => visible.fill(1, row * S, row * S + position + 1));
  return scope(() => {
    const read: Read = (name) => weights.get(name)!;
    const ids = ints(
      Int32Array.from(rows, ({ ids: made }) => made.at(-1)!),
      [B],
    );
    const { y, cache: changed } = blocks(
      ids,
      ints(Int32Array.from(positions), [B]),
      attentionBias(visible, [B, 1, S]),
      read,
      config,
      { keep: 'cache', past: pastOf(cache, positions) },
    );
    // What is no number in a row stays in its cache, and a row of such tokens comes to its full length: to look at the
    // last is enough.
    const checked = rows.some(
      (row) => row.ids.length + 1 === options.maxNewTokens || lengthOf(row) + 1 === config.blockSize,
    );
    return { choose: chooser(y, read, config, options, { checked }), cache: changed };
  });
}

/**
 * The head over hidden states [B, C]. What leaves TensorFlow are the chosen tokens, or what they are drawn from.
 *
 * @param checked whether greedy choices are looked at, too: of NaNs, the first token is the largest. A draw sees them
 *   without.
 */
function chooser(
  hidden: Handle,
  read: Read,
  { layerNormEpsilon, vocabSize }: GPT2Config,
  options: Sampling,
  { checked }: { checked: boolean },
): Chooser {
  const { y } = layerNorm(hidden, read, 'ln_f', layerNormEpsilon);
  const { suppressTokens = [] } = options;
  const logits = (of: Handle) => {
    const all = matmul(of, read(HEAD), { transposeY: true });
    if (
      checked &&
      !Number.isFinite(l2(all).values()[0]) &&
      (all.values() as Float32Array).some((logit) => !Number.isFinite(logit))
    )
      throw notNumbers();
    return suppressTokens.length === 0
      ? all
      : biasAdd(all, floats(suppression(vocabSize, suppressTokens, -Infinity), [vocabSize]));
  };
  if (isGreedy(options)) {
    const likeliest = argMaxLast(logits(y)).values();
    return (_, place) => likeliest[place]!;
  }
  const plain = isPlain(options);
  const values = (
    plain ? softmax(logits(mul(y, scalar(1 / options.temperature!)))) : logits(y)
  ).values() as Float32Array;
  const ofPlace = (place: number) => values.subarray(place * vocabSize, (place + 1) * vocabSize);
  if (plain) return ({ random }, place) => draw(ofPlace(place), random);
  return ({ prompt, ids, random }, place) => nextToken(ofPlace(place).slice(), options, random, [...prompt, ...ids]);
}

function checkPrompt(prompt: readonly number[], index: number, blockSize: number, vocabSize: number): void {
  if (prompt.length === 0)
    throw new InputError(`prompt ${index} is empty; give at least one token, such as the end-of-sequence token`);
  if (prompt.length >= blockSize)
    throw new InputError(
      `prompt ${index} has ${prompt.length} tokens; the model's window of ${blockSize} leaves no room for an answer`,
    );
  const wrong = prompt.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
  if (wrong !== undefined) throw new InputError(`prompt ${index} holds ${wrong}; ids lie from 0 to ${vocabSize - 1}`);
}
