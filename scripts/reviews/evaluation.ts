/** A policy's place on the frontier: what its reviews are worth, and how far it has gone from the reference for it. */
import { sampleLogps as logpsOfTokens, type GPT2, type Tokenizer } from 'alignbook';

import { estimate } from '../estimate';
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
 * One sample of the policy for each prompt. Its log-ratio of policy and reference, summed over the response's tokens,
 * the end-of-sequence token among them, is the KL in expectation (`klK1` of the whole response); a single one may be
 * negative.
 *
 * @param options.seed the same for every policy, so that two are compared on the same draws.
 */
export async function evaluation(
  policy: GPT2,
  reference: GPT2,
  tokenizer: Tokenizer,
  prompts: readonly string[],
  options: { reward: Reward; seed: number },
): Promise<Evaluation> {
  const drawn = await samples(policy, tokenizer, prompts, options);
  const [logps, refLogps] = [sampleLogps(policy, drawn), sampleLogps(reference, drawn)];
  const [kl, reward] = [
    estimate(logps.map((logp, n) => logp - refLogps[n]!)),
    estimate(drawn.map((sample) => sample.reward)),
  ];
  return {
    kl: kl.mean,
    klStandardError: kl.standardError,
    reward: reward.mean,
    rewardStandardError: reward.standardError,
  };
}

/** log p(response | prompt) of each sample under `model`, in nats. */
export function sampleLogps(model: GPT2, drawn: readonly Sample[]): number[] {
  return logpsOfTokens(model, drawn).map((logps) => logps.reduce((sum, logp) => sum + logp, 0));
}
