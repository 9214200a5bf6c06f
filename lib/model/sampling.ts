/** Logits of one position -> the next token. */
import { InputError } from '../errors';
import type { Random } from '../random';
import { RANGES, requireRanges } from '../ranges';

export interface Sampling {
  /**
   * Divide the logits by T: below 1, likely tokens become even more likely. 0, the default, always takes the most
   * likely token (greedy).
   */
  temperature?: number;
  /** Draw only from the k most likely tokens, and any as likely as the last of them. Default: all. */
  topK?: number;
  /** Draw only from the most likely tokens that together reach this probability (arXiv 1904.09751). Default 1: all. */
  topP?: number;
  /**
   * Make tokens already present less likely: divide their logits by P, or multiply them if negative (arXiv 1909.05858).
   * Default 1.
   */
  repetitionPenalty?: number;
  /**
   * Never choose these ids, such as the rows that an embedding has beyond its tokenizer's vocabulary
   * (`Tokenizer.missingIds`). Default: none.
   */
  suppressTokens?: readonly number[] | undefined;
}

/**
 * The bias for logits [V] that keeps the suppressed ids from being chosen: `least`, a large negative number or
 * -Infinity, at those ids, else 0.
 */
export function suppression(vocabSize: number, suppressTokens: readonly number[], least: number): Float32Array {
  const added = new Float32Array(vocabSize);
  for (const id of suppressTokens) {
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize)
      throw new InputError(`suppressTokens holds ${id}; ids lie from 0 to ${vocabSize - 1}`);
    added[id] = least;
  }
  return added;
}

/** The options with their defaults. */
const filled = ({ temperature = 0, topK = Infinity, topP = 1, repetitionPenalty = 1 }: Sampling) => ({
  temperature,
  topK,
  topP,
  repetitionPenalty,
});

/** @throws InputError naming the option that is out of its range. */
export function checkSampling(options: Sampling): void {
  const { temperature, topK, topP, repetitionPenalty } = filled(options);
  requireRanges({ temperature, topP, repetitionPenalty, ...(topK !== Infinity && { topK }) }, RANGES.generation);
}

/**
 * Penalty, temperature, top-k, top-p, in transformers' order; then one draw.
 *
 * @param logits [V]; changed by the penalty.
 * @param present the ids that the penalty applies to: the prompt's and those generated so far.
 */
export function nextToken(
  logits: Float32Array,
  options: Sampling,
  random: Random,
  present: Iterable<number> = [],
): number {
  const { temperature, repetitionPenalty } = filled(options);
  if (repetitionPenalty !== 1) {
    for (const id of new Set(present))
      logits[id] = logits[id]! > 0 ? logits[id]! / repetitionPenalty : logits[id]! * repetitionPenalty;
  }
  if (temperature === 0) return argmax(logits);
  return draw(distribution(logits, options), random);
}

/** One draw from probabilities [V] that add up to 1. */
export function draw(probabilities: Float32Array | Float64Array, random: Random): number {
  let left = random.uniform();
  for (let id = 0; id < probabilities.length; id += 1) {
    left -= probabilities[id]!;
    if (left < 0) return id;
  }
  if (Number.isNaN(left)) throw notFinite();
  return argmax(probabilities); // rounding left a little over
}

/**
 * To throw where logits are NaN or infinite: otherwise the first token, the largest of NaNs, would look like a choice.
 */
export const notFinite = (): InputError =>
  new InputError("the model's logits are not numbers: its weights or its sums are too large to compute with");

/** Whether the next token is the one with the largest logit. */
export function isGreedy(options: Sampling): boolean {
  const { temperature, repetitionPenalty } = filled(options);
  return temperature === 0 && repetitionPenalty === 1;
}

/** Whether the distribution depends only on the temperature. */
export function isPlain(options: Sampling): boolean {
  const { temperature, topK, topP, repetitionPenalty } = filled(options);
  return temperature > 0 && topK === Infinity && topP === 1 && repetitionPenalty === 1;
}

/**
 * The distribution to draw from, after temperature, top-k and top-p: [V], summing to 1. Plain loops, because
 * `Float64Array.from` and `reduce` take eight times as long, which on `tiny` is most of the time of a sampled token.
 */
export function distribution(
  logits: Float32Array,
  { temperature = 1, topK = Infinity, topP = 1 }: Sampling,
): Float64Array {
  const highest = logits[argmax(logits)]!;
  const least = topK < logits.length ? sortedDown(logits)[topK - 1]! : -Infinity;
  const weights = new Float64Array(logits.length);
  for (let id = 0; id < weights.length; id += 1)
    if (!(logits[id]! < least)) weights[id] = Math.exp((logits[id]! - highest) / temperature);
  normalize(weights);
  if (topP < 1) keepNucleus(weights, topP);
  return weights;
}

/** Sets to 0 the tokens not needed to reach `topP`, the most likely being taken first; among equals the first stay. */
function keepNucleus(probabilities: Float64Array, topP: number): void {
  const sorted = sortedDown(probabilities);
  let count = 0;
  for (let reached = 0; reached < topP && count < sorted.length; count += 1) reached += sorted[count]!;
  const least = sorted[count - 1]!;
  let equals = count - sorted.findIndex((probability) => probability === least);
  probabilities.forEach((probability, id) => {
    if (probability > least || (probability === least && equals-- > 0)) return;
    probabilities[id] = 0;
  });
  normalize(probabilities);
}

function normalize(weights: Float64Array): void {
  let sum = 0;
  for (let id = 0; id < weights.length; id += 1) sum += weights[id]!;
  for (let id = 0; id < weights.length; id += 1) weights[id]! /= sum;
}

/** A typed array's own sort is many times faster than one with a comparison. */
function sortedDown<Values extends Float32Array | Float64Array>(values: Values): Values {
  return values.slice().sort().reverse() as Values;
}

/** The index of the largest value, the first among equals. */
function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let id = 1; id < values.length; id += 1) if (values[id]! > values[best]!) best = id;
  return best;
}
