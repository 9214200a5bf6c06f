/**
 * Step 2: runs a notebook's cells in the kernel's own compiler, without Jupyter around it, and compares their output
 * with tests/expected.
 */
import '../kernel/typescript'; // first: tslab must find the kernel's TypeScript, not load its own

import { join } from 'node:path';
import { inspect } from 'node:util';

import * as jupyter from 'tslab/dist/jupyter';

import { CellRunner } from '../kernel/compiler';
import { CellOutput } from '../kernel/output';
import { checkNotebook, readExpected } from '../notebooks/expected';
import { readNotebook, type Cell, type Output } from '../notebooks/notebook';
import { root } from '../paths';
import { checked, seen, step } from './report';

/** Runs the cells in order. @throws Error naming the cell that failed. */
async function executed(cells: readonly Cell[]): Promise<Cell[]> {
  const runner = new CellRunner({ strict: false, root });
  const writes = { stdout: process.stdout.write, stderr: process.stderr.write };
  const done: Cell[] = [];
  let count = 0;
  for (const cell of cells) {
    if (cell.cell_type !== 'code') continue;
    const outputs: Output[] = [];
    const output = new CellOutput((name, text) => void outputs.push({ output_type: 'stream', name, text }));
    for (const name of ['stdout', 'stderr'] as const) process[name].write = output.writeTo(name);
    const draw = (data: object) =>
      void outputs.push({ output_type: 'display_data', data: data as Record<string, unknown> });
    (jupyter as { lastWriteDisplayData: unknown }).lastWriteDisplayData = draw;
    const show = (value: {}) =>
      void outputs.push({ output_type: 'execute_result', data: { 'text/plain': inspect(value) } });
    try {
      const failure = await runner.run({ count: (count += 1), written: cell.source }, show);
      output.end();
      if (failure) throw new Error(`cell ${cell.id}: ${failure.ename}: ${failure.evalue}`);
    } finally {
      for (const name of ['stdout', 'stderr'] as const) process[name].write = writes[name];
    }
    done.push({ ...cell, outputs });
  }
  return done;
}

step(async () => {
  const name = process.argv[2]!;
  const notebook = readNotebook(join(root, 'notebooks', name));
  process.chdir(join(root, 'notebooks')); // the folder in which Jupyter starts its kernels
  const cells = await executed(notebook.cells);
  const expected = readExpected(join(root, 'tests', 'expected', name.replace('.ipynb', '.json')));
  const { problems, cellsCompared, numbersCompared } = checkNotebook({ ...notebook, cells }, expected, 'tiny');
  for (const problem of problems) seen(problem, 'FAILED');
  checked(
    `${name.padEnd(22)} ${cellsCompared} cells, ${numbersCompared} values compared: ` +
      `${problems.length === 0 ? 'as expected' : `${problems.length} differ`}`,
    problems.length === 0 && cellsCompared > 0,
  );
});
