/**
 * Step 4: twenty steps of DPO on the embedded model, compared with the same steps on the CPU, in a process that cannot
 * see a GPU.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

import { device, GPT2, liveTensors, readPairs, referenceLogps, Tokenizer, trainDpo } from 'alignbook';
import { constantCount } from 'alignbook/dist/engine/ops';

import { root } from '../paths';
import { checked, seen, step } from './report';

const STEPS = 20;
/**
 * Sums in a different order differ by 1e-6 at first; where gradients are near 0, AdamW turns such differences into
 * whole steps.
 */
const BOUND = 1e-3;

interface Training {
  readonly losses: readonly number[];
  /**
   * Live tensors after the third step and after the last, not counting constants, because each new shape makes some.
   */
  readonly tensors: readonly [number, number];
  readonly seconds: number;
}

async function trained(): Promise<Training> {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const pairs = (
    await readPairs(join(root, 'data', 'preferences', 'train.jsonl'), tokenizer, { maxLength: 128 })
  ).slice(0, 64);
  const policy = await GPT2.fromPretrained('tiny');
  const reference = referenceLogps(policy, pairs);
  const start = performance.now();
  const losses: number[] = [];
  const tensors: number[] = [];
  for await (const { loss } of trainDpo(
    policy,
    pairs,
    { steps: STEPS, batchSize: 8, lr: 1e-4, schedule: 'constant', seed: 1 },
    { reference },
  )) {
    losses.push(loss);
    tensors.push(liveTensors() - constantCount());
  }
  return { losses, tensors: [tensors[2]!, tensors.at(-1)!], seconds: (performance.now() - start) / 1000 };
}

step(async () => {
  if (process.argv[2] === 'alone') return void process.stdout.write(JSON.stringify(await trained()));
  const own = await trained();
  const { stdout, stderr, status } = spawnSync(process.execPath, [__filename, 'alone'], {
    encoding: 'utf8',
    env: { ...process.env, CUDA_VISIBLE_DEVICES: '-1' },
  });
  if (status !== 0) throw new Error(`the CPU's training failed: ${stderr.slice(-300)}`);
  const cpu = JSON.parse(stdout) as Training;
  const apart = Math.max(...own.losses.map((loss, n) => Math.abs(loss - cpu.losses[n]!)));
  const where = device().name.toUpperCase();
  seen(
    `${STEPS} steps of DPO on tiny: ${where} ${own.seconds.toFixed(2)} s, CPU ${cpu.seconds.toFixed(2)} s; loss ` +
      `${own.losses[0]!.toFixed(5)} to ${own.losses.at(-1)!.toFixed(5)}`,
  );
  checked(
    `greatest distance from the CPU's loss ${apart.toExponential(1)}; bound ${BOUND}`,
    own.losses.length === STEPS && apart <= BOUND,
  );
  checked(
    `the loss fell by ${(own.losses[0]! - own.losses.at(-1)!).toFixed(4)}`,
    own.losses.at(-1)! < own.losses[0]! - 0.005,
  );
  checked(
    `tensors ${own.tensors[0]} after step 3, ${own.tensors[1]} after step ${STEPS}`,
    own.tensors[1] === own.tensors[0],
  );
});
