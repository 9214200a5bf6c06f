/** Runs a notebook with some cells changed and some stopped while they run, in a kernel, as JupyterLab does. */
import assert from 'node:assert/strict';
import { join } from 'node:path';

import { readNotebook } from '../scripts/notebooks/notebook';
import { root } from '../scripts/paths';
import { kernel, type Reply, type Seen } from './kernel';

export interface Play {
  /**
   * By cell id, the texts to replace there, and their replacements; each text must be found. Under "*": in every cell
   * that has the text.
   */
  readonly changes: Readonly<Record<string, readonly (readonly [from: string, to: string])[]>>;
  /** By cell id, what must be visible below the cell before the stop button is pressed. */
  readonly stop?: Readonly<Record<string, string>>;
  /** Run each cell twice. */
  readonly twice?: boolean;
}

/**
 * A training's progress after its first step. The line is written at most every 200 ms, so any single one of these
 * steps may not be shown.
 */
export const beyondFirst = (steps: number): string => `step ([2-9]|\\d\\d+) of ${steps} `;

/**
 * @returns what a reader sees of each code cell, by its id; for a cell that ran twice, the second time. No cell may
 *   fail or write to stderr.
 */
export function play(
  name: string,
  { changes, stop = {}, twice = false }: Play,
  ...options: string[]
): Record<string, Seen & Reply> {
  const cells = readNotebook(join(root, 'notebooks', `${name}.ipynb`)).cells.filter(
    ({ cell_type }) => cell_type === 'code',
  );
  for (const id of [...Object.keys(changes), ...Object.keys(stop)])
    assert.ok(id === '*' || cells.some((cell) => cell.id === id), `${name} has no cell "${id}"`);
  for (const [from] of changes['*'] ?? [])
    assert.ok(
      cells.some(({ source }) => source.includes(from)),
      `no cell has ${from}`,
    );
  const requests = cells.flatMap(({ id, source }) => {
    const changed = (changes[id] ?? []).reduce((code, [from, to]) => {
      assert.ok(code.includes(from), `cell ${id} has no ${from}`);
      return code.replaceAll(from, to);
    }, source);
    const code = (changes['*'] ?? []).reduce((text, [from, to]) => text.replaceAll(from, to), changed);
    const request = { code, ...(stop[id] !== undefined && { interrupt: stop[id] }) };
    return twice ? [request, request] : [request];
  });
  const { cells: seen, alive } = kernel(requests, ...options);
  assert.ok(alive);
  const times = twice ? 2 : 1;
  return Object.fromEntries(
    cells.map(({ id }, n) => {
      for (const one of seen.slice(n * times, (n + 1) * times))
        assert.deepEqual(
          [one.status, one.errors.map(({ evalue }) => evalue), one.stderr],
          ['ok', [], ''],
          `${name}, cell ${id}`,
        );
      return [id, seen[(n + 1) * times - 1]!];
    }),
  );
}
