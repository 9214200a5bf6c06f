/** Prompts -> tokens, one after another, with the keys and values of earlier positions kept. */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { InputError } from '../errors';
import { Random } from '../random';
import { bfloat16By } from '../tf';
import { attentionBias, blocks } from './blocks';
import type { GPT2Config } from './config';
import type { GPT2 } from './gpt2';
import { layerNorm, type KeysAndValues, type Past, type Read } from './layers';
import { release, scope, type Handle } from './handle';
import { concat, fill, gather, ints, matmul, mul, roundedMatrix, scalar, softmax } from './ops';
import { checkSampling, draw, isPlain, nextToken, type Sampling } from './sampling';
import type { Weights } from './weights';

export interface GenerateOptions extends Sampling {
  /** Default 64. A prompt that comes to the end of the model's window stops there. */
  maxNewTokens?: number;
  /** Ends a row, and is its last id. Default: none. */
  eosTokenId?: number;
  /** Ends a row where it says true of the ids made so far, for instance because their text holds a stop string. */
  stop?: (ids: readonly number[]) => boolean;
  /** So many continuations of each prompt, one after another in the result; its prompt is computed once. Default 1. */
  samples?: number;
  /** Default 0. A row's draws depend on it and the row's number, not on the other rows. */
  seed?: number;
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
interface Row extends Generated {
  readonly index: number;
  readonly prompt: readonly number[];
  readonly random: Random;
}

/**
 * Continues prompts, all at once: shorter ones are padded on the left, a finished row leaves the batch.
 *
 * @param prompts token ids, at least one a prompt.
 * @returns `samples` rows for each prompt.
 * @throws InputError if a prompt or an option does not fit.
 */
export async function generate(model: GPT2, prompts: readonly (readonly number[])[], options: GenerateOptions = {}): Promise<Generated[]> {
  const { maxNewTokens = 64, eosTokenId, stop, samples = 1, seed = 0, onToken, signal } = options;
  const { blockSize, vocabSize } = model.config;
  checkSampling(options);
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) throw new InputError(`maxNewTokens must be a whole number from 1 up, got ${maxNewTokens}`);
  if (!Number.isInteger(samples) || samples < 1) throw new InputError(`samples must be a whole number from 1 up, got ${samples}`);
  prompts.forEach((prompt, index) => checkPrompt(prompt, index, blockSize, vocabSize));

  const seeds = new Random(seed);
  const begin = (prompt: readonly number[], index: number): Row => ({ index, prompt, random: new Random(seeds.uint32()), ids: [], finish: 'length' });
  const rows = prompts.flatMap((prompt) => Array<readonly number[]>(samples).fill(prompt)).map(begin);
  const longest = Math.max(0, ...prompts.map((prompt) => prompt.length));
  let active = rows;
  let cache: Cache | undefined;
  const plain = isPlain(options);
  const weights = readWeights(model.weights);
  try {
    while (active.length > 0) {
      await nextTurn(); // lets an interrupt through
      signal?.throwIfAborted();
      const together = cache === undefined && samples > 1; // a prompt's samples begin alike
      const placeOf = ({ index }: Row) => Math.floor(index / samples);
      if (cache) cache = withRoom(cache, longest + active[0]!.ids.length, longest + maxNewTokens);
      const made = step(model.config, weights, together ? rows.filter(({ index }) => index % samples === 0) : active, longest, cache, plain ? options.temperature : undefined);
      release(cache);
      cache = together ? keepRows(made.cache, active.map(placeOf)) : made.cache;

      const going = active.filter((row, n) => {
        const place = together ? placeOf(row) : n;
        const scores = made.scores.subarray(place * vocabSize, (place + 1) * vocabSize);
        const id = plain ? draw(scores, row.random) : nextToken(together ? scores.slice() : scores, options, row.random, [...row.prompt, ...row.ids]);
        row.ids.push(id);
        onToken?.(id, row.index);
        if (id === eosTokenId) row.finish = 'eos';
        else if (stop?.(row.ids)) row.finish = 'stop';
        else return row.ids.length < maxNewTokens && row.prompt.length + row.ids.length < blockSize;
        return false;
      });
      if (going.length < active.length) cache = keepRows(cache, going.map((row) => active.indexOf(row)));
      active = going;
    }
  } finally {
    release(cache, weights);
  }
  return rows.map(({ ids, finish }) => ({ ids, finish }));
}

type Cache = readonly KeysAndValues[];

/** The head, as a factor; the same tensor, as an embedding, is not rounded. */
const HEAD = 'lm_head.weight';

