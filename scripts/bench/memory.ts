/**
 * `npm run bench:memory`: the peak memory of one training step on random models of GPT-2's sizes, beside the estimate
 * of `trainingMemory`.
 *
 * Each is measured in a separate process, because a process never returns all of its memory; nothing is timed, so the
 * machine may be busy.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { trainingMemory } from 'alignbook';
import { choices, flag } from 'alignbook/dist/training/declare';

import { script } from '../command';
import { headline, machine, writeResults } from './machine';
import {
  configFor,
  LORA_RANK,
  METHODS,
  shapeOf,
  SIZES,
  WAYS,
  WORK,
  writeModel,
  type MemoryTask,
  type Method,
  type Phases,
  type Size,
  type Way,
} from './memoryTask';

interface Options {
  readonly sizes: readonly Size[];
  readonly methods: readonly Method[];
  readonly ways: readonly Way[];
  readonly gradientCheckpointing: boolean;
  readonly keep: boolean;
}

/** The tensors of the step, in bytes. */
export function estimate({ size, method, way, gradientCheckpointing }: Omit<MemoryTask, 'model'>): number {
  const samples = method === 'ppo' || method === 'grpo';
  const { peak } = trainingMemory(configFor(size), shapeOf(method), {
    gradientCheckpointing,
    ...(way !== 'full' && { loraRank: LORA_RANK }),
    ...(way === 'lora-bf16' && { baseDtype: 'BF16' }),
    ...(samples && { sampled: WORK.rows, reference: way === 'full' }),
  });
  return peak;
}

const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(2).padStart(9);

function main({ sizes, methods, ways, gradientCheckpointing, keep }: Options): number {
  const here = machine();
  console.log(`${headline(here)}\n`);
  console.log(`${''.padEnd(34)}  started   loaded     step  without the start  estimate`);
  const measured: Record<string, object> = {};
  const folder = mkdtempSync(join(tmpdir(), 'bench-memory-'));
  try {
    for (const size of sizes)
      for (const method of methods)
        for (const way of ways) {
          if (method === 'reward' && way !== 'full') continue; // a reward model has no adapters
          const model = join(folder, size);
          if (!existsSync(model)) writeModel(model, size);
          const task: MemoryTask = { size, method, way, gradientCheckpointing, model };
          const worker = [join(__dirname, 'oursMemory.js'), JSON.stringify(task)];
          const phases = JSON.parse(execFileSync(process.execPath, worker, { encoding: 'utf8' })) as Phases;
          const { started, loaded, step } = phases;
          const expected = estimate(task);
          const name = `${size}, ${method}, ${way}${gradientCheckpointing ? ', checkpointed' : ''}`;
          const own = gigabytes(step.peak - started.now);
          console.log(
            `${name.padEnd(34)}${gigabytes(started.now)}${gigabytes(loaded.peak)}${gigabytes(step.peak)}` +
              `${own.padStart(19)}${gigabytes(expected).padStart(10)}`,
          );
          measured[name] = { ...task, model: undefined, phases, estimate: expected };
        }
  } finally {
    rmSync(folder, { recursive: true });
  }
  writeResults('memory', here, measured, { keep });
  return 0;
}

void script({
  name: 'bench:memory',
  summary:
    'Measure the peak memory of one training step on random models of the sizes of GPT-2, 512 tokens at once, and ' +
    'print it beside the estimate of trainingMemory, in GB.',
  settings: {
    sizes: choices(Object.keys(SIZES) as Size[], { otherwise: 'gpt2', help: 'Measure these sizes of GPT-2.' }),
    methods: choices(METHODS, { otherwise: 'sft,dpo', help: 'Measure these trainings.' }),
    ways: choices(WAYS, {
      otherwise: 'all three',
      help: 'Train all weights, adapters, or adapters over a base in BF16; a reward model has no adapters.',
    }),
    gradientCheckpointing: flag({ help: 'With gradient checkpointing.' }),
    keep: flag({ help: 'Write the results to data/bench instead of to executed/.' }),
  },
  status: '0 done, 1 a process failed, 2 usage',
  run: ({
    sizes = ['gpt2'] as const,
    methods = ['sft', 'dpo'] as const,
    ways = WAYS,
    gradientCheckpointing = false,
    keep = false,
  }) => Promise.resolve(main({ sizes, methods, ways, gradientCheckpointing, keep })),
});
