/** One row's fields, each checked when it is asked for; the others are passed over. */
import { InputError, quoted } from '../errors';
import type { ChatMessage } from './templates';

const ROLES: readonly ChatMessage['role'][] = ['system', 'user', 'assistant'];

export class Fields {
  constructor(private readonly row: Readonly<Record<string, unknown>>) {}

  /** A field that is null counts as missing: a table has every column in every row. */
  has(name: string): boolean {
    return (this.row[name] ?? null) !== null;
  }

  /** @throws InputError naming the field. */
  text(name: string): string {
    const value = this.#value(name);
    if (typeof value !== 'string') throw new InputError(`"${name}" is not a text`);
    return value;
  }

  /** @throws InputError naming the field. Parquet's 64-bit integers come as bigint. */
  number(name: string): number {
    const value = this.#value(name);
    const number = typeof value === 'bigint' ? Number(value) : value;
    if (typeof number !== 'number' || !Number.isFinite(number)) throw new InputError(`"${name}" is not a number`);
    return number;
  }

  /** @throws InputError naming the field and, in a list, the message; the first is message 1. */
  textOrMessages(name: string): string | ChatMessage[] {
    const value = this.#value(name);
    if (typeof value === 'string') return value;
    if (!Array.isArray(value)) throw new InputError(`"${name}" is not a text or a list of messages`);
    return value.map((message, index) => asMessage(message, `"${name}", message ${index + 1}`));
  }

  #value(name: string): unknown {
    const value = this.row[name];
    if (value === undefined) throw new InputError(`has no "${name}"`);
    if (value === null) throw new InputError(`"${name}" is null`);
    if (value instanceof Uint8Array) throw new InputError(`"${name}" is not UTF-8`);
    return value;
  }
}

function asMessage(message: unknown, name: string): ChatMessage {
  if (typeof message !== 'object' || message === null || Array.isArray(message)) throw new InputError(`${name} is not an object with "role" and "content"`);
  const fields = new Fields(message as Record<string, unknown>);
  try {
    const role = fields.text('role');
    if (!isRole(role)) throw new InputError(`has the role ${quoted(role)}; there are ${ROLES.join(', ')}`);
    return { role, content: fields.text('content') };
  } catch (cause) {
    throw cause instanceof InputError ? new InputError(`${name}: ${cause.message}`, { cause }) : cause;
  }
}

const isRole = (text: string): text is ChatMessage['role'] => (ROLES as readonly string[]).includes(text);
