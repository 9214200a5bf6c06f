/** Prompts -> a model's own reviews, drawn at temperature 1, and what they are worth. */
import { Random, sampleResponses, type GPT2, type Sample as Response, type Tokenizer } from 'alignbook';

/** What a whole review, prompt and response, is worth. */
export type Reward = (review: string) => number;

/** One that did not come to its end has `MAX_NEW_TOKENS` and no end-of-sequence token. */
export interface Sample extends Response {
  /** Prompt and response, without the end-of-sequence token. */
  readonly review: string;
  readonly reward: number;
}

export interface SampleOptions {
  readonly reward: Reward;
  /** Samples of each prompt. Default 1. */
  readonly each?: number;
  readonly seed: number;
  /** Told how many samples there are. */
  readonly onProgress?: (done: number) => void;
}

/** A response of the data has up to 20; a policy may come to write longer ones, to be paid for more words. */
export const MAX_NEW_TOKENS = 24;

const BATCH = 64;

/** @returns all of the first prompt, then those of the second, and so on. */
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
