/** Colors tokens by one number each: a mask, log-probs, or how training changed them. */
import { InputError, plural } from '../errors';
import type { Html } from './show';

export interface TokenRow {
  readonly label: string;
  /** The tokens' texts. */
  readonly tokens: readonly string[];
  /** One value per token. */
  readonly values: readonly number[];
}

export interface TokenTableOptions {
  /** What the values are, with their unit; shown beside the scale. Default: nothing. */
  title?: string;
  /** The absolute value shown in the deepest color; larger ones look the same. Default: the largest in the table. */
  max?: number;
}

/** Okabe and Ito's blue above 0 and orange below, as red, green, blue: everyone can distinguish them, also in print. */
const COLOURS = { above: '0, 114, 178', below: '230, 159, 0' };
/** Opacity of the deepest color, low enough for text in the page's own color to stand out in light and dark themes. */
const DEEPEST = 0.6;

/** Styles that all tables of tokens share. */
export const CELL =
  'display: inline-block; text-align: center; padding: 1px 3px; margin: 1px; vertical-align: top; border-radius: 3px';
export const ROW = 'margin: 2px 0 6px 0; line-height: 1.25';
export const LABEL = 'font-weight: bold';
export const TOKEN = 'font-family: monospace; font-size: 13px; white-space: pre';
const VALUE = 'font-size: 10px';

/**
 * Makes rows of tokens for `show`, each token on its color with its value below it. Values have two decimals, or none
 * if all are whole numbers. Blue is above 0, orange below. A leading space is shown as `·`, a line break as `↵`, a tab
 * as `→`.
 *
 *     show(tokenTable([{ label: 'chosen', tokens, values: change }], { title: 'change of log-prob (nats)' }));
 *
 * The HTML has only inline styles, which JupyterLab keeps even in a notebook that it does not trust. The text version
 * has the same numbers, one line per row.
 *
 * @throws InputError if a row does not have exactly one value per token.
 */
export function tokenTable(rows: readonly TokenRow[], { title = '', max }: TokenTableOptions = {}): Html {
  for (const { label, tokens, values } of rows) {
    if (tokens.length !== values.length)
      throw new InputError(
        `row "${label}" has ${plural(tokens.length, 'token')}, but ${plural(values.length, 'value')}`,
      );
  }
  const values = rows.flatMap((row) => row.values);
  const finite = values.filter(Number.isFinite);
  const deepest = max ?? Math.max(0, ...finite.map(Math.abs));
  const written = values.every(Number.isInteger) ? String : decimals;
  const ends = [
    finite.some((value) => value < 0) ? -deepest : 0,
    finite.some((value) => value > 0) ? deepest : 0,
  ] as const;
  const heading = title === '' ? '' : `<span style="${LABEL}">${escaped(title)}</span> `;
  return {
    html: [
      `<div>${heading}${scale(ends, deepest, written)}</div>`,
      ...rows.map((row) => rowHtml(row, deepest, written)),
    ].join('\n'),
    text: [
      ...(title === '' ? [] : [title]),
      ...rows.map(
        ({ label, tokens, values }) =>
          `${label}: ${tokens.map((token, n) => `${visible(token)} ${written(values[n]!)}`).join(' | ')}`,
      ),
    ].join('\n'),
  };
}

function rowHtml({ label, tokens, values }: TokenRow, deepest: number, written: (value: number) => string): string {
  const cells = tokens.map((token, n) => {
    const value = values[n]!;
    const tip = `${n}: ${escaped(JSON.stringify(token))}, ${value}`;
    return (
      `<span style="${CELL}; background-color: ${colour(value, deepest)}" title="${tip}"><span ` +
      `style="${TOKEN}">${escaped(visible(token))}</span><br><span style="${VALUE}">${written(value)}</span></span>`
    );
  });
  return `<div style="${ROW}"><span style="${LABEL}">${escaped(label)}</span><br>${cells.join('')}</div>`;
}

/**
 * The scale, from one end of the values to the other in five steps; if all values are whole numbers (as in a mask),
 * only the ends and 0.
 */
function scale([from, to]: readonly [number, number], deepest: number, written: (value: number) => string): string {
  const shares = written === decimals ? [0, 0.25, 0.5, 0.75, 1] : [0, ...(from < 0 && to > 0 ? [0.5] : []), 1];
  const steps = shares.map((share) => from + share * (to - from));
  const fields = steps.map((value, n) => {
    const end = n === 0 || n === steps.length - 1 || value === 0;
    return (
      `<span style="${CELL}; ${VALUE}; width: 36px; margin: 1px 0; border-radius: 0; background-color: ` +
      `${colour(value, deepest)}">${end ? written(value) : '&nbsp;'}</span>`
    );
  });
  return from === to ? '' : fields.join('');
}

function colour(value: number, deepest: number): string {
  const share = deepest > 0 && Number.isFinite(value) ? Math.min(1, Math.abs(value) / deepest) : 0;
  return `rgba(${value < 0 ? COLOURS.below : COLOURS.above}, ${(share * DEEPEST).toFixed(3)})`;
}

function decimals(value: number): string {
  return value.toFixed(2).replace(/^-(0\.00)$/, '$1');
}

/** A token's text with its white space made visible. */
export function visible(token: string): string {
  const signs: Readonly<Record<string, string>> = { '\n': '↵', '\t': '→', '\r': '␍' };
  return token.replace(/^ +| +$/g, (spaces) => '·'.repeat(spaces.length)).replace(/[\n\t\r]/g, (sign) => signs[sign]!);
}

/** Escapes text for HTML, including attributes. */
export function escaped(text: string): string {
  const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
  return text.replace(/[&<>"]/g, (sign) => entities[sign]!);
}
