/**
 * Tokens that are matched in a text literally, before BPE: special tokens, and others that were added to a vocabulary.
 */

/** One of tokenizer.json's `added_tokens`, with the properties that are reproduced here. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Whether Python looks for it in the normalized text, after those that it looks for in the text itself. */
  readonly normalized: boolean;
}

/** A piece of a text: an added token's id, or text for BPE. */
export type Piece = number | string;

/**
 * Splits texts as Python's tokenizers does: at the leftmost added token, and at the longest if several start there;
 * first at those that are not `normalized`, then, in what is left, at the others.
 */
export function splitter(tokens: readonly AddedToken[]): (text: string) => Piece[] {
  const passes = [tokens.filter(({ normalized }) => !normalized), tokens.filter(({ normalized }) => normalized)]
    .filter(({ length }) => length > 0)
    .map(pass);
  return (text) =>
    passes.reduce<Piece[]>(
      (pieces, split) => pieces.flatMap((piece) => (typeof piece === 'string' ? split(piece) : [piece])),
      text === '' ? [] : [text],
    );
}

function pass(tokens: readonly AddedToken[]): (text: string) => Piece[] {
  const ids = new Map(tokens.map(({ content, id }) => [content, id]));
  const longestFirst = [...ids.keys()].sort((a, b) => b.length - a.length);
  const found = new RegExp(
    `(${longestFirst.map((content) => content.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})`,
  );
  return (text) =>
    text
      .split(found)
      .filter((part) => part !== '')
      .map((part) => ids.get(part) ?? part);
}