/**
 * The weights as they are now, for all steps: to read one is a call as well, in a model with adapters a product, and where bfloat16
 * comes by rounding, to round a matrix anew for each token would cost more than its product.
 */
function readWeights(weights: Weights): ReadonlyMap<string, Handle> {
  return scope(() => {
    const read = weights.reader();
    const factor = (name: string) => (bfloat16By === 'rounding' ? roundedMatrix(read(name)) : read(name));
    const isFactor = (name: string) => name.startsWith('h.') && weights.shape(name).length === 2;
    return new Map([...weights.names.map((name) => [name, isFactor(name) ? factor(name) : read(name)] as const), [HEAD, factor('wte.weight')]]);
  });
}

/** One forward pass over the prompts, or over each row's last token: [B * V] of the next one, logits, or probabilities at a temperature. */
function step(config: GPT2Config, weights: ReadonlyMap<string, Handle>, rows: readonly Row[], longest: number, cache: Cache | undefined, temperature: number | undefined): { scores: Float32Array; cache: Cache } {
  const B = rows.length;
  const length = longest + rows[0]!.ids.length; // positions so far, padding included
  const T = cache ? 1 : length;
  const S = cache?.[0]!.k.shape[2] ?? length;
  const ids = new Int32Array(B * T);
  const positions = new Int32Array(B * T);
  const visible = new Uint8Array(B * T * S);
  rows.forEach(({ prompt, ids: made }, b) => {
    const padding = longest - prompt.length;
    for (let t = 0; t < T; t += 1) {
      const place = length - T + t;
      const own = Math.max(0, place - padding);
      ids[b * T + t] = place < longest ? prompt[own]! : made[place - longest]!;
      positions[b * T + t] = own;
      visible.fill(1, (b * T + t) * S + Math.min(padding, place), (b * T + t) * S + place + 1); // padding sees itself
    }
  });
  return scope(() => {
    const read: Read = (name) => weights.get(name)!;
    const bias = attentionBias(visible, [B, T, S]);
    const past = cache && pastOf(cache, length - 1);
    const only = T > 1 ? ints(Int32Array.from(rows, (_, b) => b * T + T - 1), [B]) : undefined;
    const { y: last, cache: kept } = blocks(ints(ids, [B * T]), ints(positions, [B * T]), bias, read, config, { keep: 'cache', only, past });
    const { y } = layerNorm(last, read, 'ln_f', config.layerNormEpsilon);
    const head = read(HEAD);
    if (temperature === undefined) return { scores: matmul(y, head, { transposeY: true }).values() as Float32Array, cache: kept };
    const logits = matmul(mul(y, scalar(1 / temperature)), head, { transposeY: true });
    return { scores: softmax(logits).values() as Float32Array, cache: kept };
  });
}

/** Positions that a cache grows by: it is copied then, and looked at as a whole in every step. */
const ROOM = 64;

/** A cache for `length` positions, with zeros where it was extended; takes over `cache`. */
function withRoom(cache: Cache, length: number, most: number): Cache {
  const [nHead, B, S, hs] = cache[0]!.k.shape as [number, number, number, number];
  if (S >= length) return cache;
  const extended = scope(() => {
    const room = fill([nHead, B, Math.min(S + ROOM, most) - S, hs], 0);
    return cache.map(({ k, v }) => ({ k: concat([k, room], 2), v: concat([v, room], 2) }));
  });
  release(cache);
  return extended;
}

/** Where the keys and values of the next position go. */
function pastOf(cache: Cache, position: number): readonly Past[] {
  const [nHead, B, S] = cache[0]!.k.shape as [number, number, number];
  const places = ints(Int32Array.from({ length: nHead * B }, (_, row) => row * S + position), [nHead * B]);
  return cache.map((layer) => ({ ...layer, places }));
}

function keepRows(cache: Cache, rows: readonly number[]): Cache {
  const kept = scope(() => {
    const indices = ints(Int32Array.from(rows), [rows.length]);
    return cache.map(({ k, v }) => ({ k: gather(k, indices, 1), v: gather(v, indices, 1) }));
  });
  release(cache);
  return kept;
}

function checkPrompt(prompt: readonly number[], index: number, blockSize: number, vocabSize: number): void {
  if (prompt.length === 0) throw new InputError(`prompt ${index} is empty; give at least one token, such as the end-of-sequence token`);
  if (prompt.length >= blockSize) throw new InputError(`prompt ${index} has ${prompt.length} tokens; the model's window of ${blockSize} leaves no room for an answer`);
  const wrong = prompt.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
  if (wrong !== undefined) throw new InputError(`prompt ${index} holds ${wrong}; ids lie from 0 to ${vocabSize - 1}`);
}
