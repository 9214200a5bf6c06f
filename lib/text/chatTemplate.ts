/** A model's own chat template, as transformers' apply_chat_template renders it. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { FileError, InputError, quoted } from '../errors';
import { foreignFile } from '../foreignFile';
import type { JsonObject } from '../jsonFile';
import type { ChatMessage } from './templates';

/** The part of @huggingface/jinja's Template that is used here. */
interface Template {
  render(values: Record<string, unknown>): string;
}

export class ChatTemplate {
  readonly #template: Template;
  readonly #tokens: Readonly<Record<string, string>>;

  private constructor(
    template: Template,
    tokens: Readonly<Record<string, string>>,
    /** The file that it comes from, for messages. */
    readonly source: string,
  ) {
    this.#template = template;
    this.#tokens = tokens;
  }

  /**
   * A folder's template: chat_template.jinja, else the `chat_template` of tokenizer_config.json, of several the one named `default`.
   *
   * @param special the special tokens by the names that templates use, such as `eos_token`.
   * @returns null if there is none.
   * @throws FileError if it is no template.
   */
  static async read(folder: string, config: JsonObject, special: Readonly<Record<string, string>>): Promise<ChatTemplate | null> {
    const path = join(folder, 'chat_template.jinja');
    const [source, text] = existsSync(path) ? [path, readText(path)] : [join(folder, 'tokenizer_config.json'), ofConfig(config, join(folder, 'tokenizer_config.json'))];
    if (text === undefined) return null;
    const { Template } = await import('@huggingface/jinja');
    try {
      return new ChatTemplate(new Template(text), special, source);
    } catch (cause) {
      throw new FileError(source, `its chat template cannot be read (${(cause as Error).message}); mend it, or take it out to have messages written as the Alpaca prompt`, { cause });
    }
  }

  /** @throws InputError with what the template says of messages that it does not take. */
  render(messages: readonly ChatMessage[], { addGenerationPrompt = false } = {}): string {
    try {
      // As in transformers, what is not given is there, and none.
      return this.#template.render({ tools: null, documents: null, ...this.#tokens, messages: messages.map((message) => ({ ...message })), add_generation_prompt: addGenerationPrompt });
    } catch (cause) {
      throw new InputError(`the model's chat template does not take these messages (${(cause as Error).message})`, { cause });
    }
  }
}

function readText(path: string): string {
  const foreign = foreignFile(path);
  if (foreign !== undefined) throw new FileError(path, foreign);
  return readFileSync(path, 'utf8');
}

function ofConfig({ chat_template: given }: JsonObject, path: string): string | undefined {
  if (given == null || typeof given === 'string') return given ?? undefined;
  const named = Array.isArray(given) ? (given as { name?: unknown; template?: unknown }[]) : [];
  const template = named.find(({ name }) => name === 'default')?.template;
  if (typeof template === 'string') return template;
  throw new FileError(path, `its chat_template is neither a text nor a list with one that is named "default", but ${quoted(JSON.stringify(given))}`);
}
