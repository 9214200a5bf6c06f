/** Jupyter's messages on ZeroMQ: https://jupyter-client.readthedocs.io/en/stable/messaging.html#the-wire-protocol */
import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';

export type Content = Readonly<Record<string, unknown>>;

export interface Header {
  readonly msg_id: string;
  readonly msg_type: string;
  readonly session: string;
  readonly username: string;
}

export interface Request<Of = Content> {
  /** The identities of the requester; on iopub, which everyone receives, they do no harm. */
  readonly identities: readonly Buffer[];
  readonly header: Header;
  readonly content: Of;
}

const DELIMITER = Buffer.from('<IDS|MSG>');
const VERSION = '5.3';

const signature = (key: string, parts: readonly (Buffer | string)[]): string =>
  parts.reduce((hmac, part) => hmac.update(part), createHmac('sha256', key)).digest('hex');

/** @throws Error if the sender of the message does not have the connection file's key. */
export function received(key: string, frames: readonly Buffer[]): Request {
  const at = frames.findIndex((frame) => frame.equals(DELIMITER));
  const [signed, ...parts] = frames.slice(at + 1);
  if (at < 0 || !signed || parts.length < 4) throw new Error('a message without a signature and four parts');
  const expected = Buffer.from(signature(key, parts));
  if (signed.length !== expected.length || !timingSafeEqual(signed, expected))
    throw new Error('a message with a wrong signature');
  const [header, , , content] = parts.map((part) => JSON.parse(part.toString()) as unknown);
  return { identities: frames.slice(0, at), header: header as Header, content: content as Content };
}

/**
 * Half of a surrogate pair is not a character: Jupyter could not write it into a file, and would stop saving the
 * notebook.
 */
const wellFormed = (_: string, value: unknown): unknown =>
  typeof value === 'string' ? value.replace(/\p{Surrogate}/gu, '\ufffd') : value;

/** The frames of a message that answers `request`. */
export function answer(
  key: string,
  { identities, header }: Request,
  type: string,
  content: Content,
): (Buffer | string)[] {
  const { session, username } = header;
  const own = {
    msg_id: randomUUID(),
    msg_type: type,
    session,
    username,
    date: new Date().toISOString(),
    version: VERSION,
  };
  const parts = [own, header, {}, content].map((part) => JSON.stringify(part, wellFormed));
  return [...identities, DELIMITER, signature(key, parts), ...parts];
}
