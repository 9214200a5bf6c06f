/**
 * `npm run test:exact`: GPT-2 at full size against PyTorch and transformers, and a LoRA adapter of it against PEFT, on
 * the same random weights. Needs the oracles.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { quoted } from 'alignbook/dist/errors';
import { didYouMean } from 'alignbook/dist/nearest';

import { script, UsageError } from './command';
import { compare, compareAdapter, HEAD } from './differences';
import { oraclePython, root } from './paths';

const shapes = ['gpt2', 'gpt2-medium'];

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.find((name) => !shapes.includes(name));
  if (unknown !== undefined) throw new UsageError(`there is no shape ${quoted(unknown)}${didYouMean(unknown, shapes)}`);
  console.log(HEAD);
  let within = true;
  for (const shape of names) {
    const folder = mkdtempSync(join(tmpdir(), 'exactness-'));
    try {
      const { status } = spawnSync(
        oraclePython,
        [join(root, 'tests', 'oracles', 'exactness.py'), '--shape', shape, '--out', folder, '--adapter'],
        { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, TQDM_DISABLE: '1' } },
      );
      if (status !== 0) throw new Error('the oracle failed; run "npm run setup -- --oracles"');
      const tell = (line: string, isWithin: boolean): void => {
        console.log(line);
        within &&= isWithin;
      };
      await compare(shape, folder, tell);
      await compareAdapter(shape, folder, tell);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  return within ? 0 : 1;
}

void script({
  name: 'test:exact',
  summary:
    'Print the greatest differences from PyTorch in float32. With ALIGNBOOK_COMPUTE=bf16 it shows what bfloat16 ' +
    'products cost, under bounds of their own.',
  named: { as: 'SHAPE', help: 'gpt2 (124M) or gpt2-medium (355M) (default: both)' },
  settings: {},
  status: '0 all within the bounds, 1 not, 2 usage',
  run: (_, named) => main(named.length > 0 ? named : shapes),
});
