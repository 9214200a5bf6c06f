/** Scores of responses: a language model's log-probs token by token, and a reward model's scores. */
import { InputError } from '../errors';
import { average, variance } from '../moments';
import { RANGES, requireRange } from '../ranges';
import type { PairIds } from '../text/batch';
import { responseBatch, type PromptResponses } from '../text/responseBatch';
import type { Tokenizer } from '../text/tokenizer';
import type { GPT2 } from './gpt2';
import type { RewardModel } from './rewardModel';

const TOO_LARGE = "the model's weights or its sums are too large to compute with";

export interface ResponseScore {
  /** Ends with the end-of-sequence token. */
  ids: number[];
  /** The text of each id; an id that is only part of a character decodes to U+FFFD. */
  tokens: string[];
  /** log p(token | everything before it), in nats. */
  logps: number[];
  /** log p(response | prompt). */
  sum: number;
}

export interface PairScore {
  promptIds: number[];
  chosen: ResponseScore;
  rejected: ResponseScore;
}

/**
 * Scores pairs in batches, and yields them in order.
 *
 * @throws InputError if a row is too long for the model, an id is not in its vocabulary, or a log-prob is not finite.
 */
export function* scorePairs(
  model: GPT2,
  tokenizer: Tokenizer,
  pairs: readonly PairIds[],
  { batchSize = 8 } = {},
): Generator<PairScore> {
  requireRange('batchSize', batchSize, RANGES.training.batchSize);
  for (let start = 0; start < pairs.length; start += batchSize) {
    const rows = pairs.slice(start, start + batchSize);
    const batch = responseBatch(
      rows.map(({ promptIds, chosenIds, rejectedIds }) => ({ promptIds, responses: [chosenIds, rejectedIds] })),
      { maxLength: model.config.blockSize },
    );
    const scores = model.score(batch);
    const [, L] = batch.responses;
    const values = scores.dataSync().slice();
    const wrong = values.findIndex((value) => !Number.isFinite(value));
    if (wrong >= 0)
      throw new InputError(
        `row ${start + Math.floor(wrong / L / 2) + 1}: a log-prob is ${values[wrong]}; ${TOO_LARGE}`,
      );
    const response = (ids: readonly number[], place: number): ResponseScore => {
      const logps = [...values.subarray(place * L, place * L + ids.length)];
      return {
        ids: [...ids],
        tokens: ids.map((id) => tokenizer.decode([id])),
        logps,
        sum: logps.reduce((sum, logp) => sum + logp, 0),
      };
    };
    scores.dispose();
    yield* rows.map(({ promptIds, chosenIds, rejectedIds }, n) => ({
      promptIds: [...promptIds],
      chosen: response(chosenIds, 2 * n),
      rejected: response(rejectedIds, 2 * n + 1),
    }));
  }
}

export interface ScoringOptions {
  /** Rows per batch. Default 16. */
  batchSize?: number;
}

/**
 * Scores rows in batches, each prompt computed once for its responses.
 *
 * @returns the scores of each row's responses, in order.
 * @throws InputError if a row is too long for the model, an id is not in its vocabulary, or a score is not finite.
 */
export function scoreResponses(
  model: RewardModel,
  rows: readonly PromptResponses[],
  options: ScoringOptions = {},
): number[][] {
  return [...scoredRows(model, rows, options)];
}

/** The same, one row at a time. */
export function* scoredRows(
  model: RewardModel,
  rows: readonly PromptResponses[],
  { batchSize = 16 }: ScoringOptions = {},
): Generator<number[]> {
  requireRange('batchSize', batchSize, RANGES.training.batchSize);
  for (let start = 0; start < rows.length; start += batchSize) {
    const some = rows.slice(start, start + batchSize);
    const scores = model.scores(responseBatch(some, { maxLength: model.config.blockSize }));
    const values = [...scores.dataSync()];
    scores.dispose();
    requireFiniteScores(values, some, start);
    for (const { responses } of some) yield values.splice(0, responses.length);
  }
}

/**
 * Mean and standard deviation of the scores of samples, for `RewardModel.normalize`: afterwards these scores have mean
 * 0 and deviation 1. (The sum of squares is divided by their number, since it describes these scores and estimates no
 * others.)
 *
 * @param samples in a published run, those that the policy writes before its training
 *   (https://arxiv.org/abs/1909.08593, section 2.1).
 */
export function scoreNormalization(
  model: RewardModel,
  samples: readonly PromptResponses[],
  options?: ScoringOptions,
): { mean: number; deviation: number } {
  const scores = scoreResponses(model, samples, options).flat();
  return { mean: average(scores), deviation: Math.sqrt(variance(scores)) };
}

function requireFiniteScores(scores: readonly number[], rows: readonly PromptResponses[], start: number): void {
  const wrong = scores.findIndex((score) => !Number.isFinite(score));
  if (wrong < 0) return;
  const row = rows.flatMap(({ responses }, n) => responses.map(() => start + n + 1))[wrong];
  throw new InputError(`row ${row}: a score is ${scores[wrong]}; ${TOO_LARGE}`);
}
