/** The fields of one row. Each is checked when it is read; fields that are never read are ignored. */
import { clipped, InputError, listed, quoted } from '../errors';
import type { ChatMessage } from './templates';

const ROLES: readonly ChatMessage['role'][] = ['system', 'user', 'assistant'];
/** Properties of a message, besides its content, that a chat template would put into the prompt or the response. */
const BESIDE_CONTENT = ['tool_calls', 'function_call', 'reasoning_content', 'thinking', 'images'] as const;

/** The form of a row. */
export interface RowForm {
  /** The requirement in words, for messages: "a pair needs prompt (or instruction), chosen, rejected". */
  readonly needs: string;
  /** The fields that are read. */
  readonly names: readonly string[];
  /** Fields of other row forms, which a message need not report as unknown. */
  readonly others?: readonly string[];
}

export class Fields {
  readonly #row: Readonly<Record<string, unknown>>;
  readonly #form: RowForm | undefined;
  readonly #given: Readonly<Record<string, unknown>>;

  /** @param given the row as the file has it, for messages, if its columns have other names there. */
  constructor(row: Readonly<Record<string, unknown>>, form?: RowForm, given = row) {
    this.#row = row;
    this.#form = form;
    this.#given = given;
  }

  get names(): string[] {
    return Object.keys(this.#row);
  }

  /** Whether the field is present. Null counts as missing, since a table has every column in every row. */
  has(name: string): boolean {
    return (this.#row[name] ?? null) !== null;
  }

  /** Whether the column has a value. An empty text, list or object counts as missing, too. */
  holds(name: string): boolean {
    const value = this.#row[name] ?? null;
    if (typeof value === 'string') return value.trim() !== '';
    return value !== null && (typeof value !== 'object' || Object.keys(value).length > 0);
  }

  /** The value, unchecked, for a column of any type. */
  raw(name: string): unknown {
    return this.#row[name];
  }

  /** @throws InputError naming the field. */
  text(name: string): string {
    const value = this.#value(name);
    if (typeof value !== 'string') throw new InputError(`"${name}" is not a text`);
    return value;
  }

  /** @throws InputError naming the field. Parquet's 64-bit integers arrive as bigint, a table's numbers as texts. */
  number(name: string): number {
    const value = this.#value(name);
    const isText = typeof value === 'string' && /^-?\d+(\.\d*)?(e[+-]?\d+)?$/i.test(value);
    const number = typeof value === 'bigint' || isText ? Number(value) : value;
    if (typeof number !== 'number' || !Number.isFinite(number)) throw new InputError(`"${name}" is not a number`);
    return number;
  }

  /** True or false, or 1 or 0; in a table as text. @throws InputError naming the field. */
  flag(name: string): boolean {
    const value = this.#value(name);
    const flag = typeof value === 'bigint' ? Number(value) : typeof value === 'string' ? value.toLowerCase() : value;
    if (flag === true || flag === 1 || flag === 'true' || flag === '1') return true;
    if (flag === false || flag === 0 || flag === 'false' || flag === '0') return false;
    throw new InputError(`"${name}" is ${clipped(JSON.stringify(flag))}, not true or false`);
  }

  /**
   * An empty system message at the beginning counts as missing.
   *
   * @throws InputError naming the field and, in a list, the message, counted from 1.
   */
  textOrMessages(name: string): string | ChatMessage[] {
    const value = this.#value(name);
    if (typeof value === 'string') return value;
    if (!Array.isArray(value)) throw new InputError(`"${name}" is not a text or a list of messages`);
    const messages = value.map((message, index) => asMessage(message, `"${name}", message ${index + 1}`));
    return messages[0]?.role === 'system' && messages[0].content === '' ? messages.slice(1) : messages;
  }

  #value(name: string): unknown {
    const value = this.#row[name];
    if (value === undefined) throw new InputError(`has no "${name}"${this.#otherNames()}`);
    if (value === null) throw new InputError(`"${name}" is null`);
    if (value instanceof Uint8Array) throw new InputError(`"${name}" is not UTF-8`);
    return value;
  }

  /** The fields that the row has instead, if any of them is unknown to this form. */
  #otherNames(): string {
    if (this.#form === undefined) return '';
    const names = Object.keys(this.#row).filter((name) => this.#row[name] !== null);
    const unknown = names.filter(
      (name) =>
        ![...this.#form!.names, ...(this.#form!.others ?? [])].includes(name) &&
        !/^(id|idx|index)$|_(id|idx|index)$/.test(name),
    );
    if (unknown.length === 0) return '';
    const given = Object.keys(this.#given).filter((name) => this.#given[name] !== null);
    return `; it has ${listed(given.map(written), SHOWN)}; ${this.#form.needs}`;
  }
}

/** Maximum number of names shown. */
const SHOWN = 12;

const written = (name: string): string => (/^[\w.-]+$/.test(name) ? clipped(name) : quoted(name));

const MESSAGE: RowForm = {
  needs: 'a message needs role, content',
  names: ['role', 'content', 'name', ...BESIDE_CONTENT],
};

function asMessage(message: unknown, name: string): ChatMessage {
  if (typeof message !== 'object' || message === null || Array.isArray(message))
    throw new InputError(`${name} is not an object with "role" and "content"`);
  const fields = new Fields(message as Record<string, unknown>, MESSAGE);
  try {
    const role = fields.text('role');
    if (!isRole(role)) throw new InputError(`has the role ${quoted(role)}; a role is one of ${ROLES.join(', ')}`);
    const beside = BESIDE_CONTENT.find((field) => fields.holds(field));
    if (beside !== undefined)
      throw new InputError(`has "${beside}", which would be lost; put it into "content" as text, or remove it`);
    const by = fields.holds('name') ? { name: fields.text('name') } : {};
    return {
      role,
      ...by,
      content: Array.isArray(fields.raw('content'))
        ? joined(fields.raw('content') as unknown[])
        : fields.text('content'),
    };
  } catch (cause) {
    throw cause instanceof InputError ? new InputError(`${name}: ${cause.message}`, { cause }) : cause;
  }
}

/**
 * Joins the parts of a content, each {"type": "text", "text": …}, with nothing between them, as chat templates print
 * them.
 */
function joined(parts: readonly unknown[]): string {
  return parts
    .map((part, index) => {
      const { type, text } = (part ?? {}) as { type?: unknown; text?: unknown };
      if (type === 'text' && typeof text === 'string') return text;
      const kind = typeof type === 'string' && type !== 'text' ? `of the type ${quoted(type)}` : 'without a text';
      throw new InputError(`part ${index + 1} of "content" is ${kind}; GPT-2 reads only text: leave the part out`);
    })
    .join('');
}

const isRole = (text: string): text is ChatMessage['role'] => (ROLES as readonly string[]).includes(text);
