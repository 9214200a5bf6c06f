/** Command-line options shared by the commands that execute notebooks. */
import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';

import { whole } from 'alignbook/dist/ranges';
import { number, text, type OptionsOf } from 'alignbook/dist/training/declare';

import { fromCaller } from '../paths';

export const executionSettings = {
  model: text({ help: 'Use this model: tiny, a hub name such as gpt2, or a folder.', otherwise: 'MODEL, else tiny' }),
  jobs: number(whole(1), { help: 'Execute N notebooks at a time.', otherwise: '2, or 1 on a single core' }),
  timeout: number(whole(1), { help: 'Stop a cell after N seconds.', default: 120 }),
} as const;

export interface Execution {
  readonly model: string;
  readonly jobs: number;
  readonly timeout: number;
}

/** The options, with what applies where one is not given. */
export const executionOf = ({
  model = process.env['MODEL'] ?? 'tiny',
  jobs = Math.min(2, availableParallelism()),
  timeout = 120,
}: OptionsOf<typeof executionSettings>): Execution => ({ model: modelName(model), jobs, timeout });

/** Resolves a folder relative to where the command was called, because the kernels run in the notebooks' folders. */
function modelName(model: string): string {
  const folder = fromCaller(model);
  return model !== 'tiny' && statSync(folder, { throwIfNoEntry: false })?.isDirectory() ? folder : model;
}
