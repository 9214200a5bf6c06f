/** Sets marked texts side by side in a fixed number of columns, with or without color. */
import { stripVTControlCharacters } from 'node:util';

import stringWidth from 'string-width';

import type { Part } from '../text/wordDiff';

export interface TextColumnsOptions {
  /** Width of all columns together, in columns of the terminal. */
  readonly width: number;
  /** Mark differences by color; otherwise by [brackets]. */
  readonly color: boolean;
}

/** Control characters that enclose a marked part while lines are made. */
const OPEN = '\x02';
const CLOSE = '\x03';
const MARK = /[\x02\x03]/g;
const [COLORED, PLAIN] = ['\x1b[1;35m', '\x1b[0m'];
const graphemes = new Intl.Segmenter();
const SEPARATOR = ' | ';
/** Width below which columns are hard to read, so that texts are set below each other. */
const NARROWEST = 20;

/** Lines with the texts side by side; below each other, each under its heading, if there are too many for the width. */
export function textColumns(
  columns: readonly { readonly heading: string; readonly parts: readonly Part[] }[],
  { width, color }: TextColumnsOptions,
): string[] {
  const each = Math.floor((width - SEPARATOR.length * (columns.length - 1)) / columns.length);
  const isStacked = each < NARROWEST && columns.length > 1;
  const room = isStacked ? width : each;
  const made = columns.map(({ heading, parts }) => {
    const title = textLines(heading, room);
    return [...title, '-'.repeat(widest(title)), ...styled(wrapped(marked(parts), room, color ? 0 : 1), color)];
  });
  if (isStacked) return made.flatMap((lines, n) => (n === 0 ? lines : ['', ...lines]));
  const height = Math.max(0, ...made.map(({ length }) => length));
  return Array.from({ length: height }, (_, row) =>
    made
      .map((lines) => padded(lines[row] ?? '', each))
      .join(SEPARATOR)
      .trimEnd(),
  );
}

const marked = (parts: readonly Part[]): string =>
  parts.map(({ text, differs }) => (differs ? `${OPEN}${printable(text)}${CLOSE}` : printable(text))).join('');

/** A text without the control characters that would move a terminal's cursor. */
export const printable = (text: string): string =>
  text
    .replaceAll('\r\n', '\n')
    .replaceAll('\t', '  ')
    .replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/g, '\ufffd');

/** The lines of a text, with at most `width` columns each. */
export const textLines = (text: string, width: number): string[] => wrapped(printable(text), width, 0);

/** Breaks a text into lines at its line breaks, between words, and within a word that is longer than a line. */
function wrapped(text: string, width: number, markWidth: number): string[] {
  const widthOf = (part: string): number =>
    stringWidth(part.replace(MARK, '')) + markWidth * (part.match(MARK)?.length ?? 0);
  const fits = (part: string): boolean => widthOf(part) <= width;
  return text.split('\n').flatMap((paragraph) => {
    const words = (paragraph.match(/\s+|\S+/g) ?? []).flatMap((word) =>
      fits(word) ? [word] : [...graphemes.segment(word)].map(({ segment }) => segment),
    );
    const lines: string[] = [];
    let line = '';
    for (const word of words) {
      if (line === '' || fits(line + word)) line += word;
      else {
        lines.push(line.trimEnd());
        line = word.trimStart();
      }
    }
    return [...lines, line.trimEnd()];
  });
}

/** Replaces the marks. A colored part that spans lines is ended and begun again, so that no other column is colored. */
function styled(lines: readonly string[], color: boolean): string[] {
  if (!color) return lines.map((line) => line.replaceAll(OPEN, '[').replaceAll(CLOSE, ']'));
  let isOpen = false;
  return lines.map((line) =>
    line
      .split(/([\x02\x03])/)
      .map((part) => {
        if (part === OPEN || part === CLOSE) isOpen = part === OPEN;
        else return isOpen && part !== '' ? `${COLORED}${part}${PLAIN}` : part;
        return '';
      })
      .join(''),
  );
}

const plainWidth = (line: string): number => stringWidth(stripVTControlCharacters(line));
const widest = (lines: readonly string[]): number => Math.max(0, ...lines.map(plainWidth));
const padded = (line: string, width: number): string => line + ' '.repeat(Math.max(0, width - plainWidth(line)));
