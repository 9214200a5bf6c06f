/** Prompts -> a model's own reviews, sampled at temperature 1, and their rewards. */
import { Random, sampleResponses, type GPT2, type Sample as Response, type Tokenizer } from 'alignbook';

/** Gives the reward of a whole review, prompt and response. */
export type Reward = (review: string) => number;

/** A response that did not end by itself has `MAX_NEW_TOKENS` tokens and no end-of-sequence token. */
export interface Sample extends Response {
  /** Prompt and response, without the end-of-sequence token. */
  readonly review: string;
  readonly reward: number;
}

export interface SampleOptions {
  readonly reward: Reward;
  /** Samples for each prompt. Default 1. */
  readonly each?: number;
  readonly seed: number;
  /** Called with the number of samples so far. */
  readonly onProgress?: (done: number) => void;
}

/**
 * Responses in the data have up to 20 tokens; a policy may learn to write longer ones, because more words can earn
 * more.
 */
export const MAX_NEW_TOKENS = 24;

const BATCH = 64;

/** @returns all samples of the first prompt, then those of the second, and so on. */
export async function samples(
  model: GPT2,
  tokenizer: Tokenizer,
  prompts: readonly string[],
  { reward, each = 1, seed, onProgress }: SampleOptions,
): Promise<Sample[]> {
  const seeds = new Random(seed);
  const ids = prompts.map((prompt) => tokenizer.encode(prompt));
  const numbers = prompts.flatMap((_, n) => Array<number>(each).fill(n));
  const made: Sample[] = [];
  for (let start = 0; start < numbers.length; start += BATCH) {
    const responses = await sampleResponses(
      model,
      tokenizer,
      ids,
      { maxNewTokens: MAX_NEW_TOKENS, seed: seeds.uint32() },
      numbers.slice(start, start + BATCH),
    );
    made.push(
      ...responses.map((response) => {
        const review = prompts[response.prompt]! + response.text;
        return { ...response, review, reward: reward(review) };
      }),
    );
    onProgress?.(made.length);
  }
  return made;
}
