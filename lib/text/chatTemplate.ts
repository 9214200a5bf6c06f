/** A model's own chat template, rendered as by transformers' apply_chat_template. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { FileError, InputError, oneLine, quoted } from '../errors';
import { readText } from '../formats/fileBytes';
import type { JsonObject } from '../formats/jsonFile';
import { ADDITIONAL_TEMPLATES, isAdditionalTemplate } from '../hub/modelFiles';
import { FUNCTIONS, likePython, sourceText } from './jinja';
import type { ChatMessage } from './templates';

/** The members of @huggingface/jinja's Template that are used here. */
interface Template {
  readonly parsed: { body: unknown[] };
  render(values: Record<string, unknown>): string;
}

const CHAT_TEMPLATE = 'chat_template.jinja';

/** The template files of a folder, by their paths in it. */
export function templateFiles(folder: string): string[] {
  const more = existsSync(join(folder, ADDITIONAL_TEMPLATES))
    ? readdirSync(join(folder, ADDITIONAL_TEMPLATES)).sort()
    : [];
  return [
    ...(existsSync(join(folder, CHAT_TEMPLATE)) ? [CHAT_TEMPLATE] : []),
    ...more.map((name) => `${ADDITIONAL_TEMPLATES}/${name}`).filter(isAdditionalTemplate),
  ];
}

export class ChatTemplate {
  readonly #template: Template;
  readonly #tokens: Readonly<Record<string, string>>;

  private constructor(
    template: Template,
    tokens: Readonly<Record<string, string>>,
    /** The template's file, for error messages. */
    readonly source: string,
  ) {
    this.#template = template;
    this.#tokens = tokens;
  }

  /**
   * Reads a folder's template: chat_template.jinja or, without it, the `chat_template` of tokenizer_config.json; if
   * that has several, the one named `default`. As in transformers, a template file replaces every template in
   * tokenizer_config.json, even if it is not the default one.
   *
   * @param special the special tokens by the names that templates use, such as `eos_token`.
   * @returns null if the folder has no template.
   * @throws FileError if the template is not valid.
   */
  static async read(
    folder: string,
    config: JsonObject,
    special: Readonly<Record<string, string>>,
  ): Promise<ChatTemplate | null> {
    const path = join(folder, CHAT_TEMPLATE);
    const others = templateFiles(folder).filter((file) => file !== CHAT_TEMPLATE);
    if (others.length > 0 && !existsSync(path)) {
      throw new FileError(
        join(folder, others[0]!),
        `is a chat template, but there is no default one; save that as ${CHAT_TEMPLATE}, or remove ` +
          `${ADDITIONAL_TEMPLATES}`,
      );
    }
    const [source, text] = existsSync(path)
      ? [path, readText(path)]
      : [join(folder, 'tokenizer_config.json'), ofConfig(config, join(folder, 'tokenizer_config.json'))];
    if (text === undefined) return null;
    const { Template } = await import('@huggingface/jinja');
    try {
      const template: Template = new Template(sourceText(text));
      likePython(template.parsed);
      return new ChatTemplate(template, special, source);
    } catch (cause) {
      throw new FileError(
        source,
        `its chat template cannot be read (${oneLine(cause)}); fix it, or remove it to have messages written ` +
          'as the Alpaca prompt',
        { cause },
      );
    }
  }

  /** @throws InputError with the template's own message if it rejects the messages. */
  render(messages: readonly ChatMessage[], { addGenerationPrompt = false } = {}): string {
    try {
      // As in transformers, values that are not given are defined as none.
      return this.#template.render({
        ...FUNCTIONS,
        tools: null,
        documents: null,
        ...this.#tokens,
        messages: messages.map((message) => ({ ...message })),
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (cause) {
      throw new InputError(`the model's chat template does not accept these messages (${oneLine(cause)})`, { cause });
    }
  }
}

function ofConfig({ chat_template: given }: JsonObject, path: string): string | undefined {
  if (given == null || typeof given === 'string') return given ?? undefined;
  const named = Array.isArray(given) ? (given as { name?: unknown; template?: unknown }[]) : [];
  const template = named.find(({ name }) => name === 'default')?.template;
  if (typeof template === 'string') return template;
  throw new FileError(
    path,
    'its chat_template is neither a text nor a list with one that is named "default", but ' +
      `${quoted(JSON.stringify(given))}`,
  );
}
