/** Turns a row in any of its forms into the texts of a prompt and its responses. */
import { InputError, plural } from '../errors';
import type { Chat } from './chat';
import { withOtherNames } from './columns';
import type { Fields, RowForm } from './fields';
import { splitPair } from './implicitPrompt';
import { PROMPT_COLUMNS, withColumns, type Prompt } from './promptColumns';
import { alpacaInstruction, alpacaPrompt, type ChatMessage } from './templates';

const PROMPT = 'prompt (or instruction, question, query)';
const [CHOSEN, REJECTED] = [withOtherNames('chosen'), withOtherNames('rejected')];
const RENAME = '; map reads a field from another column';
const PROMPT_NAMES = ['prompt', 'instruction', 'input', ...PROMPT_COLUMNS];

/** The required and optional fields of each row form. */
const others = ['chosen', 'rejected', 'output', 'response', 'completion'];
export const PAIR: RowForm = {
  needs: `a pair needs ${PROMPT}, ${CHOSEN}, ${REJECTED}${RENAME}`,
  names: [...PROMPT_NAMES, 'chosen', 'rejected'],
  others,
};
export const PROMPT_ALONE: RowForm = { needs: `a row needs ${PROMPT}${RENAME}`, names: PROMPT_NAMES, others };
export const RESPONSE: RowForm = {
  needs: `a row needs ${PROMPT} and response (or output, completion, answer), or messages, or text${RENAME}`,
  names: [...PROMPT_NAMES, 'output', 'response', 'completion', 'text'],
  others,
};
export const LABELED: RowForm = {
  needs: `a row needs ${PROMPT}, completion (or response, output, answer) and label, or chosen and rejected${RENAME}`,
  names: [...PROMPT_NAMES, ...others, 'label'],
};
export const CANDIDATES: RowForm = {
  needs: `a row needs ${PROMPT} and chosen, rejected or response${RENAME}`,
  names: [...PROMPT_NAMES, ...others],
};

/** Any of the forms, for a look at a file. */
export const ANY: RowForm = {
  needs: `a row needs ${PROMPT}, and chosen and rejected for a pair, or response; or text alone${RENAME}`,
  names: [...LABELED.names, 'text'],
};

/** All fields that a row can have. */
export const FIELDS: readonly string[] = [...LABELED.names, 'messages', 'margin', 'text'];

/** `templated`: the responses are as the model's chat template renders them, rather than their own texts. */
export interface PairTexts {
  readonly prompt: string;
  readonly chosen: string;
  readonly rejected: string;
  readonly templated: boolean;
}

/** Like `PairTexts`, with one response. */
export interface ResponseTexts {
  readonly prompt: string;
  readonly response: string;
  readonly templated: boolean;
}

const byTemplate = ({ text }: Prompt, chat: Chat): boolean => text === undefined && chat.templated;

const IMPLICIT = 'rows without a prompt: what chosen and rejected share at their beginning is the prompt';

/**
 * Reads the texts of a pair. If chosen and rejected are whole conversations, the prompt is the messages that they share
 * at their beginning, as in TRL's `extract_prompt`; for whole texts see `splitPair`. A "prompt" beside conversations,
 * present in some data sets, must be their first user message as a text.
 *
 * @throws InputError naming the field.
 */
export function pairTexts(fields: Fields, chat: Chat): PairTexts {
  const { chosen, rejected } = { chosen: fields.textOrMessages('chosen'), rejected: fields.textOrMessages('rejected') };
  const prompt = promptOf(fields);
  if (
    Array.isArray(chosen) &&
    Array.isArray(rejected) &&
    (prompt === undefined || (prompt.text !== undefined && chosen.length > 1))
  ) {
    return conversations(fields, chosen, rejected, prompt, chat);
  }
  if (prompt === undefined && typeof chosen === 'string' && typeof rejected === 'string') {
    const split = splitPair(fields, chosen, rejected);
    if (split !== undefined) {
      chat.tell(IMPLICIT);
      return { ...split, templated: false };
    }
  }
  const whole = wholePrompt(fields, prompt);
  return {
    prompt: promptText(whole, chat),
    chosen: responseText('chosen', chosen, prompt!, whole, chat),
    rejected: responseText('rejected', rejected, prompt!, whole, chat),
    templated: byTemplate(whole, chat),
  };
}

/** Reads a prompt to answer. @throws InputError naming the field. */
export function onlyPrompt(fields: Fields, chat: Chat): string {
  return promptText(wholePrompt(fields, promptOf(fields)), chat);
}

/**
 * Reads a prompt and its response. The last of "messages" is the response; the assistant's earlier messages belong to
 * the prompt. (By default, TRL's SFT trains on every token of such rows.)
 *
 * @throws InputError naming the field.
 */
export function responseTexts(fields: Fields, chat: Chat): ResponseTexts {
  const prompt = promptOf(fields);
  if (prompt === undefined && fields.has('messages')) {
    const messages = fields.textOrMessages('messages');
    if (typeof messages === 'string') throw new InputError('"messages" is not a list of messages');
    if (messages.at(-1)?.role !== 'assistant')
      throw new InputError('"messages" does not end with a message from the assistant, which would be the response');
    const before = wholePrompt(fields, { messages: messages.slice(0, -1), from: ['messages'] });
    return {
      prompt: promptText(before, chat),
      response: answer('messages', messages.at(-1)!, before, chat),
      templated: byTemplate(before, chat),
    };
  }
  const name = responseName(fields);
  const whole = wholePrompt(fields, prompt);
  return {
    prompt: promptText(whole, chat),
    response: responseText(name, fields.textOrMessages(name), prompt!, whole, chat),
    templated: byTemplate(whole, chat),
  };
}

