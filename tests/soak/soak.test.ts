/**
 * Long runs: tensors flat, and memory's slope stated. `npm run test:soak`. SOAK is a share of it: 0.1 for a
 * tenth.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import {
  checkpointFolder,
  generate,
  GPT2,
  liveTensors,
  pruneCheckpoints,
  readPairs,
  Tokenizer,
  trainDpo,
  TrainingState,
  type PairIds,
} from 'alignbook';
import { constantCount } from 'alignbook/dist/engine/ops';

import { collectGarbage } from '../../scripts/kernel/memory';
import { executeNotebooks } from '../../scripts/notebooks/execute';
import { root } from '../../scripts/paths';

const SHARE = Number(process.env['SOAK'] ?? 1);
const times = (count: number) => Math.max(10, Math.round(count * SHARE));
const folder = mkdtempSync(join(tmpdir(), 'soak-'));
after(() => rmSync(folder, { recursive: true, force: true }));

let tokenizer: Tokenizer;
let model: GPT2;
let pairs: PairIds[];
before(async () => {
  tokenizer = await Tokenizer.fromPretrained('tiny');
  model = await GPT2.fromPretrained('tiny');
  pairs = await readPairs(join(root, 'data', 'preferences', 'train.jsonl'), tokenizer, { maxLength: 128 });
});
after(() => model.dispose());

/**
 * Bytes a round by which memory grows: the slope of a line through all but the first quarter, in which caches fill, by
 * least squares. JavaScript's garbage is collected before each look: on its own V8 lets tens of megabytes pile up.
 */
class Watch {
  readonly #seen: { round: number; bytes: number; tensors: number }[] = [];

  look(round: number): void {
    collectGarbage();
    this.#seen.push({ round, bytes: process.memoryUsage.rss(), tensors: liveTensors() - constantCount() });
  }

  /**
   * States what was seen.
   * @throws AssertionError if tensors are more at the end, or memory grows by more than `most` bytes a round.
   */
  end(what: string, most: number): void {
    const late = this.#seen.slice(Math.floor(this.#seen.length / 4));
    const mean = (of: (one: (typeof late)[number]) => number) =>
      late.reduce((sum, one) => sum + of(one), 0) / late.length;
    const [round, bytes] = [mean((one) => one.round), mean((one) => one.bytes)];
    const slope =
      late.reduce((sum, one) => sum + (one.round - round) * (one.bytes - bytes), 0) /
      late.reduce((sum, one) => sum + (one.round - round) ** 2, 0);
    const { bytes: first } = late[0]!;
    const { round: rounds, bytes: last, tensors } = late.at(-1)!;
    console.log(
      `${what}: ${rounds} rounds, ${late[0]!.tensors} tensors at a quarter, ${tensors} at the end, ` +
        `${constantCount()} constants, memory ${Math.round(first / 1e6)} to ${Math.round(last / 1e6)} MB, ` +
        `${Math.round(slope)} bytes a round`,
    );
    assert.equal(
      new Set(late.map((one) => one.tensors)).size,
      1,
      `tensors: ${late.map((one) => one.tensors).join(', ')}`,
    );
    if (SHARE < 0.5) return; // what fills its caches in the beginning has a slope of its own
    assert.ok(slope < most, `${slope} bytes a round: ${late.map((one) => Math.round(one.bytes / 1e6)).join(', ')} MB`);
  }
}

test('DPO steps', async () => {
  const policy = await GPT2.fromPretrained('tiny');
  const steps = times(1000);
  const watch = new Watch();
  for await (const { step } of trainDpo(policy, pairs.slice(0, 200), { steps, batchSize: 2, lr: 1e-6 }))
    if (step % Math.ceil(steps / 40) === 0) watch.look(step);
  policy.dispose();
  watch.end('DPO', 20_000);
});

test('generations', async () => {
  const watch = new Watch();
  const count = times(1000);
  for (let n = 1; n <= count; n += 1) {
    await generate(model, [pairs[n % pairs.length]!.promptIds], {
      maxNewTokens: 8,
      temperature: 1,
      seed: n,
      eosTokenId: tokenizer.eosTokenId,
    });
    if (n % Math.ceil(count / 40) === 0) watch.look(n);
  }
  watch.end('generation', 20_000);
});

test('checkpoints', () => {
  const watch = new Watch();
  const state = TrainingState.begin(model);
  const count = times(200);
  for (let n = 1; n <= count; n += 1) {
    state.step = n;
    state.save(checkpointFolder(folder, n), 'soak');
    pruneCheckpoints(folder, 2);
    if (n % Math.ceil(count / 40) === 0) watch.look(n);
  }
  assert.equal(readdirSync(folder).filter((name) => /\d/.test(name)).length, 2);
  state.dispose();
  watch.end('checkpoints', 200_000);
});

test("notebooks' kernels, one after the other", { timeout: 3_600_000 }, async () => {
  const path = join(root, 'tests', 'broken', 'clean.ipynb');
  const kernels = () =>
    spawnSync('pgrep', ['-f', join(root, '.alignbook', 'build', 'scripts', 'kernel', 'main.js')], { encoding: 'utf8' })
      .stdout.trim()
      .split('\n')
      .filter(Boolean).length;
  const before = kernels();
  const count = times(100);
  for (let n = 0; n < count; n += 1) {
    const { reports } = await executeNotebooks([path], { out: join(folder, 'executed'), timeout: 60 });
    assert.equal(reports[0]!.refused, null, JSON.stringify(reports[0]!.refused));
  }
  assert.equal(kernels(), before);
  console.log(`kernels: ${count}, all clean, none left`);
});
