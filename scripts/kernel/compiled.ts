/** Cells as they were compiled: what runs where, and where that is in what was written. */
import { SourceMap, type SourceMapPayload } from 'node:module';

import type { Repaired } from './repair';

export interface Place {
  /** Counted from 1. */
  readonly line: number;
  readonly column: number;
}

export interface Cell {
  readonly count: number;
  readonly written: string;
}

/** tslab compiles in two steps, TypeScript to a module, and the module to what runs; the first puts a line before the cell. */
export interface Steps {
  readonly toModule: SourceMapPayload;
  readonly toScript: SourceMapPayload;
  readonly scriptLines: number;
}

export class CompiledCell {
  readonly #maps: readonly SourceMap[];
  readonly #lines: number;

  constructor(
    readonly cell: Cell,
    private readonly repaired: Repaired,
    { toModule, toScript, scriptLines }: Steps,
  ) {
    this.#maps = [toScript, toModule].map((payload) => new SourceMap(payload));
    this.#lines = scriptLines;
  }

  /** @returns undefined for a place in what tslab adds. */
  written({ line, column }: Place): Place | undefined {
    if (line > this.#lines) return undefined;
    let [atLine, atColumn] = [line - 1, column - 1];
    for (const map of this.#maps) {
      const entry = map.findEntry(atLine, atColumn);
      if (!('originalLine' in entry)) return undefined;
      [atLine, atColumn] = [entry.originalLine, entry.originalColumn];
    }
    const place = this.repaired.original(atLine - 1, atColumn);
    return { line: place.line + 1, column: place.column + 1 };
  }
}

export const nameOf = (count: number): string => `In [${count}]`;

/** The lines about a place, with a mark under it. */
export function excerpt(written: string, { line, column }: Place, width = 1): string[] {
  const lines = written.split(/\r\n|[\n\r\u2028\u2029]/);
  const from = Math.max(line - 2, 0);
  const digits = String(line + 1).length;
  return lines.slice(from, line + 1).flatMap((text, n) => {
    const number = from + n + 1;
    const shown = `${number === line ? '>' : ' '} ${String(number).padStart(digits)} | ${text}`;
    if (number !== line) return [shown.trimEnd()];
    const mark = text.slice(0, column - 1).replace(/[^\t]/g, ' ') + '^'.repeat(Math.max(1, Math.min(width, text.length - column + 1)));
    return [shown.trimEnd(), `  ${' '.repeat(digits)} | ${mark}`];
  });
}
