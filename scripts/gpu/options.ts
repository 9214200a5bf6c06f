/** The options of check.ts. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { oraclePython, root } from '../paths';

export const usage = `Usage: npm run gpu:check -- [options]

Compares what this library computes on the GPU with PyTorch on the same card:

  1  what TensorFlow opened; operations that it runs on a GPU only; matrix
     products in fp32, tf32 and bf16
  2  the values of notebooks 1 to 5
  3  log-probs, gradients and greedy generation of tiny and of a random GPT-2
     with 124M parameters
  4  twenty steps of DPO, against the same steps on the CPU
  5  times in fp32, bf16 and tf32: DPO, scoring, generation

  --rehearse        if no GPU is opened, continue on the CPU with small models
  --minutes N       stop after N minutes (default: 10); steps 1 to 4 stop at
                    half of that
  --steps LIST      run only these steps, such as 1,2
  --python PATH     a Python with PyTorch, transformers and safetensors
                    (default: that of npm run setup -- --oracles)
  --results FILE    write the results there, line by line, and TensorFlow's log
                    beside it (default: executed/gpu/results.txt)

Exit status: 0 every comparison agrees, 1 one does not, or no GPU was opened,
2 usage.`;

export interface Options {
  readonly rehearse: boolean;
  readonly minutes: number;
  readonly steps: readonly number[];
  readonly python: string;
  readonly results: string;
}

/** @returns null for --help. @throws Error if an option is wrong. */
export function parse(): Options | null {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      rehearse: { type: 'boolean' },
      minutes: text,
      steps: text,
      python: text,
      results: text,
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) return null;
  const minutes = Number(values.minutes ?? 10);
  if (!(minutes > 0)) throw new Error(`--minutes takes a number above 0, not "${values.minutes}"`);
  const chosen = (values.steps ?? '1,2,3,4,5').split(',').map(Number);
  const wrong = chosen.find((step) => ![1, 2, 3, 4, 5].includes(step));
  if (wrong !== undefined)
    throw new Error(`--steps takes numbers from 1 to 5 with commas between, not "${values.steps}"`);
  return {
    rehearse: values.rehearse ?? false,
    minutes,
    steps: chosen,
    python: values.python ?? (existsSync(oraclePython) ? oraclePython : 'python3'),
    results: values.results ?? join(root, 'executed', 'gpu', 'results.txt'),
  };
}
