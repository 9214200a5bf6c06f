/**
 * Runs a notebook's cells by the kernel's own compiler, without Jupyter, and writes the executed notebook:
 *
 *     node cellsAlone.js NOTEBOOK OUT
 */
import '../../scripts/kernel/typescript'; // first: it takes the place of tslab's compiler before tslab loads it

import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { inspect } from 'node:util';

import * as jupyter from 'tslab/dist/jupyter';

import { CellRunner } from '../../scripts/kernel/compiler';
import { root } from '../../scripts/paths';

interface Notebook {
  readonly cells: { readonly cell_type: string; readonly id: string; readonly source: string[]; outputs: object[] }[];
}

async function main([path = '', out = '']: readonly string[]): Promise<void> {
  const notebook = JSON.parse(readFileSync(path, 'utf8')) as Notebook;
  const to = resolve(out);
  process.chdir(dirname(path));
  const runner = new CellRunner({ strict: false, root });
  const write = process.stdout.write.bind(process.stdout);
  let count = 0;
  for (const cell of notebook.cells) {
    if (cell.cell_type !== 'code') continue;
    const outputs: object[] = (cell.outputs = []);
    process.stdout.write = (text: string | Uint8Array) =>
      outputs.push({ output_type: 'stream', name: 'stdout', text: String(text) }) > 0;
    (jupyter as { lastWriteDisplayData: unknown }).lastWriteDisplayData = (data: { data: object }, update: boolean) => {
      if (!update) outputs.push({ output_type: 'display_data', metadata: {}, data: data.data });
    };
    const failure = await runner.run({ count: (count += 1), written: cell.source.join('') }, (value) =>
      outputs.push({
        output_type: 'execute_result',
        execution_count: count,
        metadata: {},
        data: { 'text/plain': inspect(value) },
      }),
    );
    process.stdout.write = write;
    if (failure) throw new Error(`${cell.id}: ${failure.evalue}`);
  }
  writeFileSync(to, JSON.stringify(notebook));
  process.exit();
}

void main(process.argv.slice(2));
