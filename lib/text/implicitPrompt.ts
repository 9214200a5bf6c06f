/** Pairs of whole texts that begin with their prompt, and have no field for it. */
import { InputError } from '../errors';
import type { Fields } from './fields';

export interface Split {
  readonly prompt: string;
  readonly chosen: string;
  readonly rejected: string;
}

/** What precedes the assistant's and the person's turns in a transcript, as in Anthropic's hh-rlhf. */
const ASSISTANT = '\n\nAssistant:';
const HUMAN = '\n\nHuman:';
/** Columns that say something about a row, and are not a prompt. */
const ABOUT =
  /(^|_)(id|idx|index|source|category|subset|task|model|lang|language|type|split|score|rating|reason|name)s?(_|$)/i;

/**
 * The prompt is what the texts share at their beginning: in a transcript up to the last turn of the assistant that both
 * have, otherwise up to the last word that both have whole. TRL's `extract_prompt` cuts at the last shared character,
 * so within a word if two answers' first words begin alike.
 *
 * @returns undefined if they share no word, or if another column with a text might be the prompt: a row is not to be
 *   trained without it.
 * @throws InputError if a transcript goes on after the response.
 */
export function splitPair(fields: Fields, chosen: string, rejected: string): Split | undefined {
  let same = 0;
  while (same < chosen.length && chosen[same] === rejected[same]) same += 1;
  const start = chosen.slice(0, same);
  if ([chosen, rejected].every((text) => text.includes(HUMAN) && text.includes(ASSISTANT))) {
    const turn = start.lastIndexOf(ASSISTANT);
    if (turn < 0) throw new InputError(`chosen and rejected are transcripts that share no turn of the assistant`);
    const split = splitAt(turn + ASSISTANT.length, chosen, rejected);
    for (const [name, text] of [['chosen', split.chosen] as const, ['rejected', split.rejected] as const])
      if (text.includes(HUMAN))
        throw new InputError(
          `"${name}" goes on with another turn after the one that the two share; a response is a single turn: leave ` +
            'the row out',
        );
    return split;
  }
  const mayBePrompt = (name: string): boolean =>
    !['chosen', 'rejected'].includes(name) &&
    !ABOUT.test(name) &&
    (fields.raw(name) === undefined || fields.holds(name));
  if (fields.names.some(mayBePrompt)) return undefined;
  const isWord = (index: number): boolean => /\S/.test(chosen[index] ?? '') || /\S/.test(rejected[index] ?? '');
  let at = same;
  const ends = same === chosen.length || same === rejected.length; // one answer is the beginning of the other
  if (isWord(same) || ends) while (at > 0 && /\S/.test(chosen[at - 1]!)) at -= 1;
  if (chosen[at - 1] === ' ') at -= 1; // it belongs to the token after it
  return chosen.slice(0, at).trim() === '' ? undefined : splitAt(at, chosen, rejected);
}

const splitAt = (at: number, chosen: string, rejected: string): Split => ({
  prompt: chosen.slice(0, at),
  chosen: chosen.slice(at),
  rejected: rejected.slice(at),
});
