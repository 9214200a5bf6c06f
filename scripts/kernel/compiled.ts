/** Compiled cells, with maps from a place in the compiled code to the place in the written cell. */
import { SourceMap, type SourceMapPayload } from 'node:module';

import type { Repaired } from './repair';

export interface Place {
  /** Counts from 1. */
  readonly line: number;
  readonly column: number;
}

export interface Cell {
  readonly count: number;
  readonly written: string;
}

/**
 * tslab compiles in two steps: first TypeScript to a module, then the module to the code that runs. The first step puts
 * a line before the cell.
 */
export interface Steps {
  readonly toModule: SourceMapPayload;
  /** names.ts changes the module between the two steps; this tells where a place was before that. */
  readonly was: (line: number, column: number) => { line: number; column: number };
  readonly toScript: SourceMapPayload;
  readonly scriptLines: number;
}

export class CompiledCell {
  readonly #toScript: SourceMap;
  readonly #toModule: SourceMap;
  readonly #was: Steps['was'];
  readonly #lines: number;
  readonly #repaired: Repaired;

  constructor(
    readonly cell: Cell,
    repaired: Repaired,
    { toModule, toScript, was, scriptLines }: Steps,
  ) {
    this.#repaired = repaired;
    [this.#toScript, this.#toModule, this.#was] = [new SourceMap(toScript), new SourceMap(toModule), was];
    this.#lines = scriptLines;
  }

  /** @returns undefined for a place in code that tslab adds. */
  written({ line, column }: Place): Place | undefined {
    if (line > this.#lines) return undefined;
    const inChanged = this.#toScript.findEntry(line - 1, column - 1);
    if (!('originalLine' in inChanged)) return undefined;
    const inModule = this.#was(inChanged.originalLine, inChanged.originalColumn);
    const entry = this.#toModule.findEntry(inModule.line, inModule.column);
    if (!('originalLine' in entry)) return undefined;
    const place = this.#repaired.original(entry.originalLine - 1, entry.originalColumn);
    return { line: place.line + 1, column: place.column + 1 };
  }
}

export const nameOf = (count: number): string => `In [${count}]`;

/** The lines around a place, with a mark under it. */
export function excerpt(written: string, { line, column }: Place, width = 1): string[] {
  const lines = written.split(/\r\n|[\n\r\u2028\u2029]/);
  const from = Math.max(line - 2, 0);
  const digits = String(line + 1).length;
  return lines.slice(from, line + 1).flatMap((text, n) => {
    const number = from + n + 1;
    const shown = `${number === line ? '>' : ' '} ${String(number).padStart(digits)} | ${text}`;
    if (number !== line) return [shown.trimEnd()];
    const mark =
      text.slice(0, column - 1).replace(/[^\t]/g, ' ') +
      '^'.repeat(Math.max(1, Math.min(width, text.length - column + 1)));
    return [shown.trimEnd(), `  ${' '.repeat(digits)} | ${mark}`];
  });
}
