/** Prompts -> tokens, one at a time, with the keys and values of earlier positions cached. */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { release } from '../engine/handle';
import { join, keepRows, withRoom, type Cache } from '../engine/keyValueCache';
import { InputError, plural } from '../errors';
import { Random } from '../random';
import { largest, RANGES, requireRanges } from '../ranges';
import { decode, lengthOf, prefill, readWeights, type Chooser, type Row } from './decode';
import type { GPT2 } from './gpt2';
import { checkSampling, type Sampling } from './sampling';

export interface GenerateOptions extends Sampling {
  /** Stop each row after N tokens, or at the end of the model's window. Default 64. */
  maxNewTokens?: number;
  /** End a row after this id, or any of these, which stays its last id. Default: none. */
  eosTokenId?: number | readonly number[];
  /** End a row when this returns true for the ids so far, for instance because their text contains a stop string. */
  stop?: (ids: readonly number[]) => boolean;
  /** Continue each prompt N times, side by side in the result; the prompt is computed once. Default 1. */
  samples?: number;
  /** A row's draws depend only on the seed and the row's index, not on the other rows. Default 0. */
  seed?: number;
  /**
   * Compute at most N rows at once. Each keeps the keys and values of all its positions: 74 kB per position in GPT-2
   * 124M. Default 64.
   */
  batchSize?: number;
  /** Called for each token as it is generated. */
  onToken?: (id: number, row: number) => void;
  /** Stop between two tokens, throwing the signal's reason. */
  signal?: AbortSignal;
}

export interface Generated {
  /** The generated ids, without the prompt. */
  ids: number[];
  /** Why it ended: the end-of-sequence token; `stop`; `maxNewTokens` or the end of the window. */
  finish: 'eos' | 'stop' | 'length';
}

/**
 * Continues prompts, `batchSize` rows at once, those of similar lengths together: when rows have ended, others take
 * their places. Only attention computes anything for padding.
 *
 * @param prompts token ids, at least one per prompt.
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
  let rows: Row[] = []; // those that have ended keep their places in the batch for a while
  let cache: Cache | undefined;
  try {
    while (waiting.length > 0 || rows.some(({ finish }) => !finish)) {
      await nextTurn(); // lets an interrupt through
      signal?.throwIfAborted();
      if (mayMove(rows)) {
        ({ rows, cache } = withoutEnded(rows, cache));
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
      addTokens(rows, decode(model.config, weights, rows, cache, { ...options, maxNewTokens }));
    }
  } finally {
    release(cache, weights);
  }
  return all.map(({ ids, finish }) => ({ ids, finish: finish! }));
}

/**
 * The fraction of rows that must have ended before the others move up and new ones enter: moving copies the whole
 * cache, and until then ended rows are computed for nothing.
 */
const MOVED = 1 / 8;

const mayMove = (rows: readonly Row[]): boolean => rows.filter(({ finish }) => finish).length >= MOVED * rows.length;

/** Takes over `cache`. */
function withoutEnded(rows: readonly Row[], cache: Cache | undefined): { rows: Row[]; cache: Cache | undefined } {
  const going = rows.filter(({ finish }) => !finish);
  if (going.length > 0) {
    const indices = going.map((row) => rows.indexOf(row));
    return { rows: going, cache: keepRows(cache!, indices) };
  }
  release(cache);
  return { rows: going, cache: undefined };
}

function checkPrompt(prompt: readonly number[], index: number, blockSize: number, vocabSize: number): void {
  if (prompt.length === 0)
    throw new InputError(`prompt ${index} is empty; give at least one token, such as the end-of-sequence token`);
  if (prompt.length >= blockSize)
    throw new InputError(
      `prompt ${index} has ${plural(prompt.length, 'token')}; the model's window of ${blockSize} leaves no ` +
        `room for an answer`,
    );
  const wrong = prompt.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
  if (wrong !== undefined) throw new InputError(`prompt ${index} holds ${wrong}; ids lie from 0 to ${vocabSize - 1}`);
}
