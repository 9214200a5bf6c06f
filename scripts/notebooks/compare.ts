/**
 * Compares printed text value by value.
 *
 * Both texts are read as words, numbers and single signs; white space only separates them.
 * - A number written as an integer in the expected text must be the same integer.
 * - A number written as a float (with a point or an exponent, or as nan or inf) is compared within the tolerance,
 *   however the other side writes it: Python prints 1.0 where JavaScript prints 1.
 * - `{above 0.8}`, `{below 2}` or `{1 to 12}` in the expected text stands for any number strictly beyond or between
 *   these, for example of a training that another processor's rounding sends another way.
 * - Everything else must be equal. Words include their digits (gpt2, 124M, 0x1f), and versions (2.21.0) are words.
 * - PyTorch's notation around values is dropped: `torch.Size([1, 36])` is `[1, 36]`, `tensor([1.])` is `[1.]`.
 *   Thousands separators are not supported: "50,257" is two integers.
 */

/** `got` passes where |got - expected| <= absolute + relative * |expected|. */
export interface Tolerance {
  readonly absolute: number;
  readonly relative: number;
}

export interface Difference {
  /** The first value that differs, and the text around it. */
  readonly expected: string;
  readonly got: string;
}

export interface Comparison {
  /** Numbers in the expected text. */
  readonly numbers: number;
  readonly difference?: Difference;
}

interface Token {
  readonly kind: 'number' | 'bounds' | 'text';
  readonly text: string;
  readonly start: number;
}

const wrapper = /torch\.Size\(|tensor\(/y;
const version = /\d+(?:\.\d+){2,}(?![\p{L}\p{N}_])/uy;
const number =
  /[+-]?(?:(?:\d+(?:\.\d+|\.(?=\s*[,\])]))?|\.\d+)(?:[eE][+-]?\d+)?|nan|NaN|inf|Infinity)(?![\p{L}\p{N}_])/uy;
const bounds = /\{(?:(above|below) (-?[\d.]+)|(-?[\d.]+) to (-?[\d.]+))\}/y;
const word = /[\p{L}\p{N}_]+/uy;
const endsValue = /[\p{L}\p{N}_)\]]/u;

function tokens(text: string): Token[] {
  const found: Token[] = [];
  const open: boolean[] = []; // one entry per open parenthesis: does it belong to a wrapper?
  let at = 0;

  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(text)?.[0];
  };
  const push = (kind: Token['kind'], value: string) => found.push({ kind, text: value, start: at });

  while (at < text.length) {
    const sign = text[at]!;
    if (/\s/.test(sign)) {
      at += 1;
      continue;
    }
    const dropped = match(wrapper);
    if (dropped) {
      open.push(true);
      at += dropped.length;
      continue;
    }
    // In "36-56" and "x-1" the minus stands between two values; in "[-1" it belongs to the number.
    const minusBetween = (sign === '-' || sign === '+') && at > 0 && endsValue.test(text[at - 1]!);
    const boundsText = match(bounds);
    if (boundsText) {
      push('bounds', boundsText);
      at += boundsText.length;
      continue;
    }
    const versionText = match(version);
    const numberText = minusBetween || versionText ? undefined : match(number);
    const value = versionText ?? numberText ?? match(word) ?? sign;
    if (value === '(') open.push(false);
    if (value !== ')' || !open.pop()) push(numberText ? 'number' : 'text', value);
    at += value.length;
  }
  return found;
}

function toNumber(text: string): number {
  return Number(text.replace(/inf$/, 'Infinity')); // Number() itself turns "nan" into NaN
}

const isInteger = (text: string) => /^[+-]?\d+$/.test(text);

/** Whether a text of expected values has bounds in it, and so is not the text that a run prints. */
export const hasBounds = (expected: string): boolean => tokens(expected).some(({ kind }) => kind === 'bounds');

function isWithin(text: string, value: number): boolean {
  bounds.lastIndex = 0;
  const [, side, bound, from, to] = bounds.exec(text)!;
  if (side === undefined) return value > Number(from) && value < Number(to);
  return side === 'above' ? value > Number(bound) : value < Number(bound);
}

function equal(expected: Token, got: Token, tolerance: Tolerance): boolean {
  if (expected.kind === 'bounds') return got.kind === 'number' && isWithin(expected.text, toNumber(got.text));
  if (expected.kind !== got.kind) return false;
  if (expected.kind === 'text') return expected.text === got.text;
  if (isInteger(expected.text)) return isInteger(got.text) && BigInt(expected.text) === BigInt(got.text);
  const want = toNumber(expected.text);
  const have = toNumber(got.text);
  if (!Number.isFinite(want)) return Object.is(want, have);
  return Math.abs(have - want) <= tolerance.absolute + tolerance.relative * Math.abs(want);
}

/** The token, followed by the text around it on one line. */
function inContext(text: string, token: Token | undefined): string {
  if (!token) return `(end) after "${text.slice(-60).replace(/\s+/g, ' ').trim()}"`;
  const from = Math.max(0, token.start - 40);
  const to = token.start + token.text.length + 40;
  const around = text.slice(from, to).replace(/\s+/g, ' ').trim();
  return `${token.text}   in "${from > 0 ? '…' : ''}${around}${to < text.length ? '…' : ''}"`;
}

export function compareText(expected: string, got: string, tolerance: Tolerance): Comparison {
  const want = tokens(expected);
  const have = tokens(got);
  const numbers = want.filter((token) => token.kind !== 'text').length;
  for (let i = 0; i < Math.max(want.length, have.length); i++) {
    const a = want[i];
    const b = have[i];
    if (a && b && equal(a, b, tolerance)) continue;
    return { numbers, difference: { expected: inContext(expected, a), got: inContext(got, b) } };
  }
  return { numbers };
}
