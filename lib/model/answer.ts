/** Prompts -> answers as text: decoded while they are generated, and ended at a stop string. */
import type { Tokenizer } from '../text/tokenizer';
import { generate, type Generated, type GenerateOptions } from './generate';
import type { GPT2 } from './gpt2';

export interface AnswerOptions extends Omit<GenerateOptions, 'eosTokenId' | 'suppressTokens' | 'stop' | 'onToken'> {
  /** End an answer where one of these texts begins; it does not belong to the answer. Default: none. */
  stop?: readonly string[];
  /** Called with each part of a row's text once it is final: whole characters, and no beginning of a stop text. */
  onText?: (text: string, row: number) => void;
}

export interface Answer {
  /** Without the end token and without what follows a stop text. */
  readonly text: string;
  readonly finish: Generated['finish'];
}

/**
 * Answers prompts by `generate`, ending at the tokenizer's end tokens and never choosing an id without a token.
 *
 * @param prompts token ids.
 * @returns `samples` answers for each prompt.
 * @throws InputError if a prompt or an option does not fit; the signal's reason if it is aborted.
 */
export async function answers(
  model: GPT2,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  { stop = [], onText, ...options }: AnswerOptions,
): Promise<Answer[]> {
  const texts = Array.from({ length: prompts.length * (options.samples ?? 1) }, () => new GrowingText(tokenizer, stop));
  const made = await generate(model, prompts, {
    ...options,
    eosTokenId: tokenizer.endTokenIds,
    suppressTokens: tokenizer.missingIds(model.config.vocabSize),
    ...(stop.length > 0 && { stop: (ids) => stop.some((end) => tokenizer.decode(ids).includes(end)) }),
    onToken: (id, row) => {
      const text = texts[row]!;
      text.add(id);
      if (onText) report(text.newlyFinal(), row);
    },
  });
  function report(text: string, row: number): void {
    if (text !== '') onText?.(text, row);
  }
  texts.forEach((text, row) => report(text.rest(), row));
  return made.map(({ finish }, row) => ({ text: texts[row]!.whole(), finish }));
}

/** The text of tokens that arrive one by one. A character may take several of them; until then its end is U+FFFD. */
export class GrowingText {
  readonly #ids: number[] = [];
  #reported = 0;

  constructor(
    readonly tokenizer: Tokenizer,
    readonly stop: readonly string[],
  ) {}

  add(id: number): void {
    if (!this.tokenizer.endTokenIds.includes(id)) this.#ids.push(id);
  }

  /** Everything so far, up to a stop text. */
  whole(): string {
    const text = this.tokenizer.decode(this.#ids);
    const ends = this.stop.map((end) => text.indexOf(end)).filter((place) => place >= 0);
    return text.slice(0, Math.min(text.length, ...ends));
  }

  /** What has become final since the last call. */
  newlyFinal(): string {
    const complete = this.whole().replace(/\ufffd+$/, '');
    return this.#take(complete, complete.length - Math.max(0, ...this.stop.map((end) => overlap(complete, end))));
  }

  /** What `newlyFinal` has held back. */
  rest(): string {
    const text = this.whole();
    return this.#take(text, text.length);
  }

  #take(text: string, until: number): string {
    const taken = text.slice(this.#reported, until);
    this.#reported = Math.max(this.#reported, until);
    return taken;
  }
}

/** The length of the longest beginning of `end` with which the text ends. */
function overlap(text: string, end: string): number {
  let length = Math.min(text.length, end.length - 1);
  while (length > 0 && !text.endsWith(end.slice(0, length))) length -= 1;
  return length;
}
