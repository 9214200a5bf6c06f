/**
 * Plain text for SFT: every token of a text but its first is predicted, then its end. A text longer than the window is
 * split into pieces.
 */
import { FileError, InputError } from '../errors';
import { appendEos } from './batch';
import { gapAfter } from './boundary';
import type { Fields } from './fields';
import type { PromptResponses } from './responseBatch';
import type { Tokenizer } from './tokenizer';

/** Fields that make a row with "text" something else; the text is then ignored. */
const OTHER_FORMS = [
  'prompt',
  'instruction',
  'messages',
  'chosen',
  'rejected',
  'output',
  'response',
  'completion',
] as const;

/** Whether a row is a plain text: it has "text", and no field of another form. */
export const isPlainText = (fields: Fields): boolean =>
  fields.has('text') && !OTHER_FORMS.some((name) => fields.has(name));

/**
 * A row's text as ids, with its end-of-sequence token, in pieces of at most `maxLength` tokens.
 *
 * @throws InputError if the text is missing or empty, or is only an end-of-sequence token.
 */
export function encodedText(
  fields: Fields,
  tokenizer: Tokenizer,
  { maxLength }: { readonly maxLength: number },
): PromptResponses[] {
  const text = fields.text('text');
  if (text === '') throw new InputError('text is empty');
  const ids = appendEos(encodedLong(tokenizer, text), tokenizer.eosTokenId);
  if (ids.length < 2)
    throw new InputError('text is only an end-of-sequence token, so there is nothing to predict; leave the row out');
  return textPieces(ids, maxLength);
}

/** Characters; the tokenizer takes at most a million at a time. */
const STRETCH = 500_000;

/**
 * The ids of a text of any length, encoded in stretches that end where white space follows another character, with the
 * same ids as the whole.
 *
 * @throws InputError if the tokenizer refuses a stretch, such as a million characters without white space.
 */
export function encodedLong(
  tokenizer: Pick<Tokenizer, 'encode' | 'splitsAtGaps'>,
  text: string,
  stretch = STRETCH,
): number[] {
  if (text.length <= stretch || !tokenizer.splitsAtGaps) return tokenizer.encode(text);
  const ids: number[] = [];
  for (let start = 0; start < text.length;) {
    const end = start + stretch < text.length ? gapAfter(text, start + stretch - 1) : undefined;
    for (const id of tokenizer.encode(text.slice(start, end))) ids.push(id);
    start = end ?? text.length;
  }
  return ids;
}

/**
 * Splits a text into pieces of at most `maxLength` tokens, all but the last of exactly this length. Each piece begins
 * with the last token of the piece before it, so every token but the text's first is predicted exactly once. (TRL's
 * packing strategy `bfd_split` splits without this overlap, and never predicts the first token of a piece.)
 *
 * @param ids at least two.
 * @param maxLength at least 2.
 * @returns for each piece its first token as the prompt and the others as the response.
 */
export function textPieces(ids: readonly number[], maxLength: number): PromptResponses[] {
  if (maxLength < 2) throw new InputError(`maxLength must be at least 2 to predict a token, got ${maxLength}`);
  const pieces: PromptResponses[] = [];
  for (let start = 0; start + 1 < ids.length; start += maxLength - 1)
    pieces.push({ promptIds: [ids[start]!], responses: [ids.slice(start + 1, start + maxLength)] });
  return pieces;
}

/**
 * Whether a file is one text. Its name says so, unless it begins as rows do: files of JSON rows may have such names,
 * too.
 *
 * @param start the file's first bytes.
 */
export const isTextFile = (path: string, start: Buffer): boolean =>
  /\.txt(\.gz)?$/i.test(path) && !/^(\xef\xbb\xbf)?\s*(\{\s*"|\[\s*\{)/.test(start.toString('latin1'));

/** Bytes; the longest text that can be held has 2^29 characters. */
const LARGEST_TEXT = 500e6;

/**
 * A whole file as one text, without a byte order mark.
 *
 * @param name the file's name in messages.
 * @throws FileError if it is too large, is not UTF-8, or holds a NUL byte.
 */
export async function wholeText(chunks: AsyncIterable<Buffer>, name: string): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    parts.push(chunk);
    size += chunk.length;
    if (size > LARGEST_TEXT)
      throw new FileError(
        name,
        `is a text of more than ${LARGEST_TEXT / 1e6} MB; split it, or write it as JSON lines with one {"text"} a line`,
      );
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts));
  } catch (cause) {
    throw new FileError(
      name,
      'is not UTF-8; convert it, with its own encoding in place of latin1: ' +
        'iconv -f latin1 -t UTF-8 FILE > converted.txt',
      { cause },
    );
  }
  if (text.includes('\0'))
    throw new FileError(name, "holds a NUL byte, so it is not plain text; convert it, or remove them by tr -d '\\000'");
  return text;
}
