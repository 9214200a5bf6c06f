/** Turns instructions and conversations into prompts. */
import { InputError } from '../errors';

/** One turn of a conversation, in the form of Hugging Face's data sets and chat templates. */
export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
  /** The speaker's name, for chat templates that write it; the Alpaca prompt does not. */
  readonly name?: string;
}

const PREAMBLE =
  'Below is an instruction that describes a task.\nWrite a response that appropriately completes the request.';

/**
 * The Alpaca prompt in the walkthrough's wording, up to and including "### Response:\n". This heading belongs to the
 * prompt because the model is always given it; as part of the response, it would be scored as something to learn.
 *
 * @param input the text that the instruction is about; left out if empty, as in most rows of Alpaca's data.
 * @throws InputError if the instruction is empty.
 */
export function alpacaPrompt({ instruction, input = '' }: { instruction: string; input?: string }): string {
  if (instruction === '') throw new InputError('the instruction is empty');
  return `${PREAMBLE}\n\n### Instruction:\n${alpacaInstruction({ instruction, input })}\n\n### Response:\n`;
}

/**
 * An instruction and its input as one text, a user message: `chatPrompt` of that message alone is `alpacaPrompt`'s
 * text.
 */
export function alpacaInstruction({ instruction, input = '' }: { instruction: string; input?: string }): string {
  return `${instruction}${input === '' ? '' : `\n\n### Input:\n${input}`}`;
}

/**
 * A conversation as the prompt for its next response. GPT-2 has no chat template of its own, so this one extends the
 * Alpaca prompt: a single user message gives `alpacaPrompt({ instruction })`, further turns repeat the two headings,
 * and a system message replaces the preamble. The messages' contents are not changed.
 *
 * No end-of-sequence token separates the turns (LLaMA-Factory's template `alpaca` puts one after each response),
 * because it tells GPT-2 that what follows is unrelated to what came before.
 *
 * @param messages [system,] user, assistant, user, …, ending with a user message.
 * @throws InputError naming the message (counted from 1) if the order is different or a message is empty.
 */
export function chatPrompt(messages: readonly ChatMessage[]): string {
  if (messages.length === 0) throw new InputError('it has no messages');
  const system = messages[0]!.role === 'system' ? 1 : 0;
  messages.forEach(({ role, content }, index) => {
    const expected = index < system ? 'system' : (index - system) % 2 === 0 ? 'user' : 'assistant';
    if (role !== expected) {
      throw new InputError(
        `message ${index + 1} has the role ${role} where ${expected} is expected: at most one system message, then ` +
          'user and assistant in turn',
      );
    }
    if (content === '') throw new InputError(`message ${index + 1} is empty`);
  });
  if (messages.at(-1)!.role !== 'user')
    throw new InputError(
      `it ends with a message with the role ${messages.at(-1)!.role}; a prompt ends with a message from the user`,
    );
  const turns = messages
    .slice(system)
    .map(({ role, content }) => `\n\n### ${role === 'user' ? 'Instruction' : 'Response'}:\n${content}`);
  return `${system === 1 ? messages[0]!.content : PREAMBLE}${turns.join('')}\n\n### Response:\n`;
}
