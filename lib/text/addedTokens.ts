/**
 * Tokens that are matched literally in a text, before BPE: special tokens, and other tokens added to the vocabulary.
 */

/** An entry of tokenizer.json's `added_tokens`, with the properties that are reproduced here. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Whether Python searches for it in the normalized text, after searching the text itself for the others. */
  readonly normalized: boolean;
}

/** A piece of a text: an added token's id, or text for BPE. */
export type Piece = number | string;

/**
 * Splits texts as Python's tokenizers library does: at the leftmost added token, and at the longest one if several
 * start there. It first searches for tokens that are not `normalized`, then searches the remaining text for the others.
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
