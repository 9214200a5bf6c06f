/** A row in any of its forms -> a prompt and its responses as texts. */
import { InputError } from '../errors';
import type { Fields } from './fields';
import { alpacaPrompt, chatPrompt, type ChatMessage } from './templates';

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
export function pairTexts(fields: Fields): { prompt: string; chosen: string; rejected: string } {
  const { chosen, rejected } = { chosen: fields.textOrMessages('chosen'), rejected: fields.textOrMessages('rejected') };
  const prompt = promptOf(fields);
  if (Array.isArray(chosen) && Array.isArray(rejected) && !Array.isArray(prompt) && (prompt === undefined || chosen.length > 1)) {
    return conversations(chosen, rejected, prompt);
  }
  return { prompt: promptText(fields, prompt), chosen: responseText('chosen', chosen, prompt), rejected: responseText('rejected', rejected, prompt) };
}

/** A prompt to be answered. @throws InputError naming the field. */
export function onlyPrompt(fields: Fields): string {
  return promptText(fields, promptOf(fields));
}

/**
 * Of "messages" the last is the response; those of the assistant before it belong to the prompt. (TRL's SFT trains on every token
 * of such rows unless told otherwise.)
 *
 * @throws InputError naming the field.
 */
export function responseTexts(fields: Fields): { prompt: string; response: string } {
  const prompt = promptOf(fields);
  if (prompt === undefined && fields.has('messages')) {
    const messages = fields.textOrMessages('messages');
    if (typeof messages === 'string') throw new InputError('"messages" is not a list of messages');
    if (messages.at(-1)?.role !== 'assistant') throw new InputError('"messages" does not end with a message of the assistant, the response');
    return { prompt: inField('messages', () => chatPrompt(messages.slice(0, -1))), response: messages.at(-1)!.content };
  }
  const name = fields.has('instruction') && !fields.has('prompt') ? 'output' : 'response';
  return { prompt: promptText(fields, prompt), response: responseText(name, fields.textOrMessages(name), prompt) };
}

/** The field "prompt", or the Alpaca prompt of "instruction" and "input"; undefined if there is neither. */
function promptOf(fields: Fields): string | ChatMessage[] | undefined {
  if (fields.has('prompt')) return fields.textOrMessages('prompt');
  if (!fields.has('instruction')) return undefined;
  return alpacaPrompt({ instruction: fields.text('instruction'), ...(fields.has('input') && { input: fields.text('input') }) });
}

function promptText(fields: Fields, prompt: string | ChatMessage[] | undefined): string {
  return Array.isArray(prompt) ? inField('prompt', () => chatPrompt(prompt)) : (prompt ?? fields.text('prompt'));
}

function responseText(name: string, response: string | ChatMessage[], prompt: string | ChatMessage[] | undefined): string {
  if (typeof response === 'string') return response;
  if (!Array.isArray(prompt)) throw new InputError(`"${name}" is a list of messages and the prompt is not; make both texts or both messages`);
  return onlyMessage(name, response);
}

function conversations(chosen: readonly ChatMessage[], rejected: readonly ChatMessage[], prompt: string | undefined): { prompt: string; chosen: string; rejected: string } {
  const last = Math.min(chosen.length, rejected.length) - 1;
  let shared = 0;
  while (shared < last && chosen[shared]!.role === rejected[shared]!.role && chosen[shared]!.content === rejected[shared]!.content) shared += 1;
  if (shared === 0) throw new InputError('"chosen" and "rejected" share no message at their beginning that could be the prompt');
  const messages = chosen.slice(0, shared);
  if (prompt !== undefined && prompt !== messages.find(({ role }) => role === 'user')?.content) {
    throw new InputError('"prompt" is not the first user message that "chosen" and "rejected" share; take it out, or make it a list of messages');
  }
  return {
    chosen: onlyMessage('chosen', chosen.slice(shared)),
    rejected: onlyMessage('rejected', rejected.slice(shared)),
    prompt: inField('chosen', () => chatPrompt(messages)),
  };
}

function onlyMessage(name: string, messages: readonly ChatMessage[]): string {
  if (messages.length !== 1) throw new InputError(`"${name}" has ${messages.length} messages after the prompt; a response is one, the assistant's`);
  if (messages[0]!.role !== 'assistant') throw new InputError(`"${name}" is a message of the role ${messages[0]!.role}; a response is the assistant's`);
  return messages[0]!.content;
}

/** What a check says, with the field's name before it. */
function inField<T>(name: string, check: () => T): T {
  try {
    return check();
  } catch (cause) {
    throw cause instanceof InputError ? new InputError(`"${name}": ${cause.message}`, { cause }) : cause;
  }
}
