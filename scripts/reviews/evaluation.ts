/** A policy's place on the frontier: the reward of its reviews, and the KL from the reference that it costs. */
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
 * Samples the policy once for each prompt. The log-ratio of policy and reference, summed over the tokens of a response
 * including its end-of-sequence token, has the KL as its expectation (`klK1` of the whole response); for a single
 * sample it may be negative.
 *
 * @param options.seed the same for every policy, so that policies are compared on the same draws.
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
