/** Instructions and conversations -> prompts. */
import { InputError } from '../errors';

/** A turn of a conversation, as Hugging Face's data sets and chat templates have it. */
export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
  /** Who speaks, for a chat template that writes it; the Alpaca prompt has no place for it. */
  readonly name?: string;
}

const PREAMBLE =
  'Below is an instruction that describes a task.\nWrite a response that appropriately completes the request.';

/**
 * The Alpaca prompt, as the walkthrough words it, up to and including "### Response:\n". The heading belongs to the
 * prompt, because the model is always given it: scored as response, it would count as something to learn.
 *
 * @param input the text that the instruction is about; left out if empty, as most rows of Alpaca's data have it.
 * @throws InputError if the instruction is empty.
 */
export function alpacaPrompt({ instruction, input = '' }: { instruction: string; input?: string }): string {
  if (instruction === '') throw new InputError('the instruction is empty');
  return `${PREAMBLE}\n\n### Instruction:\n${alpacaInstruction({ instruction, input })}\n\n### Response:\n`;
}

/** An instruction and its input as one text, a user's message: `chatPrompt` of that alone is `alpacaPrompt`'s text. */
export function alpacaInstruction({ instruction, input = '' }: { instruction: string; input?: string }): string {
  return `${instruction}${input === '' ? '' : `\n\n### Input:\n${input}`}`;
}

/**
 * A conversation as a prompt for its next response. GPT-2 has no chat template of its own, so this is the Alpaca prompt
 * carried on: one user message alone gives `alpacaPrompt({ instruction })`, further turns repeat the two headings, and
 * a system message takes the place of the preamble. Contents stay as they are.
 *
 * No end-of-sequence token stands between turns (LLaMA-Factory's template `alpaca` has one after each response): to
 * GPT-2 it says that what comes next has nothing to do with what was before.
 *
 * @param messages [system,] user, assistant, user, …, and last a user message.
 * @throws InputError, naming the message (the first is message 1), if they come in another order or one is empty.
 */
export function chatPrompt(messages: readonly ChatMessage[]): string {
  if (messages.length === 0) throw new InputError('it has no messages');
  const system = messages[0]!.role === 'system' ? 1 : 0;
  messages.forEach(({ role, content }, index) => {
    const expected = index < system ? 'system' : (index - system) % 2 === 0 ? 'user' : 'assistant';
    if (role !== expected) {
      throw new InputError(
        `message ${index + 1} is of the role ${role} where ${expected} is due: one system message or none, then ` +
          'user and assistant in turn',
      );
    }
    if (content === '') throw new InputError(`message ${index + 1} is empty`);
  });
  if (messages.at(-1)!.role !== 'user')
    throw new InputError(`it ends with a message of the role ${messages.at(-1)!.role}; a prompt ends with the user's`);
  const turns = messages
    .slice(system)
    .map(({ role, content }) => `\n\n### ${role === 'user' ? 'Instruction' : 'Response'}:\n${content}`);
  return `${system === 1 ? messages[0]!.content : PREAMBLE}${turns.join('')}\n\n### Response:\n`;
}
