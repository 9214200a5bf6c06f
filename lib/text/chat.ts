/** Renders a conversation with the model's own chat template, or as an Alpaca prompt if it has none. */
import { InputError } from '../errors';
import type { ChatTemplate } from './chatTemplate';
import { chatPrompt, type ChatMessage } from './templates';

export interface Chat {
  /** Whether conversations are rendered by a chat template. */
  readonly templated: boolean;
  /** The prompt for the next response. @throws InputError if the messages do not have the form that it takes. */
  prompt(messages: readonly ChatMessage[]): string;
  /** What a response adds to that prompt. */
  response(messages: readonly ChatMessage[], response: ChatMessage): string;
  /** Passes on a sentence about how rows are read, the first time that it is given. */
  tell(text: string): void;
}

type Rendering = Omit<Chat, 'tell'>;

/** A response is its own text; the tokenizer's end-of-sequence token is appended to it. */
const alpaca: Rendering = { templated: false, prompt: chatPrompt, response: (_, { content }) => content };

/**
 * Renders with a template as TRL does: the prompt includes the beginning of the assistant's turn, and a response is the
 * rest of the rendered conversation. If a template renders the prompt differently once a response follows, the prompt
 * ends where the two renderings diverge.
 */
function templated(template: ChatTemplate): Rendering {
  const whole = (messages: readonly ChatMessage[], response: ChatMessage) => template.render([...messages, response]);
  return {
    templated: true,
    prompt(messages) {
      const last = messages.at(-1);
      if (last === undefined) throw new InputError('it has no messages');
      if (last.role !== 'user')
        throw new InputError(
          `it ends with a message with the role ${last.role}; a prompt ends with a message from the user`,
        );
      const alone = template.render(messages, { addGenerationPrompt: true });
      return alone.slice(0, shared(alone, whole(messages, { role: 'assistant', content: PROBE })));
    },
    response(messages, response) {
      const text = whole(messages, response);
      return text.slice(shared(template.render(messages, { addGenerationPrompt: true }), text));
    },
  };
}

/** A response that cannot begin like the end of any prompt. */
const PROBE = '\u0001';

function shared(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length += 1;
  return length;
}

/** Many data sets have a system message in every row, which is sometimes empty. */
const withoutEmptySystem = (messages: readonly ChatMessage[]): readonly ChatMessage[] =>
  messages.filter(({ role, content }) => role !== 'system' || content !== '');

/** @param onUse receives sentences about how rows are read, such as what renders conversations; each once. */
export function chatOf(template: ChatTemplate | null, onUse: (text: string) => void = () => undefined): Chat {
  const chat = template ? templated(template) : alpaca;
  const rendering = template
    ? `messages are written by the model's chat template (${template.source})`
    : 'messages are written as the Alpaca prompt: the model has no chat template';
  const told = new Set<string>();
  const tell = (text: string): void => {
    if (!told.has(text)) onUse(text);
    told.add(text);
  };
  return {
    templated: chat.templated,
    prompt(messages) {
      tell(rendering);
      return chat.prompt(withoutEmptySystem(messages));
    },
    response: (messages, response) => chat.response(withoutEmptySystem(messages), response),
    tell,
  };
}
