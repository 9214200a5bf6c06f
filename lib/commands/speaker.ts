/** A model that takes part in a conversation. */
import { answers, type AnswerOptions } from '../model/answer';
import { gpt2Files } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { chatOf, type Chat } from '../text/chat';
import { fittedPrompt } from '../text/conversation';
import type { ChatMessage } from '../text/templates';
import { Tokenizer } from '../text/tokenizer';

/** The heading with which the Alpaca prompt goes on: a model that writes it has begun to ask itself. */
const NEXT_QUESTION = '\n\n### Instruction:';

export type SpeakingOptions = Omit<AnswerOptions, 'samples' | 'batchSize' | 'onText'> & {
  maxNewTokens: number;
  onText?: (text: string) => void;
};

export interface Spoken {
  readonly text: string;
  /** Number of the oldest turns for which the window had no room. */
  readonly dropped: number;
  /** Why the answer may be incomplete: the window is full, it has `maxNewTokens`, or the signal was aborted. */
  readonly cut: 'window' | 'length' | 'stopped' | undefined;
}

export class Speaker {
  private constructor(
    readonly name: string,
    /** What writes its prompts, as a sentence. */
    readonly rendering: string,
    private readonly model: GPT2,
    private readonly tokenizer: Tokenizer,
    private readonly chat: Chat,
  ) {}

  /** @param name a model's name or folder, as everywhere. @throws as `Tokenizer` and `GPT2` do. */
  static async fromPretrained(name: string): Promise<Speaker> {
    await gpt2Files(name);
    const tokenizer = await Tokenizer.fromPretrained(name);
    let rendering = '';
    const chat = chatOf(tokenizer.chatTemplate, (sentence) => (rendering = sentence));
    chat.prompt([{ role: 'user', content: 'x' }]); // tells what renders it
    return new Speaker(name, rendering, await GPT2.fromPretrained(name), tokenizer, chat);
  }

  get hasTemplate(): boolean {
    return this.chat.templated;
  }

  get blockSize(): number {
    return this.model.config.blockSize;
  }

  /**
   * Answers the last message. Once the signal is aborted, the answer is what has been said so far.
   *
   * @throws InputError if the messages or an option do not fit.
   */
  async answer(messages: readonly ChatMessage[], options: SpeakingOptions): Promise<Spoken> {
    const { blockSize, chat, tokenizer, model } = this;
    const { maxNewTokens, stop = [], signal, onText } = options;
    const { ids, dropped } = fittedPrompt(messages, { chat, tokenizer, blockSize, room: maxNewTokens });
    let said = '';
    try {
      const [made] = await answers(model, tokenizer, [ids], {
        ...options,
        stop: chat.templated ? stop : [...stop, NEXT_QUESTION],
        onText: (text) => {
          said += text;
          onText?.(text);
        },
      });
      const full = ids.length + maxNewTokens > blockSize ? 'window' : 'length';
      return { text: said, dropped, cut: made!.finish === 'length' ? full : undefined };
    } catch (error) {
      if (!signal?.aborted || error !== signal.reason) throw error;
      return { text: said, dropped, cut: 'stopped' };
    }
  }

  dispose(): void {
    this.model.dispose();
  }
}
