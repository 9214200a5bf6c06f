/** What a reward model gives to responses. */
import { InputError } from '../errors';
import { average, variance } from '../moments';
import { RANGES, requireRange } from '../ranges';
import { responseBatch, type PromptResponses } from '../text/responseBatch';
import type { RewardModel } from './rewardModel';

export interface ScoringOptions {
  /** Rows at a time. Default 16. */
  batchSize?: number;
}

/**
 * Scores rows in batches, each prompt computed once for its responses.
 *
 * @returns for each row its responses' scores, in order.
 * @throws InputError if a row is too long for the model, an id is not in its vocabulary, or a score is not finite.
 */
export function scoreResponses(
  model: RewardModel,
  rows: readonly PromptResponses[],
  options: ScoringOptions = {},
): number[][] {
  return [...scoredRows(model, rows, options)];
}

/** The same, row after row. */
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
 * Mean and standard deviation (of these scores, not an estimate of others': divided by their number) over samples, for
 * `RewardModel.normalize`: afterwards their scores have mean 0 and deviation 1.
 *
 * @param samples as the policy that will be trained writes them before its training, in a published run
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
  throw new InputError(
    `row ${row}: a score is ${scores[wrong]}; the model's weights or its sums are too large to compute with`,
  );
}
