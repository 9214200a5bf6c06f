/** Hands a training over, lets TRL take it under a launcher, and checks it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

import { GPT2, initialWeights, Random, Weights, type GPT2Config } from 'alignbook';
import { exportModel } from 'alignbook/dist/model/export';

import { oraclePython, root } from '../scripts/paths';

export const folder = mkdtempSync(join(tmpdir(), 'handoff-'));
after(() => rmSync(folder, { recursive: true, force: true }));
export const alignbook = join(root, 'lib', 'bin', 'alignbook.js');
export const data = (name: string) => join(root, 'data', 'preferences', name);

export function ran(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', env: { ...process.env, ...env } });
  assert.equal(status, 0, `${args.join(' ')}\n${stdout}\n${stderr}`);
  return stdout;
}

/** train.py runs on the CPU, in one thread, as torchrun would have it, and asks nothing of a network. */
export const ON_CPU = {
  CUDA_VISIBLE_DEVICES: '',
  HF_HUB_OFFLINE: '1',
  OMP_NUM_THREADS: '1',
  TRL_EXPERIMENTAL_SILENCE: '1',
};

/** Runs `train.py` on the CPU: directly for one process, under torchrun for several on this machine. */
export function train(handed: string, processes: number, ...args: string[]): void {
  const launcher = ['-m', 'torch.distributed.run', '--standalone', `--nproc_per_node=${processes}`];
  ran(oraclePython, [...(processes === 1 ? [] : launcher), join(handed, 'train.py'), ...args], ON_CPU);
}

/** A folder with a GPT-2 of these sizes, whose weights are drawn at random, and the tokenizer of `tiny`. */
export async function randomModel(
  name: string,
  sizes: Pick<GPT2Config, 'nLayer' | 'nHead' | 'nEmbd'>,
): Promise<string> {
  const source = join(folder, `${name}.source`);
  const path = join(folder, name);
  cpSync(join(root, 'data', 'models', 'tiny'), source, { recursive: true });
  const config = JSON.parse(readFileSync(join(source, 'config.json'), 'utf8')) as Record<string, unknown>;
  const { nLayer, nHead, nEmbd } = sizes;
  const changed = { ...config, n_layer: nLayer, n_head: nHead, n_embd: nEmbd };
  writeFileSync(join(source, 'config.json'), JSON.stringify(changed));
  const own = {
    ...sizes,
    vocabSize: config['vocab_size'] as number,
    blockSize: config['n_positions'] as number,
    layerNormEpsilon: 1e-5,
  };
  const model = new GPT2(own, Weights.from(initialWeights(own, new Random(7)), own));
  await exportModel(model, path, { source });
  model.dispose();
  return path;
}

/** A training of `tiny` with batches of 8, handed over; the 200 pairs suffice for 20 steps. */
export function handOver(name: string, settings: object, ...args: string[]): string {
  const config = join(folder, `${name}.json`);
  const usual = { model: 'tiny', data: data('validation.jsonl'), batchSize: 8, lr: 1e-4, seed: 3, warmupSteps: 4 };
  writeFileSync(config, JSON.stringify({ ...usual, ...settings }));
  ran(process.execPath, [alignbook, 'handoff', '--config', config, '--out', join(folder, name), ...args]);
  return join(folder, name);
}

export function check(handed: string): { status: number | null; stdout: string } {
  const trajectory = join(handed, 'out', 'trajectory.json');
  const args = [alignbook, 'handoff', '--check', trajectory, '--against', handed];
  const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  console.log(`${handed.split('/').at(-1)}: ${stdout}`);
  return { status, stdout };
}
