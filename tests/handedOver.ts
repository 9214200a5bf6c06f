/** Hands a training over, lets TRL take it under a launcher, and checks it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

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

/** Runs `train.py` on the CPU: directly for one process, under torchrun for several on this machine. */
export function train(handed: string, processes: number, ...args: string[]): void {
  const launcher = ['-m', 'torch.distributed.run', '--standalone', `--nproc_per_node=${processes}`];
  ran(oraclePython, [...(processes === 1 ? [] : launcher), join(handed, 'train.py'), ...args], {
    CUDA_VISIBLE_DEVICES: '',
    HF_HUB_OFFLINE: '1',
    TRL_EXPERIMENTAL_SILENCE: '1',
  });
}

/** A training of `tiny` with batches of 8, handed over. */
export function handOver(name: string, settings: object, ...args: string[]): string {
  const config = join(folder, `${name}.json`);
  const usual = { model: 'tiny', data: data('train.jsonl'), batchSize: 8, lr: 1e-4, seed: 3, warmupSteps: 4 };
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
