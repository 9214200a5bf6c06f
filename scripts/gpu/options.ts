/** The options of check.ts. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { choices, flag, number, path, type OptionsOf } from 'alignbook/dist/training/declare';

import { oraclePython, root } from '../paths';

export const settings = {
  rehearse: flag({ help: 'If no GPU is opened, continue on the CPU with small models.' }),
  minutes: number(
    { words: 'a number above 0', holds: (minutes) => minutes > 0 },
    { default: 10, help: 'Stop after N minutes; steps 1 to 4 stop at half of that.' },
  ),
  steps: choices(['1', '2', '3', '4', '5'], {
    value: 'numbers',
    otherwise: 'all',
    help: 'Run only these steps, as 1,2.',
  }),
  python: path({
    value: 'file',
    otherwise: 'that of npm run setup -- --oracles',
    help: 'Use this Python, which has PyTorch, transformers and safetensors.',
  }),
  results: path({
    value: 'file',
    default: 'executed/gpu/results.txt',
    help: "Write the results there, line by line, and TensorFlow's log beside it.",
  }),
} as const;

export const about = {
  summary: 'Compare what this library computes on the GPU with PyTorch on the same card.',
  notes: `Steps:
  1  what TensorFlow opened; operations that it runs on a GPU only; matrix
     products in fp32, tf32 and bf16
  2  the values of notebooks 1 to 5
  3  log-probs, gradients and greedy generation of tiny and of a random GPT-2
     with 124M parameters
  4  twenty steps of DPO, against the same steps on the CPU
  5  times in fp32, bf16 and tf32: DPO, scoring, generation`,
  status: '0 every comparison agrees, 1 one does not, or no GPU was opened, 2 usage',
} as const;

export interface Options {
  readonly rehearse: boolean;
  readonly minutes: number;
  readonly steps: readonly number[];
  readonly python: string;
  readonly results: string;
}

/** The options, with what applies where one is not given. */
export const optionsFrom = ({
  rehearse = false,
  minutes = 10,
  steps = ['1', '2', '3', '4', '5'],
  python = existsSync(oraclePython) ? oraclePython : 'python3',
  results = join(root, 'executed', 'gpu', 'results.txt'),
}: OptionsOf<typeof settings>): Options => ({ rehearse, minutes, steps: steps.map(Number), python, results });
