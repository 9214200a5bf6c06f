/** Command-line options shared by the commands that execute notebooks. */
import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';

/** Options for Node's parseArgs. */
export const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  model: { type: 'string' },
  jobs: { type: 'string' },
  timeout: { type: 'string' },
} as const;

export const USAGE = `  --model M      tiny, a name on the Hugging Face hub such as gpt2, or a folder
                 with config.json and model.safetensors (default: MODEL, else tiny)
  --jobs N       notebooks at a time (default: 2, or 1 on a single core)
  --timeout S    seconds that one cell may take (default: 120)`;

export interface Arguments {
  readonly model: string;
  readonly jobs: number;
  readonly timeout: number;
}

/** @throws Error naming the option whose value is wrong. */
export function argumentsOf(values: {
  model?: string | undefined;
  jobs?: string | undefined;
  timeout?: string | undefined;
}): Arguments {
  return {
    model: modelName(values.model ?? process.env['MODEL'] ?? 'tiny'),
    jobs: positive('--jobs', values.jobs ?? `${Math.min(2, availableParallelism())}`),
    timeout: positive('--timeout', values.timeout ?? '120'),
  };
}

function positive(option: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`${option} takes a whole number above 0, not "${text}"`);
  return Number(text);
}

/** The folder in which the command was called; npm runs it in the project's folder. */
export const fromCaller = (path: string): string => resolve(process.env['INIT_CWD'] ?? '.', path);

/** Resolves a folder relative to where the command was called, because the kernels run in the notebooks' folders. */
function modelName(model: string): string {
  const folder = fromCaller(model);
  return model !== 'tiny' && statSync(folder, { throwIfNoEntry: false })?.isDirectory() ? folder : model;
}