/** The field of a row's response; the first of the names if it has none, for the message. */
function responseName(fields: Fields): string {
  const names =
    fields.has('instruction') && !fields.has('prompt')
      ? ['output', 'response', 'completion']
      : ['response', 'completion'];
  const found = names.find((name) => fields.has(name));
  if (found === undefined && fields.has('chosen') && !fields.has('label'))
    throw new InputError('has no "response" but a pair; responseField chosen takes its chosen one');
  return found ?? names[0]!;
}

/**
 * The field "prompt", or the Alpaca prompt made from "instruction" and "input" (Dolly calls it "context"); undefined if
 * the row has neither.
 */
function promptOf(fields: Fields): Prompt | undefined {
  if (fields.has('prompt')) {
    const prompt = fields.textOrMessages('prompt');
    return Array.isArray(prompt)
      ? { messages: prompt, from: ['prompt'] }
      : { text: prompt, messages: [{ role: 'user', content: prompt }], from: ['prompt'] };
  }
  if (!fields.has('instruction')) return undefined;
  const name = fields.holds('context') && !fields.holds('input') ? 'context' : 'input';
  const parts = { instruction: fields.text('instruction'), ...(fields.has(name) && { input: fields.text(name) }) };
  return {
    text: alpacaPrompt(parts),
    messages: [{ role: 'user', content: alpacaInstruction(parts) }],
    from: ['instruction', name],
  };
}

/** Adds to the prompt the columns that belong to it. @throws InputError if there is no prompt. */
function wholePrompt(fields: Fields, prompt: Prompt | undefined): Prompt {
  // If there is no prompt, reading the text reports that it is missing.
  return withColumns(fields, prompt ?? { text: fields.text('prompt'), messages: [], from: ['prompt'] });
}

function promptText({ text, messages, from }: Prompt, chat: Chat): string {
  return text ?? inField(from[0]!, () => chat.prompt(messages));
}

/**
 * @param given the prompt as in its own field. Adding columns may have turned it into messages; its response, a text,
 *   then becomes the assistant's message.
 */
function responseText(
  name: string,
  response: string | ChatMessage[],
  given: Prompt,
  whole: Prompt,
  chat: Chat,
): string {
  if (typeof response === 'string') return answer(name, { role: 'assistant', content: response }, whole, chat);
  if (given.text !== undefined)
    throw new InputError(`"${name}" is a list of messages and the prompt is not; make both texts or both messages`);
  return answer(name, onlyMessage(name, response), whole, chat);
}

/** The response's own text if the prompt is a text; the chat's rendering of it if the prompt is messages. */
function answer(name: string, response: ChatMessage, { text, messages }: Prompt, chat: Chat): string {
  return text !== undefined || response.content === ''
    ? response.content
    : inField(name, () => chat.response(messages, response));
}

function conversations(
  fields: Fields,
  chosen: readonly ChatMessage[],
  rejected: readonly ChatMessage[],
  prompt: Prompt | undefined,
  chat: Chat,
): PairTexts {
  const last = Math.min(chosen.length, rejected.length) - 1;
  let shared = 0;
  while (
    shared < last &&
    chosen[shared]!.role === rejected[shared]!.role &&
    chosen[shared]!.content === rejected[shared]!.content
  )
    shared += 1;
  if (shared === 0)
    throw new InputError('"chosen" and "rejected" share no message at their beginning that could be the prompt');
  const messages = chosen.slice(0, shared);
  if (prompt !== undefined && prompt.text !== messages.find(({ role }) => role === 'user')?.content) {
    throw new InputError(
      '"prompt" is not the first user message that "chosen" and "rejected" share; remove it, or make it a list ' +
        'of messages',
    );
  }
  const whole = wholePrompt(fields, { messages, from: ['chosen'] });
  return {
    chosen: answer('chosen', onlyMessage('chosen', chosen.slice(shared)), whole, chat),
    rejected: answer('rejected', onlyMessage('rejected', rejected.slice(shared)), whole, chat),
    prompt: promptText(whole, chat),
    templated: byTemplate(whole, chat),
  };
}

function onlyMessage(name: string, messages: readonly ChatMessage[]): ChatMessage {
  if (messages.length !== 1)
    throw new InputError(
      `"${name}" has ${plural(messages.length, 'message')} after the prompt; a response is a single message, ` +
        'from the assistant',
    );
  if (messages[0]!.role !== 'assistant')
    throw new InputError(`"${name}" is a message with the role ${messages[0]!.role}; a response is from the assistant`);
  return messages[0]!;
}

/** Runs a check and puts the field's name before its error message. */
function inField<T>(name: string, check: () => T): T {
  try {
    return check();
  } catch (cause) {
    throw cause instanceof InputError ? new InputError(`"${name}": ${cause.message}`, { cause }) : cause;
  }
}
