/** A policy's place on the frontier: what its reviews are worth, and how far it has gone from the reference for it. */
import { responseBatch, tf, type GPT2, type Tokenizer } from 'alignbook';

import { samples, type Reward, type Sample } from './samples';

export interface Evaluation {
  /** The mean over the prompts of KL(policy || reference) of whole responses, in nats. */
  readonly kl: number;
  readonly klStandardError: number;
  /** The mean true reward. */
  readonly reward: number;
  readonly rewardStandardError: number;
}

/**
 * One sample of the policy for each prompt. Its log-ratio of policy and reference, summed over the response's tokens, the
 * end-of-sequence token among them, is the KL in expectation (`klK1` of the whole response); a single one may be negative.
 *
 * @param options.seed the same for every policy, so that two are compared on the same draws.
 */
export async function evaluation(policy: GPT2, reference: GPT2, tokenizer: Tokenizer, prompts: readonly string[], options: { reward: Reward; seed: number }): Promise<Evaluation> {
  const drawn = await samples(policy, tokenizer, prompts, options);
  const [logps, refLogps] = [sampleLogps(policy, drawn), sampleLogps(reference, drawn)];
  const [kl, reward] = [estimate(logps.map((logp, n) => logp - refLogps[n]!)), estimate(drawn.map((sample) => sample.reward))];
  return { kl: kl.mean, klStandardError: kl.standardError, reward: reward.mean, rewardStandardError: reward.standardError };
}

const BATCH = 64;

/** log p(response | prompt) of each sample under `model`, in nats. */
export function sampleLogps(model: GPT2, drawn: readonly Sample[]): number[] {
  const logps: number[] = [];
  for (let start = 0; start < drawn.length; start += BATCH) {
    const rows = drawn.slice(start, start + BATCH).map(({ promptIds, ids }) => ({ promptIds, responses: [ids] }));
    const batch = responseBatch(rows, { layout: 'padded', maxLength: model.config.blockSize });
    logps.push(...tf.tidy(() => model.score(batch).sum(1).dataSync()));
  }
  return logps;
}

/** The mean of independent values, and its standard error: their deviation (n - 1) over the root of n. */
export function estimate(values: readonly number[]): { mean: number; standardError: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, standardError: Math.sqrt(squares / (values.length - 1) / values.length) };
}
