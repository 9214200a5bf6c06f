/** A conversation -> the prompt for its next answer, within a model's window. */
import { InputError } from '../errors';
import type { Chat } from './chat';
import type { ChatMessage } from './templates';
import type { Tokenizer } from './tokenizer';

export interface FittedPrompt {
  readonly ids: readonly number[];
  /** The messages that it contains. */
  readonly messages: readonly ChatMessage[];
  /** Number of the oldest turns (a question and its answer) that were left out. */
  readonly dropped: number;
}

/**
 * Leaves out the oldest turns until the prompt leaves room for an answer. The last question is always kept, and may
 * take some of that room.
 *
 * @param messages user, assistant, user, …, ending with a question.
 * @param blockSize the model's window in tokens.
 * @param room tokens to leave for the answer; at most half of the window is left.
 * @throws InputError if the last question alone fills the window.
 */
export function fittedPrompt(
  messages: readonly ChatMessage[],
  { chat, tokenizer, blockSize, room }: { chat: Chat; tokenizer: Tokenizer; blockSize: number; room: number },
): FittedPrompt {
  const longest = blockSize - Math.min(room, Math.floor(blockSize / 2));
  for (let dropped = 0; ; dropped += 1) {
    const kept = messages.slice(2 * dropped);
    const ids = tokenizer.encode(chat.prompt(kept));
    if (ids.length <= longest || (kept.length === 1 && ids.length < blockSize)) return { ids, messages: kept, dropped };
    if (kept.length === 1)
      throw new InputError(
        `the question takes ${ids.length} tokens, and the model's window has ${blockSize}: no room is left for an ` +
          'answer; shorten it',
      );
  }
}
