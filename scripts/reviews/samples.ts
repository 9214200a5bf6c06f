/** Prompts -> a model's own reviews, drawn at temperature 1, and what they are worth. */
import { generate, Random, type GPT2, type Tokenizer } from 'alignbook';

/** What a whole review, prompt and response, is worth. */
export type Reward = (review: string) => number;

export interface Sample {
  readonly promptIds: readonly number[];
  /** Of the response, with the end-of-sequence token, unless it came to `MAX_NEW_TOKENS` before. */
  readonly ids: readonly number[];
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
export async function samples(model: GPT2, tokenizer: Tokenizer, prompts: readonly string[], { reward, each = 1, seed, onProgress }: SampleOptions): Promise<Sample[]> {
  const seeds = new Random(seed);
  const rows = prompts.flatMap((prompt) => {
    const promptIds = tokenizer.encode(prompt);
    return Array.from({ length: each }, () => ({ prompt, promptIds }));
  });
  const made: Sample[] = [];
  for (let start = 0; start < rows.length; start += BATCH) {
    const some = rows.slice(start, start + BATCH);
    const answers = await generate(model, some.map(({ promptIds }) => promptIds), { temperature: 1, maxNewTokens: MAX_NEW_TOKENS, eosTokenId: tokenizer.eosTokenId, seed: seeds.uint32() });
    answers.forEach(({ ids, finish }, n) => {
      const { prompt, promptIds } = some[n]!;
      const review = prompt + tokenizer.decode(finish === 'eos' ? ids.slice(0, -1) : ids);
      made.push({ promptIds, ids, review, reward: reward(review) });
    });
    onProgress?.(made.length);
  }
  return made;
}
