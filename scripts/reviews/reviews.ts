/** The reviews of data/reviews, in three splits. */
import { Random, type Tokenizer } from 'alignbook';

import { prompts, response } from './grammar';

export interface Review {
  readonly prompt: string;
  readonly response: string;
}

const SEED = 50216;
const parts = { train: 4000, validation: 200, test: 256 };

/** GPT-2 tokens of a response, including its end-of-text token. */
export const MAX_RESPONSE = 20;

/** One review for each of the given number of prompts; no prompt occurs twice, within a split or across splits. */
export function reviews(tokenizer: Tokenizer): Record<keyof typeof parts, Review[]> {
  const random = new Random(SEED);
  const order = random.shuffle(prompts);
  const review = (): Review => {
    const { text, thing } = order.pop()!;
    for (;;) {
      const drawn = response(thing, random);
      if (tokenizer.encode(drawn).length < MAX_RESPONSE) return { prompt: text, response: drawn };
    }
  };
  const made = (count: number) => Array.from({ length: count }, review);
  return { train: made(parts.train), validation: made(parts.validation), test: made(parts.test) };
}
