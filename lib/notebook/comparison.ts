/** Shows what several models answer to the same prompts, with the differences marked. */
import { InputError, plural } from '../errors';
import { answers, type AnswerOptions } from '../model/answer';
import type { GPT2 } from '../model/gpt2';
import { chatOf } from '../text/chat';
import type { ChatMessage } from '../text/templates';
import type { Tokenizer } from '../text/tokenizer';
import { markDifferences, type Part } from '../text/wordDiff';
import type { Html } from './show';
import { textColumns, textLines } from './textColumns';
import { escaped } from './tokenTable';

export interface CompareOptions extends Omit<AnswerOptions, 'onText' | 'samples'> {
  /** The tokenizer of all these models. */
  tokenizer: Tokenizer;
  /**
   * Write a prompt that is a text as a question: by the model's chat template, or as the Alpaca prompt. Default true;
   * false continues the text as it is.
   */
  instruct?: boolean;
}

/** A table for `show`, and the answers in it. */
export interface Comparison extends Html {
  /** The answers of each model, in the order of the prompts. */
  readonly answers: Readonly<Record<string, readonly string[]>>;
}

const WIDTH = 80;
const CELL = 'text-align: left; vertical-align: top; padding: 4px 8px; white-space: pre-wrap';
const HEAD = `${CELL}; font-weight: bold`;
const MARKED =
  'background-color: rgba(0, 114, 178, 0.25); border-bottom: 2px solid rgba(0, 114, 178, 0.9); border-radius: 2px';

/**
 * Lets models answer the same prompts, and makes a table for `show`: a row for each prompt, a column for each model.
 * In the first model's answers, the words that some other answer lacks are marked; in each other one, those that the
 * first answer lacks. The most likely tokens are taken unless a temperature is given; then all models draw with the
 * same seed.
 *
 *     const table = await compare({ before: sft, after: policy }, ['Say hello.'], { tokenizer, maxNewTokens: 32 });
 *     show(table);
 *     console.log(table.answers.after[0]);
 *
 * @param models models by the names of their columns.
 * @param prompts questions, conversations that end with a question, or with `instruct: false` texts to continue.
 * @throws InputError if there is no model or no prompt, or a prompt does not fit.
 */
export async function compare(
  models: Readonly<Record<string, GPT2>>,
  prompts: readonly (string | readonly ChatMessage[])[],
  { tokenizer, instruct = true, ...options }: CompareOptions,
): Promise<Comparison> {
  const names = Object.keys(models);
  const chat = chatOf(tokenizer.chatTemplate);
  const asText = (prompt: string | readonly ChatMessage[]): string => {
    if (typeof prompt !== 'string') return chat.prompt(prompt);
    return instruct ? chat.prompt([{ role: 'user', content: prompt }]) : prompt;
  };
  const shown = prompts.map((prompt) => (typeof prompt === 'string' ? prompt : (prompt.at(-1)?.content ?? '')));
  const ids = prompts.map((prompt) => tokenizer.encode(asText(prompt)));
  const made: Record<string, string[]> = {};
  for (const name of names)
    made[name] = (await answers(models[name]!, tokenizer, ids, options)).map(({ text }) => text);
  return comparisonTable(shown, made);
}

/**
 * The table of `compare` for answers that exist already.
 *
 *     show(comparisonTable(questions, { before, after }));
 *
 * @param answersOf the answers by the names of their columns, one for each prompt.
 * @throws InputError if there are no prompts or no answers, or a column does not have one answer for each prompt.
 */
export function comparisonTable(
  prompts: readonly string[],
  answersOf: Readonly<Record<string, readonly string[]>>,
): Comparison {
  const names = Object.keys(answersOf);
  if (prompts.length === 0 || names.length === 0)
    throw new InputError('there is nothing to compare; give at least one prompt, and one model');
  for (const [name, { length }] of Object.entries(answersOf))
    if (length !== prompts.length)
      throw new InputError(
        `"${name}" has ${plural(length, 'answer')} for ${plural(prompts.length, 'prompt')}; give one for each`,
      );
  const rows = prompts.map((prompt, row) => ({
    prompt,
    marked: markDifferences(names.map((name) => answersOf[name]![row]!)),
  }));
  return { html: htmlOf(names, rows), text: textOf(names, rows), answers: answersOf };
}

interface Row {
  readonly prompt: string;
  readonly marked: readonly (readonly Part[])[];
}

function htmlOf(names: readonly string[], rows: readonly Row[]): string {
  const cell = (style: string, html: string): string => `<td style="${style}">${html}</td>`;
  const line = (cells: readonly string[]): string => `<tr>${cells.join('')}</tr>`;
  const answer = (parts: readonly Part[]): string =>
    parts
      .map(({ text, differs }) => (differs ? `<span style="${MARKED}">${escaped(text)}</span>` : escaped(text)))
      .join('');
  return [
    '<table>',
    line(['prompt', ...names].map((name) => cell(HEAD, escaped(name)))),
    ...rows.map(({ prompt, marked }) =>
      line([cell(CELL, escaped(prompt)), ...marked.map((parts) => cell(CELL, answer(parts)))]),
    ),
    '</table>',
  ].join('\n');
}

function textOf(names: readonly string[], rows: readonly Row[]): string {
  const blocks = rows.map(({ prompt, marked }) =>
    [
      ...textLines(prompt, WIDTH),
      ...textColumns(
        marked.map((parts, n) => ({ heading: names[n]!, parts })),
        { width: WIDTH, color: false },
      ),
    ].join('\n'),
  );
  return blocks.join('\n\n');
}
