/** Judges a model's answer: its style, and whether it is right. */
import type { Fact } from './facts';
import { answers, type Style } from './phrasings';

export interface Verdict {
  /** Null if the text matches none of the known phrasings. */
  readonly style: Style | null;
  readonly correct: boolean;
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

export function judge(fact: Fact, text: string): Verdict {
  const hole = '\u0000';
  for (const style of ['courteous', 'curt'] as const) {
    for (const phrasing of answers[style]) {
      const pattern = new RegExp(`^${escaped(phrasing({ ...fact, answer: hole })).replace(hole, "([^']+)")}$`);
      const found = pattern.exec(text);
      if (found) return { style, correct: found[1] === fact.answer };
    }
  }
  return { style: null, correct: false };
}
