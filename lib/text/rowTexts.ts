/** A row in any of its forms -> a prompt and its responses as texts. */
import { InputError } from '../errors';
import type { Fields, RowForm } from './fields';
import { PROMPT_COLUMNS, withColumns, type Prompt } from './promptColumns';
import { alpacaInstruction, alpacaPrompt, chatPrompt, type ChatMessage } from './templates';

const PROMPT = 'prompt (or instruction)';
const PROMPT_NAMES = ['prompt', 'instruction', 'input', ...PROMPT_COLUMNS];

/** What rows of each form need and may have. */
const others = ['chosen', 'rejected', 'output', 'response'];
export const PAIR: RowForm = { needs: `a pair needs ${PROMPT}, chosen, rejected`, names: [...PROMPT_NAMES, 'chosen', 'rejected'], others };
export const PROMPT_ALONE: RowForm = { needs: `a row needs ${PROMPT}`, names: PROMPT_NAMES, others };
export const RESPONSE: RowForm = { needs: `a row needs ${PROMPT} and response (or output), or messages`, names: [...PROMPT_NAMES, 'output', 'response'], others };
export const CANDIDATES: RowForm = { needs: `a row needs ${PROMPT} and chosen, rejected or response`, names: [...PROMPT_NAMES, ...others] };

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
  if (Array.isArray(chosen) && Array.isArray(rejected) && (prompt === undefined || (prompt.text !== undefined && chosen.length > 1))) {
    return conversations(fields, chosen, rejected, prompt);
  }
  if (prompt === undefined && [chosen, rejected].every((text) => typeof text === 'string' && /\n\nHuman:[^]*\n\nAssistant:/.test(text))) {
    throw new InputError('has no "prompt": chosen and rejected are whole transcripts; split each behind its last "\\n\\nAssistant:", what comes before is the prompt');
  }
  const text = promptText(fields, prompt);
  return { prompt: text, chosen: responseText('chosen', chosen, prompt), rejected: responseText('rejected', rejected, prompt) };
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
    return { prompt: promptText(fields, { messages: messages.slice(0, -1), from: ['messages'] }), response: messages.at(-1)!.content };
  }
  const name = fields.has('instruction') && !fields.has('prompt') && (fields.has('output') || !fields.has('response')) ? 'output' : 'response';
  return { prompt: promptText(fields, prompt), response: responseText(name, fields.textOrMessages(name), prompt) };
}

/** The field "prompt", or the Alpaca prompt of "instruction" and "input", which Dolly calls "context"; undefined if there is neither. */
function promptOf(fields: Fields): Prompt | undefined {
  if (fields.has('prompt')) {
    const prompt = fields.textOrMessages('prompt');
    return Array.isArray(prompt) ? { messages: prompt, from: ['prompt'] } : { text: prompt, messages: [{ role: 'user', content: prompt }], from: ['prompt'] };
  }
  if (!fields.has('instruction')) return undefined;
  const name = fields.holds('context') && !fields.holds('input') ? 'context' : 'input';
  const parts = { instruction: fields.text('instruction'), ...(fields.has(name) && { input: fields.text(name) }) };
  return { text: alpacaPrompt(parts), messages: [{ role: 'user', content: alpacaInstruction(parts) }], from: ['instruction', name] };
}

/** The prompt with the columns that belong to it. */
function promptText(fields: Fields, prompt: Prompt | undefined): string {
  if (prompt === undefined) return fields.text('prompt'); // which says that it is missing
  const { text, messages, from } = withColumns(fields, prompt);
  return text ?? inField(from[0]!, () => chatPrompt(messages));
}

function responseText(name: string, response: string | ChatMessage[], prompt: Prompt | undefined): string {
  if (typeof response === 'string') return response;
  if (prompt?.text !== undefined) throw new InputError(`"${name}" is a list of messages and the prompt is not; make both texts or both messages`);
  return onlyMessage(name, response);
}

function conversations(fields: Fields, chosen: readonly ChatMessage[], rejected: readonly ChatMessage[], prompt: Prompt | undefined): { prompt: string; chosen: string; rejected: string } {
  const last = Math.min(chosen.length, rejected.length) - 1;
  let shared = 0;
  while (shared < last && chosen[shared]!.role === rejected[shared]!.role && chosen[shared]!.content === rejected[shared]!.content) shared += 1;
  if (shared === 0) throw new InputError('"chosen" and "rejected" share no message at their beginning that could be the prompt');
  const messages = chosen.slice(0, shared);
  if (prompt !== undefined && prompt.text !== messages.find(({ role }) => role === 'user')?.content) {
    throw new InputError('"prompt" is not the first user message that "chosen" and "rejected" share; take it out, or make it a list of messages');
  }
  return {
    chosen: onlyMessage('chosen', chosen.slice(shared)),
    rejected: onlyMessage('rejected', rejected.slice(shared)),
    prompt: promptText(fields, { messages, from: ['chosen'] }),
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
