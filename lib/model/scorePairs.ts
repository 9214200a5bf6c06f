/** What a model gives to each token of preference pairs' responses. */
import { InputError } from '../errors';
import { RANGES, requireRange } from '../ranges';
import type { PairIds } from '../text/batch';
import { responseBatch } from '../text/responseBatch';
import type { Tokenizer } from '../text/tokenizer';
import type { GPT2 } from './gpt2';

export interface ResponseScore {
  /** The end-of-sequence token is the last. */
  ids: number[];
  /** The text of each id; one that holds part of a character decodes to U+FFFD. */
  tokens: string[];
  /** log p(token | all before it), in nats. */
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
        `row ${start + Math.floor(wrong / L / 2) + 1}: a log-prob is ${values[wrong]}; the model's weights or its sums are too large to compute with`,
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
