/**
 * Whether tokens would span the boundary of prompt and response, were they one text. They are encoded apart, so none
 * does here.
 */
import { characterClass, spaces } from './characterClasses';
import type { Tokenizer } from './tokenizer';

const S = characterClass(spaces);
/** Where white space follows something else: GPT-2's words never go across, nor does what makes them look past it. */
const GAP = new RegExp(`(?<=[^${S}])(?=[${S}])`, 'gu');

/**
 * Whether `prompt + response` has other ids than prompt and response apart: "hel" + "lo", or a space at the prompt's
 * end, which as one text
 * belongs to the response's first word. Exact, and yet cheap: only what reaches to the next gap in both texts is
 * split into words, and encoded where these differ.
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

/** From the last gap, without a look at the whole of a long text. */
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

/** The first gap behind `from`. */
function gapAfter(text: string, from: number): number | undefined {
  GAP.lastIndex = from + 1;
  return GAP.exec(text)?.index;
}
