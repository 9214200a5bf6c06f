/** One pattern of several in a row, so that a long message needs no long line. The flags are those of all parts. */
export const matching = (...parts: readonly RegExp[]): RegExp =>
  new RegExp(parts.map(({ source }) => source).join(''), parts.map(({ flags }) => flags).join(''));
