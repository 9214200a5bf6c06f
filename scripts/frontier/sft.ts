/** The model that every method starts from, trained on the reviews when it is first needed. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { InputError } from 'alignbook';
import { replaceFile } from 'alignbook/dist/formats/replace';

import type { Scale } from './method';

/**
 * Settings besides those of data/reviews/train-sft.json, which are for tiny. Those of `large` are customary ones, which
 * have not been tried.
 */
const overrides: Readonly<Record<Scale, Readonly<Record<string, number>>>> = {
  quick: { steps: 10, batchSize: 8, warmupSteps: 0 },
  small: {},
  large: { steps: 300, lr: 1e-4 },
};

/** Everything that the SFT model depends on. */
export function sftSettings(root: string, model: string, scale: Scale): Readonly<Record<string, unknown>> {
  const config = JSON.parse(readFileSync(join(root, 'data', 'reviews', 'train-sft.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  return { ...config, output: undefined, ...overrides[scale], model };
}

/**
 * @param folder the folder of the training run; the model is in its folder `model`. A complete model is used as it is;
 *   an interrupted training continues.
 * @throws InputError if the folder contains another model, or the training fails.
 */
export async function sftModel(
  root: string,
  folder: string,
  settings: Readonly<Record<string, unknown>>,
): Promise<string> {
  const trained = join(folder, 'model');
  const record = join(folder, 'settings.json');
  const text = `${JSON.stringify(settings, null, 2)}\n`;
  if (existsSync(trained)) {
    if (existsSync(record) && readFileSync(record, 'utf8') === text) return trained;
    throw new InputError(`${folder} has an SFT model of other settings; remove the folder to train it again`);
  }
  console.log(`training the SFT model: some minutes, once; Ctrl-C saves, and the same command goes on from there`);
  mkdirSync(folder, { recursive: true });
  replaceFile(record, (append) => append(text));
  const status = await alignbook(root, 'train-sft', '--config', record, '--output', folder, '--keep', '1');
  if (status !== 0) throw new InputError(status === 130 ? 'interrupted' : 'the SFT model could not be trained');
  for (const name of readdirSync(folder))
    if (name.startsWith('checkpoint-')) rmSync(join(folder, name), { recursive: true });
  return trained;
}

/** The command line, in a separate process. @returns its exit status. */
function alignbook(root: string, ...args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'lib', 'bin', 'alignbook.js'), ...args], {
      cwd: root,
      stdio: 'inherit',
    });
    child.on('error', reject).on('exit', (code) => resolve(code ?? 1));
  });
}
