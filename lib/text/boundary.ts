/**
 * Detects tokens that would span the boundary between prompt and response if the two were encoded as one text. Here
 * they are encoded separately, so no token does.
 */
import { characterClass, spaces } from './characterClasses';
import type { Tokenizer } from './tokenizer';

const S = characterClass(spaces);
/**
 * A position where white space follows another character. No word of GPT-2's pattern crosses it, nor does the pattern's
 * lookahead.
 */
const GAP = new RegExp(`(?<=[^${S}])(?=[${S}])`, 'gu');

/**
 * Whether `prompt + response` has different ids from prompt and response encoded separately. Examples: "hel" + "lo", or
 * a prompt that ends in a space, which in one text belongs to the response's first word. The answer is exact but cheap:
 * only the text up to the nearest gap on either side is split into words, and it is encoded only if the words differ.
 */
export function mergesAcross(
  tokenizer: Pick<Tokenizer, 'encode' | 'words' | 'splitsAtGaps'>,
  prompt: string,
  response: string,
): boolean {
  const apart = (texts: readonly string[]) =>
    tokenizer.encode(texts.join('')).join() !== texts.flatMap((text) => tokenizer.encode(text)).join();
  if (!tokenizer.splitsAtGaps) return apart([prompt, response]);
  const parts = [lastPart(prompt), response.slice(0, gapAfter(response, 0) ?? response.length)];
  const [together, each] = [tokenizer.words(parts.join('')), parts.flatMap((part) => tokenizer.words(part))];
  return (together.length !== each.length || together.some((word, n) => word !== each[n])) && apart(parts);
}

/** The text from its last gap on, without scanning the whole of a long text. */
function lastPart(text: string): string {
  for (let length = 64; length < text.length; length *= 4) {
    const from = text.length - length;
    let gap: number | undefined;
    for (let next = gapAfter(text, from); next !== undefined; next = gapAfter(text, next)) gap = next;
    if (gap !== undefined) return text.slice(gap);
  }
  let gap = 0;
  for (let next = gapAfter(text, 0); next !== undefined; next = gapAfter(text, next)) gap = next;
  return text.slice(gap);
}

/** The index of the first gap after `from`; undefined if there is none. */
export function gapAfter(text: string, from: number): number | undefined {
  GAP.lastIndex = from + 1;
  return GAP.exec(text)?.index;
}
