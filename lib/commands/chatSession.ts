/** A conversation with a model: its history, the answers, and the comparison with another model's answer. */
import { InputError, plural } from '../errors';
import { textColumns } from '../notebook/textColumns';
import type { ChatMessage } from '../text/templates';
import { markDifferences } from '../text/wordDiff';
import { Speaker, type SpeakingOptions, type Spoken } from './speaker';

export interface ChatOptions extends Omit<SpeakingOptions, 'signal' | 'onText' | 'seed'> {
  /** Whether the model sees the earlier turns. */
  readonly history: boolean;
  /** The n-th question, from 0, is answered with seed + n. */
  readonly seed: number;
}

export class ChatSession {
  /** user, assistant, user, …, ending with an answer. */
  #turns: readonly ChatMessage[] = [];
  #last: { messages: readonly ChatMessage[]; text: string; seed: number } | undefined;
  #asked = 0;
  #other: Speaker | undefined;

  constructor(
    readonly speaker: Speaker,
    readonly options: ChatOptions,
  ) {}

  /**
   * Answers a question. The turn belongs to the history if its answer has a text, also if it was stopped.
   *
   * @returns remarks about the answer, such as that it was cut off.
   * @throws InputError if the question does not fit; the history stays as it is.
   */
  async ask(question: string, more: Pick<SpeakingOptions, 'signal' | 'onText'>): Promise<string[]> {
    const { history, seed: first, ...sampling } = this.options;
    const messages = [...(history ? this.#turns : []), { role: 'user', content: question } as const];
    const seed = (first + this.#asked) % 2 ** 32;
    const spoken = await this.speaker.answer(messages, { ...sampling, seed, ...more });
    this.#asked += 1;
    const kept = messages.slice(2 * spoken.dropped);
    this.#last = { messages: kept, text: spoken.text, seed };
    const remarks = this.#remarks(this.speaker, spoken);
    if (spoken.text.trim() === '') return [...remarks, 'the answer is empty, so this turn is not kept'];
    this.#turns = [...kept, { role: 'assistant', content: spoken.text }];
    return remarks;
  }

  /**
   * Has another model answer the last question, with the same history and the same seed.
   *
   * @param width columns that the two answers may take together.
   * @returns the lines with both answers side by side, and remarks; no lines if the signal was aborted.
   * @throws InputError if nothing has been asked, or the question does not fit; whatever the model's reading throws.
   */
  async compare(
    name: string,
    { width, color, signal }: { width: number; color: boolean; signal: AbortSignal },
  ): Promise<{ lines: string[]; remarks: string[] }> {
    if (this.#last === undefined) throw new InputError('/compare has nothing to compare yet; ask a question first');
    const { messages, text, seed } = this.#last;
    const other = await this.#speakerOf(name);
    const { history: _, ...sampling } = this.options;
    const spoken = await other.answer(messages, { ...sampling, seed, signal });
    const remarks = this.#remarks(other, spoken);
    if (spoken.cut === 'stopped') return { lines: [], remarks };
    const [ours = [], theirs = []] = markDifferences([text, spoken.text]);
    const columns = [
      { heading: this.speaker.name, parts: ours },
      { heading: name, parts: theirs },
    ];
    return { lines: textColumns(columns, { width, color }), remarks };
  }

  /** Forgets the conversation. */
  reset(): void {
    this.#turns = [];
    this.#last = undefined;
  }

  dispose(): void {
    this.speaker.dispose();
    this.#other?.dispose();
  }

  /** The other model of the last comparison is kept; a new one takes its place. */
  async #speakerOf(name: string): Promise<Speaker> {
    if (name === this.speaker.name) return this.speaker;
    if (name !== this.#other?.name) {
      this.#other?.dispose();
      this.#other = undefined;
      this.#other = await Speaker.fromPretrained(name);
    }
    return this.#other;
  }

  #remarks({ name, blockSize }: Speaker, { dropped, cut }: Spoken): string[] {
    const of = name === this.speaker.name ? '' : `${name}: `;
    const window = `the window of ${plural(blockSize, 'token')}`;
    const turns = dropped === 1 ? 'the oldest turn was' : `the ${dropped} oldest turns were`;
    const cuts = {
      window: `${of}cut off: ${window} is full`,
      length: `${of}cut off after ${plural(this.options.maxNewTokens, 'token')}; --max-new-tokens allows more`,
      stopped: 'stopped',
    } as const;
    return [
      ...(dropped > 0 ? [`${of}${turns} left out: the conversation no longer fits ${window}`] : []),
      ...(cut ? [cuts[cut]] : []),
    ];
  }
}
