/**
 * Columns that belong to a prompt. A column is used if a convention defines how, and otherwise refused by name; it is
 * never dropped.
 */
import { InputError } from '../errors';
import type { Fields } from './fields';
import type { ChatMessage } from './templates';

/** The names that data sets use for the text of the system message. */
const SYSTEM = ['system', 'system_prompt', 'system_message'] as const;
/** LLaMA-Factory's column: a list of [question, answer], the turns before the prompt. */
const HISTORY = 'history';
/**
 * Columns that no convention puts into a GPT-2 prompt. A column that the form of the row itself uses is not refused.
 */
const REFUSED = [
  'instruction',
  'input',
  'inputs',
  'context',
  'question',
  'query',
  'passage',
  'article',
  'document',
  'documents',
  'background',
  'knowledge',
  'persona',
  'choices',
  'options',
  'premise',
  'hypothesis',
  'paragraph',
  'paragraphs',
  'passages',
  'facts',
  'evidence',
  'chat_history',
  'dialogue_history',
  'messages',
  'conversation',
  'conversations',
  'dialog',
  'dialogue',
  'tools',
  'functions',
  'image',
  'images',
  'video',
  'videos',
  'audio',
  'audios',
  'chat_template_kwargs',
] as const;

/** A name in its conventional spelling: "System Prompt" becomes system_prompt. */
const usual = (name: string): string => name.toLowerCase().replace(/[ .-]+/g, '_');

export const PROMPT_COLUMNS: readonly string[] = [...SYSTEM, HISTORY, ...REFUSED];

/** A prompt as it is in its field: a text, an instruction with its input, or messages. */
export interface Prompt {
  /** The prompt as text; undefined if it is messages. */
  readonly text?: string;
  /** The prompt as messages; a text is one message from the user. */
  readonly messages: readonly ChatMessage[];
  /** The fields that the prompt came from. */
  readonly from: readonly string[];
}

/**
 * Adds to the prompt the columns beside it that belong to it. The system text comes first, and the turns of a history
 * come before the last message; a prompt that is a text then becomes the user's message. A column is skipped if it is
 * empty or the prompt already contains its text.
 *
 * @throws InputError naming a column that would be lost.
 */
export function withColumns(fields: Fields, prompt: Prompt): Prompt {
  const there = (name: string): boolean =>
    !prompt.from.includes(name) && fields.holds(name) && !stands(fields.raw(name), prompt);
  const misspelt = fields.names.find(
    (name) =>
      usual(name) !== name && PROMPT_COLUMNS.includes(usual(name)) && (there(name) || fields.raw(name) === undefined),
  ); // in Parquet, such a column is not read
  if (misspelt !== undefined)
    throw new InputError(
      `"${misspelt}" is beside "${prompt.from[0]!}" and would be lost; call it "${usual(misspelt)}", or drop ` +
        'the column',
    );
  const lost = REFUSED.find(there);
  if (lost !== undefined)
    throw new InputError(
      `"${lost}" is beside "${prompt.from[0]!}" and would be lost; move its contents into ` +
        `"${prompt.from[0]!}", or drop the column`,
    );
  const system = systemText(fields, SYSTEM.filter(there), prompt);
  const turns = there(HISTORY) ? history(fields, prompt) : [];
  if (system === undefined && turns.length === 0) return prompt;
  const first = system === undefined ? [] : [{ role: 'system', content: system } as const];
  // The prompt's own system message stays before the turns: a history beside messages is refused, so there are no turns
  // then.
  return { messages: [...first, ...turns, ...prompt.messages], from: prompt.from };
}

/**
 * Whether the prompt already contains all texts of a column, the assistant's excepted, as in data sets that also store
 * the parts of a prompt separately.
 */
function stands(value: unknown, { messages }: Prompt): boolean {
  const texts = textsOf(value);
  return texts !== undefined && texts.every((text) => messages.some(({ content }) => isPart(text.trim(), content)));
}

/** A short text must be on lines of its own there: "bird" occurs in "Name a bird." only by chance. */
const isPart = (text: string, whole: string): boolean =>
  (text.length < 20 ? `\n${whole}\n`.includes(`\n${text}\n`) : whole.includes(text)) || text === '';

function textsOf(value: unknown): string[] | undefined {
  if (typeof value === 'string') return [value];
  if (!Array.isArray(value)) return undefined;
  const texts = value.map((message: { role?: unknown; content?: unknown } | null) =>
    message?.role === 'assistant' ? '' : message?.content,
  );
  return texts.every((each) => typeof each === 'string') ? texts : undefined;
}

function systemText(fields: Fields, names: readonly string[], { messages }: Prompt): string | undefined {
  const [name, other] = names;
  if (name === undefined) return undefined;
  const text = fields.text(name);
  if (other !== undefined && fields.text(other) !== text)
    throw new InputError(`"${name}" and "${other}" differ; drop one of them`);
  if (messages[0]?.role === 'system')
    throw new InputError(`"${name}" differs from the prompt's system message; drop one of them`);
  return text;
}

function history(fields: Fields, { text, from }: Prompt): ChatMessage[] {
  if (text === undefined)
    throw new InputError(
      `"${HISTORY}" is beside a list of messages; move its turns into "${from[0]!}", or drop the column`,
    );
  const turns = fields.raw(HISTORY);
  const isTurn = (turn: unknown): turn is [string, string] =>
    Array.isArray(turn) && turn.length === 2 && turn.every((each) => typeof each === 'string');
  if (!Array.isArray(turns) || !turns.every(isTurn))
    throw new InputError(
      `"${HISTORY}" is not a list of [question, answer], each a text; make the prompt a list of messages, or drop ` +
        'the column',
    );
  return turns.flatMap(([question, answer]) => [
    { role: 'user', content: question } as const,
    { role: 'assistant', content: answer } as const,
  ]);
}
