/** Words to spell backwards, whose answers are right or wrong: data/right-or-wrong, from the instructions' words. */
import { Random } from 'alignbook';

const SEED = 4;
/** Letters of a word, and how many words are held out. */
const [SHORTEST, LONGEST, HELD_OUT] = [3, 4, 160];

export interface Spelling {
  readonly prompt: string;
  readonly response: string;
}

/** Letter by letter: GPT-2's tokens are pieces of words, so it does not see the letters of a word written as usual. */
const spelled = (word: string, letters: readonly string[]): Spelling => ({
  prompt: `${[...word].join(' ')} ->`,
  response: ` ${letters.join(' ')}`,
});
const right = (word: string): Spelling => spelled(word, [...word].reverse());

/**
 * `train` and `heldout` have the right answers. `start`, for SFT, has each word of `train` twice, with the right answer
 * and with the word as it is: what it teaches is right half of the time.
 *
 * @param words any texts; those of 3 or 4 small letters are taken, each once.
 */
export function backwards(words: Iterable<string>): Record<'start' | 'train' | 'heldout', Spelling[]> {
  const random = new Random(SEED);
  const fit = (word: string) => /^[a-z]+$/.test(word) && word.length >= SHORTEST && word.length <= LONGEST;
  const shuffled = random.shuffle([...new Set(words)].filter(fit).sort());
  const [heldout, train] = [shuffled.slice(0, HELD_OUT), shuffled.slice(HELD_OUT)];
  const start = random.shuffle(train.flatMap((word) => [right(word), spelled(word, [...word])]));
  return { start, train: train.map(right), heldout: heldout.map(right) };
}
