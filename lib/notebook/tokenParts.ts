/** Colors tokens by the part of the text to which they belong: prompt, template, answer, end, padding. */
import { InputError, plural } from '../errors';
import type { Html } from './show';
import { PALETTE } from './style';
import { CELL, escaped, LABEL, ROW, TOKEN, visible } from './tokenTable';

export interface TokenPartsRow {
  readonly label: string;
  /** The tokens' texts. */
  readonly tokens: readonly string[];
  /** The name of each token's part. */
  readonly parts: readonly string[];
}

export interface TokenPartsOptions {
  /** The names of all parts, in the order of the colors, so that two tables color alike. Default: as they appear. */
  parts?: readonly string[];
}

/** Opacity of a part's color, low enough for text in the page's own color to stand out in light and dark themes. */
const OPACITY = '59';

/**
 * Makes rows of tokens for `show`, each token on the color of its part, under a legend. White space is shown as in
 * `tokenTable`.
 *
 *     show(tokenParts([{ label: 'chosen', tokens: ['Say', ' hi', ' Hi'], parts: ['prompt', 'prompt', 'answer'] }]));
 *
 * The text version has one line per row: each stretch of a part, with its number of tokens and its text.
 *
 * @throws InputError if a row does not have exactly one part per token, or there are more than six parts.
 */
export function tokenParts(rows: readonly TokenPartsRow[], { parts: order = [] }: TokenPartsOptions = {}): Html {
  for (const { label, tokens, parts } of rows) {
    if (tokens.length !== parts.length)
      throw new InputError(`row "${label}" has ${plural(tokens.length, 'token')}, but ${plural(parts.length, 'part')}`);
  }
  const present = new Set(rows.flatMap(({ parts }) => parts));
  const names = [...new Set([...order, ...present])];
  if (names.length > PALETTE.length)
    throw new InputError(`there are colors for ${PALETTE.length} parts, not for ${names.length}: ${names.join(', ')}`);
  const field = (name: string, text: string, tip: string) =>
    `<span style="${CELL}; ${TOKEN}; background-color: ${PALETTE[names.indexOf(name)]}${OPACITY}" ` +
    `title="${escaped(tip)}">${escaped(text)}</span>`;
  const rowHtml = ({ label, tokens, parts }: TokenPartsRow) => {
    const fields = tokens.map((token, n) => field(parts[n]!, visible(token), `${n}: ${parts[n]}`));
    return `<div style="${ROW}"><span style="${LABEL}">${escaped(label)}</span><br>${fields.join('')}</div>`;
  };
  return {
    html: [
      `<div>${names
        .filter((name) => present.has(name))
        .map((name) => field(name, name, name))
        .join(' ')}</div>`,
      ...rows.map(rowHtml),
    ].join('\n'),
    text: rows
      .map(
        (row) =>
          `${row.label}: ${stretches(row)
            .map(({ name, of }) => `${name} ${of.length} ${JSON.stringify(of.join(''))}`)
            .join(' | ')}`,
      )
      .join('\n'),
  };
}

/** The tokens of a row, divided where the part changes. */
function stretches({ tokens, parts }: TokenPartsRow): { name: string; of: string[] }[] {
  const found: { name: string; of: string[] }[] = [];
  for (const [n, token] of tokens.entries()) {
    const last = found.at(-1);
    if (last?.name === parts[n]) last!.of.push(token);
    else found.push({ name: parts[n]!, of: [token] });
  }
  return found;
}
