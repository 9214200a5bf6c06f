/** The options of check.ts. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { root } from '../paths';

export const usage = `Usage: npm run gpu:check -- [--rehearse] [--minutes N] [--steps 1,2,…] [--python PATH] [--results FILE]

Computes on the GPU what can be compared, and compares it:

  1  what TensorFlow opened, and the operations that it runs on a GPU only; a product in fp32, tf32 and bf16 beside PyTorch's
  2  the values of notebooks 1 to 5
  3  log-probs, gradients and greedy generation of tiny and of a random GPT-2 124M, beside PyTorch's on the same card
  4  twenty steps of DPO, beside the same on the CPU
  5  times beside PyTorch's, in fp32, bf16 and tf32: DPO, scoring, generation

  --rehearse        goes on where no GPU is opened, on the CPU, with small models: tries the check itself
  --minutes N       of the whole (default: 10); steps 1 to 4 are cut at half of it
  --steps LIST      these only, with commas between
  --python PATH     a Python with PyTorch, transformers and safetensors (default: that of npm run setup -- --oracles)
  --results FILE    what was seen, line by line (default: executed/gpu/results.txt); TensorFlow's log goes beside it

Exit status: 0 all that was compared agrees, 1 something does not, or no GPU was opened, 2 usage.`;

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
  const oracles = join(root, '.alignbook', 'oracles', 'bin', 'python');
  return {
    rehearse: values.rehearse ?? false,
    minutes,
    steps: chosen,
    python: values.python ?? (existsSync(oracles) ? oracles : 'python3'),
    results: values.results ?? join(root, 'executed', 'gpu', 'results.txt'),
  };
}
