/** Marks the words in which texts differ. */
import { diffArrays } from 'diff';

/** A part of a text. */
export interface Part {
  readonly text: string;
  readonly differs: boolean;
}

/** Words, white space and punctuation, in any language; together they are the whole text. */
const segmenter = new Intl.Segmenter('en', { granularity: 'word' });
const segmentsOf = (text: string): string[] => [...segmenter.segment(text)].map(({ segment }) => segment);

/**
 * Marks how texts differ: in the first one, the words that some other text lacks; in each other one, the words that the
 * first lacks. The parts of a text, joined, are the text.
 */
export function markDifferences(texts: readonly string[]): Part[][] {
  const [first = [], ...others] = texts.map(segmentsOf);
  const inFirst = first.map(() => false);
  const marked = others.map((other) => {
    const differs: boolean[] = [];
    let place = 0;
    for (const { value, added, removed } of diffArrays(first, other)) {
      if (removed) inFirst.fill(true, place, place + value.length);
      else differs.push(...value.map(() => added));
      if (!added) place += value.length;
    }
    return partsOf(other, differs);
  });
  return texts.length === 0 ? [] : [partsOf(first, inFirst), ...marked];
}

/** Joins segments of a kind. White space alone is never marked, but it is between two marked words. */
function partsOf(segments: readonly string[], differs: readonly boolean[]): Part[] {
  const isBlank = (n: number): boolean => n < segments.length && segments[n]!.trim() === '';
  const parts: { text: string; differs: boolean }[] = [];
  segments.forEach((text, n) => {
    const last = parts.at(-1);
    const between = Boolean(last?.differs) && (differs[n + 1] ?? false) && !isBlank(n + 1);
    const isMarked = isBlank(n) ? between : differs[n]!;
    if (last?.differs === isMarked) last.text += text;
    else parts.push({ text, differs: isMarked });
  });
  return parts;
}
