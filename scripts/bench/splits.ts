/**
 * `npm run bench:splits`: the losses of one DPO training, by this library and, handed over, by TRL on one, two and four
 * processes, and on two with bf16, which TRL would use by default. Nothing is timed.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { flag } from 'alignbook/dist/training/declare';

import { script } from '../command';
import { oraclePython, root } from '../paths';
import { machine, writeResults } from './machine';

const STEPS = 20;
const CONFIG = {
  model: 'tiny',
  data: join(root, 'data', 'preferences', 'validation.jsonl'),
  steps: STEPS,
  batchSize: 8,
  lr: 1e-4,
  warmupSteps: 4,
  seed: 3,
};
const RUNS = [
  { name: 'TRL, 1 process', processes: 1 },
  { name: 'TRL, 2 processes', processes: 2 },
  { name: 'TRL, 4 processes', processes: 4 },
  { name: 'TRL, 2 processes, bf16', processes: 2, bf16: true },
];

function run(program: string, args: readonly string[]): void {
  const onCpu = { CUDA_VISIBLE_DEVICES: '', HF_HUB_OFFLINE: '1', OMP_NUM_THREADS: '1', TRL_EXPERIMENTAL_SILENCE: '1' };
  const env = { ...process.env, ...onCpu };
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8', env });
  if (status !== 0) throw new Error(`${args.join(' ')} failed: ${stderr}`);
}

type Step = { readonly loss: number };

async function main({ keep }: { keep: boolean }): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'splits-'));
  try {
    const [config, handed] = [join(folder, 'run.json'), join(folder, 'handoff')];
    writeFileSync(config, JSON.stringify(CONFIG));
    const alignbook = join(root, 'lib', 'bin', 'alignbook.js');
    run(process.execPath, [alignbook, 'handoff', '--config', config, '--out', handed, '--steps', `${STEPS}`]);
    const own = readFileSync(join(handed, 'expected.jsonl'), 'utf8').trim().split('\n');
    const losses = new Map([['alignbook', own.map((line) => (JSON.parse(line) as Step).loss)]]);
    for (const { name, processes, bf16 = false } of RUNS) {
      const launcher =
        processes === 1 ? [] : ['-m', 'torch.distributed.run', '--standalone', `--nproc_per_node=${processes}`];
      run(oraclePython, [...launcher, join(handed, 'train.py'), '--compare', ...(bf16 ? ['--bf16'] : [])]);
      const { steps } = JSON.parse(readFileSync(join(handed, 'out', 'trajectory.json'), 'utf8')) as { steps: Step[] };
      losses.set(
        name,
        steps.map(({ loss }) => loss),
      );
      const apart = steps.map(({ loss }, n) => Math.abs(loss - losses.get('alignbook')![n]!));
      console.log(`${name.padEnd(24)} ${Math.max(...apart).toExponential(1)}`);
    }
    const results = Object.fromEntries([...losses].map(([name, values]) => [name, { losses: values }]));
    writeResults('splits', machine(['torch', 'transformers', 'trl', 'accelerate']), results, { keep });
    return 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

void script({
  name: 'bench:splits',
  summary:
    'Train tiny by DPO for 20 steps, by this library and by TRL on one, two and four processes, and on two with ' +
    'bf16; print how far the losses are apart. Nothing is timed.',
  settings: {
    keep: flag({
      help: 'Write the losses to data/bench/splits.json, where notebook 12 finds them, instead of to executed/.',
    }),
  },
  status: '0 done, 1 a process failed, 2 usage',
  run: ({ keep = false }) => main({ keep }),
});
