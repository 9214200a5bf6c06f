/**
 * A training that is killed again and again, or finds no room for a checkpoint: in the end the same bits as
 * undisturbed.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { configJson, initialWeights, Random, weightShapes, writeSafetensors, type GPT2Config } from 'alignbook';

import { root } from '../../scripts/paths';
import { matching } from '../matching';

const CLI = join(root, 'lib', 'bin', 'alignbook.js');
const TINY = join(root, 'data', 'models', 'tiny');
const folder = mkdtempSync(join(tmpdir(), 'interrupted-'));
after(() => rmSync(folder, { recursive: true }));

/** A GPT-2 so small that most of a run's time goes into starting, saving and exporting, where a kill does most harm. */
const SIZES: GPT2Config = { nLayer: 1, nHead: 1, nEmbd: 8, blockSize: 128, vocabSize: 50257, layerNormEpsilon: 1e-5 };
const model = join(folder, 'small');
mkdirSync(model);
const weights = initialWeights(SIZES, new Random(1));
writeSafetensors(
  join(model, 'model.safetensors'),
  [...weightShapes(SIZES)].map(([name, shape]) => ({ name, shape, values: weights.get(name)! })),
);
writeFileSync(join(model, 'config.json'), configJson(SIZES));
for (const name of ['tokenizer.json', 'tokenizer_config.json', 'vocab.json', 'merges.txt'])
  copyFileSync(join(TINY, name), join(model, name));

const command = (output: string, ...more: string[]) => [
  CLI,
  'train-dpo',
  '--model',
  model,
  '--data',
  join(root, 'data', 'preferences', 'validation.jsonl'),
  '--validation',
  join(root, 'data', 'preferences', 'validation.jsonl'),
  '--validate-every',
  '40',
  '--best-by',
  'rewards/margins',
  '--steps',
  '160',
  '--batch-size',
  '2',
  '--lr',
  '1e-3',
  '--save-every',
  '4',
  '--output',
  join(folder, output),
  ...more,
];
const losses = (output: string) =>
  readFileSync(join(folder, output, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { loss: number; validation?: object })
    .map(({ loss, validation }) => ({ loss, validation }));
const sha256 = (output: string) =>
  createHash('sha256')
    .update(readFileSync(join(folder, output, 'model', 'model.safetensors')))
    .digest('hex');
const finish = (output: string) => {
  const { status, stderr } = spawnSync(process.execPath, command(output), { encoding: 'utf8' });
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
};
const written = (output: string) => {
  const metrics = join(folder, output, 'metrics.jsonl');
  return existsSync(metrics) ? readFileSync(metrics, 'utf8').split('\n').length - 1 : 0;
};

/** Starts a run, and sends a signal so many milliseconds after it has written so many lines more, or ended. */
async function stopped(
  output: string,
  { after: lines, delay, signal }: { after: number; delay: number; signal: NodeJS.Signals },
) {
  const child = spawn(process.execPath, command(output), { stdio: ['ignore', 'pipe', 'inherit'] });
  let stdout = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  const closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  // by its first line it has cut the metrics to its checkpoint
  const began = lines > 0 ? new Promise<void>((resolve) => child.stdout.once('data', () => resolve())) : undefined;
  await Promise.race([began, closed]);
  const from = written(output);
  while (child.exitCode === null && written(output) < from + lines) await sleep(2);
  await Promise.race([sleep(delay), closed]);
  child.kill(signal);
  const [status, killedBy] = await closed;
  return { status, killedBy, stdout };
}

const isWhole = (output: string) => {
  assert.deepEqual(losses(output), losses('whole'));
  assert.equal(sha256(output), sha256('whole'));
  assert.deepEqual(readdirSync(join(folder, output)).sort(), readdirSync(join(folder, 'whole')).sort());
};

test('undisturbed', () => {
  finish('whole');
  assert.equal(losses('whole').length, 160);
});

test('killed with SIGKILL at 20 random moments', async (t) => {
  const random = new Random(Number(process.env['KILL_SEED'] ?? 7));
  const steps: number[] = [];
  for (let kills = 0; kills < 20; kills += 1) {
    const early = kills % 4 === 0; // while it starts; else while it computes, saves and goes on
    const { killedBy } = await stopped('killed', {
      after: early ? 0 : random.integer(16),
      delay: random.uniform() * (early ? 2000 : 100),
      signal: 'SIGKILL',
    });
    if (killedBy !== 'SIGKILL') break; // it was faster: the run is complete
    steps.push(written('killed'));
  }
  t.diagnostic(`steps written when it was killed: ${steps.join(', ')}`);
  assert.equal(steps.length, 20, 'the run is long enough for all of them');
  finish('killed');
  isWhole('killed');
});

test('no room for a checkpoint: a clear message, nothing half-written, nothing lost', async () => {
  // KB: the weights fit, the optimizer's moments, twice as large, do not
  const largest = Math.ceil((1.5 * 50257 * 8 * 4) / 1024);
  const limited = (output: string) =>
    spawnSync('bash', ['-c', `ulimit -f ${largest}; exec "$0" "$@"`, process.execPath, ...command(output)], {
      encoding: 'utf8',
    });
  const refused = limited('full');
  assert.equal(refused.status, 1);
  assert.match(
    refused.stderr,
    matching(
      /^alignbook: .*checkpoint-00000004: cannot be saved \(EFBIG.*\); free some space, and the same/,
      / command goes on from the beginning$/m,
    ),
  );
  assert.deepEqual(
    readdirSync(join(folder, 'full')).filter((name) => name.startsWith('checkpoint')),
    [],
  );

  const { status, stdout } = await stopped('full', { after: 9, delay: 0, signal: 'SIGINT' });
  assert.equal(status, 130);
  const [, step] = /step (\d+) is saved/.exec(stdout)!.map(Number) as [number, number];
  const again = limited('full');
  assert.equal(again.status, 1);
  assert.match(
    again.stderr,
    new RegExp(`cannot be saved .* goes on from checkpoint-${`${step}`.padStart(8, '0')}$`, 'm'),
  );
  assert.ok(!readdirSync(join(folder, 'full')).some((name) => name.endsWith('.tmp')));
  finish('full');
  isWhole('full');
});
