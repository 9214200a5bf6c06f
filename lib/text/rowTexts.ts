/** A row in any of its forms -> a prompt and its responses as texts. */
import { InputError } from '../errors';
import type { Chat } from './chat';
import type { Fields } from './fields';
import { alpacaPrompt, type ChatMessage } from './templates';

/** The fields that a pair, a prompt alone, and a response for SFT, may have. */
export const PAIR_FIELDS = ['prompt', 'instruction', 'input', 'chosen', 'rejected'] as const;
export const PROMPT_FIELDS = ['prompt', 'instruction', 'input'] as const;
export const RESPONSE_FIELDS = ['prompt', 'instruction', 'input', 'output', 'response', 'messages'] as const;

/**
 * Where chosen and rejected are whole conversations, the prompt is the messages that they share at their beginning, as in TRL's
 * `extract_prompt` (which cuts texts apart, too: not done here, as nothing says where a text's prompt ends). A "prompt" beside
 * them, as some data sets have it, must be their first user message as a text.
 *
 * @throws InputError naming the field.
 */
export function pairTexts(fields: Fields, chat: Chat): { prompt: string; chosen: string; rejected: string } {
  const { chosen, rejected } = { chosen: fields.textOrMessages('chosen'), rejected: fields.textOrMessages('rejected') };
  const prompt = promptOf(fields);
  if (Array.isArray(chosen) && Array.isArray(rejected) && !Array.isArray(prompt) && (prompt === undefined || chosen.length > 1)) {
    return conversations(chosen, rejected, prompt, chat);
  }
  return { prompt: promptText(fields, prompt, chat), chosen: responseText('chosen', chosen, prompt, chat), rejected: responseText('rejected', rejected, prompt, chat) };
}

/** A prompt to be answered. @throws InputError naming the field. */
export function onlyPrompt(fields: Fields, chat: Chat): string {
  return promptText(fields, promptOf(fields), chat);
}

/**
 * Of "messages" the last is the response; those of the assistant before it belong to the prompt. (TRL's SFT trains on every token
 * of such rows unless told otherwise.)
 *
 * @throws InputError naming the field.
 */
export function responseTexts(fields: Fields, chat: Chat): { prompt: string; response: string } {
  const prompt = promptOf(fields);
  if (prompt === undefined && fields.has('messages')) {
    const messages = fields.textOrMessages('messages');
    if (typeof messages === 'string') throw new InputError('"messages" is not a list of messages');
    if (messages.at(-1)?.role !== 'assistant') throw new InputError('"messages" does not end with a message of the assistant, the response');
    const before = messages.slice(0, -1);
    return { prompt: inField('messages', () => chat.prompt(before)), response: inField('messages', () => chat.response(before, messages.at(-1)!)) };
  }
  const name = fields.has('instruction') && !fields.has('prompt') ? 'output' : 'response';
  return { prompt: promptText(fields, prompt, chat), response: responseText(name, fields.textOrMessages(name), prompt, chat) };
}

/** The field "prompt", or the Alpaca prompt of "instruction" and "input"; undefined if there is neither. */
function promptOf(fields: Fields): string | ChatMessage[] | undefined {
  if (fields.has('prompt')) return fields.textOrMessages('prompt');
  if (!fields.has('instruction')) return undefined;
  return alpacaPrompt({ instruction: fields.text('instruction'), ...(fields.has('input') && { input: fields.text('input') }) });
}

function promptText(fields: Fields, prompt: string | ChatMessage[] | undefined, chat: Chat): string {
  return Array.isArray(prompt) ? inField('prompt', () => chat.prompt(prompt)) : (prompt ?? fields.text('prompt'));
}

function responseText(name: string, response: string | ChatMessage[], prompt: string | ChatMessage[] | undefined, chat: Chat): string {
  if (typeof response === 'string') return Array.isArray(prompt) && response !== '' ? inField(name, () => chat.response(prompt, { role: 'assistant', content: response })) : response;
  if (!Array.isArray(prompt)) throw new InputError(`"${name}" is a list of messages and the prompt is not; make both texts or both messages`);
  const message = onlyMessage(name, response);
  return message.content === '' ? '' : inField(name, () => chat.response(prompt, message));
}

function conversations(chosen: readonly ChatMessage[], rejected: readonly ChatMessage[], prompt: string | undefined, chat: Chat): { prompt: string; chosen: string; rejected: string } {
  const last = Math.min(chosen.length, rejected.length) - 1;
  let shared = 0;
  while (shared < last && chosen[shared]!.role === rejected[shared]!.role && chosen[shared]!.content === rejected[shared]!.content) shared += 1;
  if (shared === 0) throw new InputError('"chosen" and "rejected" share no message at their beginning that could be the prompt');
  const messages = chosen.slice(0, shared);
  const written = (name: string, rest: readonly ChatMessage[]) => {
    const message = onlyMessage(name, rest);
    return message.content === '' ? '' : inField(name, () => chat.response(messages, message));
  };
  if (prompt !== undefined && prompt !== messages.find(({ role }) => role === 'user')?.content) {
    throw new InputError('"prompt" is not the first user message that "chosen" and "rejected" share; take it out, or make it a list of messages');
  }
  return {
    chosen: written('chosen', chosen.slice(shared)),
    rejected: written('rejected', rejected.slice(shared)),
    prompt: inField('chosen', () => chat.prompt(messages)),
  };
}

function onlyMessage(name: string, messages: readonly ChatMessage[]): ChatMessage {
  if (messages.length !== 1) throw new InputError(`"${name}" has ${messages.length} messages after the prompt; a response is one, the assistant's`);
  if (messages[0]!.role !== 'assistant') throw new InputError(`"${name}" is a message of the role ${messages[0]!.role}; a response is the assistant's`);
  return messages[0]!;
}

/** What a check says, with the field's name before it. */
function inField<T>(name: string, check: () => T): T {
  try {
    return check();
  } catch (cause) {
    throw cause instanceof InputError ? new InputError(`"${name}": ${cause.message}`, { cause }) : cause;
  }
}
