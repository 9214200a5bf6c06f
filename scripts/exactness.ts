/**
 * `npm run test:exact`: GPT-2 at full size against PyTorch and transformers, on the same random weights. Needs the
 * oracles.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { compare, HEAD } from './differences';
import { oraclePython, root } from './paths';

const usage = `Usage: npm run test:exact -- [SHAPE…]

Prints the greatest differences from PyTorch in float32; SHAPE is gpt2 (124M) or gpt2-medium (355M), default both.
With ALIGNBOOK_COMPUTE=bf16 it shows what bfloat16 products cost, under bounds of their own.
Exit status: 0 all within the bounds, 1 not, 2 usage.`;

const shapes = ['gpt2', 'gpt2-medium'];

async function main(names: readonly string[]): Promise<number> {
  console.log(HEAD);
  let within = true;
  for (const shape of names) {
    const folder = mkdtempSync(join(tmpdir(), 'exactness-'));
    try {
      const { status } = spawnSync(
        oraclePython,
        [join(root, 'tests', 'oracles', 'exactness.py'), '--shape', shape, '--out', folder],
        { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, TQDM_DISABLE: '1' } },
      );
      if (status !== 0) throw new Error('the oracle failed; run "npm run setup -- --oracles"');
      await compare(shape, folder, (line, isWithin) => {
        console.log(line);
        within &&= isWithin;
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  return within ? 0 : 1;
}

async function run(): Promise<number> {
  let names: string[];
  try {
    const { values, positionals } = parseArgs({
      options: { help: { type: 'boolean', short: 'h' } },
      allowPositionals: true,
    });
    if (values.help) {
      console.log(usage);
      return 0;
    }
    const unknown = positionals.find((name) => !shapes.includes(name));
    if (unknown !== undefined) throw new Error(`no shape "${unknown}"`);
    names = positionals;
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`);
    return 2;
  }
  return main(names.length > 0 ? names : shapes);
}

run().then(
  (status) => (process.exitCode = status),
  (error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
  },
);
