/**
 * SFT on plain texts and on windows of packed rows, against TRL and PyTorch: tests/oracles/plain_text.py makes the
 * fixtures.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  evaluateSft,
  GPT2,
  InputError,
  readResponses,
  responseBatch,
  tf,
  Tokenizer,
  TrainingState,
  trainSft,
  type PromptResponses,
  type SftTrainOptions,
} from 'alignbook';
import { handoffInputs } from 'alignbook/dist/commands/handoffInputs';
import { packed } from 'alignbook/dist/text/packing';
import { textPieces } from 'alignbook/dist/text/plainText';
import { sftWindows } from 'alignbook/dist/training/trainSft';

import { root } from '../scripts/paths';
import { loadEngineModel } from './engineFixtures';
import { collect, near, ordered } from './trainingSteps';

interface Step {
  readonly loss: number;
  readonly gradNorm: number;
  readonly lr: number;
  readonly tokens: number;
  readonly rows: number;
}
interface Walk {
  readonly batchSize: number;
  readonly windows: number;
  readonly steps: readonly Step[];
  readonly lossAfter: number;
  readonly last: readonly number[];
}
const fixtures = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'plainText.json'), 'utf8')) as {
  bins: { lengths: number[]; capacity: number; bins: number[][] }[];
  trl: {
    texts: string[];
    ids: number[][];
    steps: { loss: number; gradNorm: number; lr: number; entropy: number; meanTokenAccuracy: number }[];
  };
  texts: number[][];
  maxLength: number;
  split: Walk;
  packed: Walk;
};
const folder = mkdtempSync(join(tmpdir(), 'packing-'));
after(() => rmSync(folder, { recursive: true }));

test('windows are those of TRL, row by row', () => {
  for (const { lengths, capacity, bins } of fixtures.bins) assert.deepEqual(packed(lengths, capacity), bins);
  assert.ok(fixtures.bins.some(({ bins }) => bins.length > 100));
  assert.deepEqual(packed([], 4), []);
  assert.throws(() => packed([1, 5], 4), {
    name: 'InputError',
    message: 'row 2 has 5 tokens, more than a window of 4; shorten it, or leave it out',
  });
});

test('60,000 rows are packed in well under a minute', () => {
  const lengths = Array.from({ length: 60_000 }, (_, n) => 1 + ((n * 7919) % 1024));
  const start = performance.now();
  const windows = packed(lengths, 1024);
  assert.ok(performance.now() - start < 60_000);
  assert.deepEqual(
    windows.flat().sort((a, b) => a - b),
    lengths.map((_, row) => row),
  );
  const used = lengths.reduce((sum, length) => sum + length, 0);
  assert.ok(windows.length < 1.02 * Math.ceil(used / 1024), `${windows.length} windows`);
});

test('rows {"text"}: the ids and 8 steps are those of TRL', async () => {
  const { texts, ids, steps } = fixtures.trl;
  const path = join(folder, 'texts.jsonl');
  writeFileSync(path, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  const rows = await readResponses(path, await Tokenizer.fromPretrained('tiny'), { maxLength: 256 });
  assert.deepEqual(
    rows.map(({ promptIds, responses }) => [...promptIds, ...responses[0]!]),
    ids,
  );
  const model = await GPT2.fromPretrained('tiny');
  const order = Array.from({ length: 32 }, (_, n) => n % texts.length);
  const options: SftTrainOptions = {
    ...{ steps: 8, batchSize: 4, lr: 1e-3, warmupSteps: 2, epsilon: 1e-6, tokenMetrics: true },
  };
  const made = await collect(trainSft(model, ordered(rows, order, 4), options));
  made.forEach((step, n) => {
    const expected = steps[n]!;
    // TRL divides by all tokens of the texts, also by their first ones, which nothing predicts: transformers' Trainer
    // counts labels before they are shifted. All gradients are clipped to the same norm, so the steps do not differ.
    const share = step.tokens / (step.tokens + 4);
    assert.ok(expected.gradNorm > 1);
    // Both in float32: rounding errors grow over the steps; largest differences seen: 2e-5, 3e-5 and 5e-5.
    near(share * step.loss, expected.loss, 1e-4, `loss of step ${step.step}`);
    near((share * step.gradNorm) / expected.gradNorm, 1, 2e-4, `gradNorm of step ${step.step}`);
    near(step.lr, expected.lr, 1e-9, `lr of step ${step.step}`);
    near(step.entropy!, expected.entropy, 3e-4, `entropy of step ${step.step}`);
    near(step.meanTokenAccuracy!, expected.meanTokenAccuracy, 1e-6, `accuracy of step ${step.step}`);
  });
  model.dispose();
});

const { maxLength } = fixtures;
const pieces = fixtures.texts.flatMap((text) => textPieces(text, maxLength));
const options: SftTrainOptions = {
  ...{ steps: 8, lr: 0.01, warmupSteps: 2, beta2: 0.98, epsilon: 1e-4, weightDecay: 0.1, maxGradNorm: 1, seed: 3 },
  maxLength,
};

for (const [what, walk, more] of [
  ['long texts in pieces', fixtures.split, {}],
  ['packed into windows', fixtures.packed, { packing: true }],
  ['packed into windows, in two parts', fixtures.packed, { packing: true, accumulation: 2 }],
] as const) {
  test(`SFT on plain texts follows PyTorch, each piece computed alone: ${what}`, async () => {
    const { model } = await loadEngineModel('a-group');
    const { batchSize } = walk;
    assert.equal(sftWindows(pieces, { ...options, ...more }, model.config.blockSize).length, walk.windows);
    const made = await collect(
      trainSft(model, pieces, { ...options, batchSize, validateEvery: 8, ...more }, { validation: pieces }),
    );
    made.forEach(({ step, loss, gradNorm, lr, tokens }, n) => {
      const expected = walk.steps[n]!;
      assert.equal(tokens, expected.tokens);
      // PyTorch in float64: rounding errors grow over the steps; largest difference seen: 1.3e-6.
      near(loss, expected.loss, 1e-5, `loss of step ${step}`);
      near(gradNorm, expected.gradNorm, 1e-5, `gradNorm of step ${step}`);
      near(lr, expected.lr, 1e-12, `lr of step ${step}`);
    });
    near(made[7]!.validation!.loss, walk.lossAfter, 1e-5, 'validation');
    const [first] = pieces;
    const begin = [...first!.promptIds, ...first!.responses[0]!].slice(0, 3);
    const { logits } = model.forward(tf.tensor2d([begin], undefined, 'int32'));
    const end = logits.dataSync().slice(-37);
    walk.last.forEach((logit, id) => near(end[id]!, logit, 2e-5, `logit ${id} after training`));
    model.dispose();
  });
}

test('the windows of a batch are laid out in rows of the longest length, and attention stays within each row', () => {
  const rows: PromptResponses[] = [2, 5, 3, 4, 1].map((length, n) => ({
    promptIds: [10 * n],
    responses: [Array.from({ length }, (_, i) => 10 * n + 1 + i)],
  }));
  const batch = responseBatch(rows, { layout: 'fitted' });
  assert.deepEqual(batch.shape, [4, 6]); // 6 | 5 | 4 + 2 | 3
  assert.deepEqual(
    [...batch.ids],
    [10, 11, 12, 13, 14, 15, 30, 31, 32, 33, 34, 0, 20, 21, 22, 23, 40, 41, 0, 1, 2, 0, 0, 0],
  );
  assert.deepEqual([...batch.positions], [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 0, 0, 1, 2, 3, 0, 1, 0, 1, 2, 0, 0, 0]);
  const third = Array.from({ length: 6 }, (_, t) => [...batch.visible.subarray((12 + t) * 6, (13 + t) * 6)].join(''));
  assert.deepEqual(third, ['100000', '110000', '111000', '111100', '000010', '000011']);
  // the responses stay in the order given
  assert.deepEqual([...batch.scored.ids].slice(0, 4), [1, 2, 11, 12]);
  assert.deepEqual([...batch.ends], [20, 5, 15, 10, 17]);
  // in the order of the places, which the engine relies on where no place is left over
  assert.deepEqual([...batch.tokens], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
});

test('a resumed training takes the windows that are left', async () => {
  const run = { ...options, packing: true, batchSize: 3, steps: undefined, epochs: 1 };
  const { model } = await loadEngineModel('a-group');
  const whole = await collect(trainSft(model, pieces, run));
  const windows = sftWindows(pieces, run, model.config.blockSize);
  assert.equal(whole.length, Math.ceil(windows.length / 3));
  const { model: again } = await loadEngineModel('a-group');
  const state = TrainingState.begin(again, run);
  const steps: unknown[] = [];
  const losses = async (count: number): Promise<void> => {
    for await (const { step, loss, tokens } of trainSft(again, pieces, run, { state })) {
      steps.push([step, loss, tokens]);
      if (step === count) break;
    }
  };
  await losses(2);
  await losses(whole.length);
  assert.deepEqual(
    steps,
    whole.map(({ step, loss, tokens }) => [step, loss, tokens]),
  );
  state.dispose();
  model.dispose();
  again.dispose();
});

test('an evaluation is the same packed and not; wrong lengths and losses are refused by name', async () => {
  const { model } = await loadEngineModel('a-group');
  const plain = evaluateSft(model, pieces, { batchSize: 7 });
  for (const batchSize of [1, 2, 100]) {
    const { loss, entropy, meanTokenAccuracy } = evaluateSft(model, pieces, { batchSize, packing: true });
    // float32 sums over other groups of tokens; largest difference seen: 5e-7
    near(loss, plain.loss, 5e-6, 'loss');
    near(entropy!, plain.entropy!, 5e-6, 'entropy');
    near(meanTokenAccuracy!, plain.meanTokenAccuracy!, 1e-12, 'accuracy');
  }
  for (const wrong of [1, 2.5, 21]) {
    const message = `maxLength must be a whole number from 2 to 20, the model's window, got ${wrong}`;
    const packing = { packing: true, maxLength: wrong };
    assert.throws(() => evaluateSft(model, pieces, packing), { name: 'InputError', message });
    await assert.rejects(collect(trainSft(model, pieces, { ...options, ...packing })), { message });
  }
  await assert.rejects(collect(trainSft(model, pieces, { ...options, packing: true, maxLength: 5 })), {
    message: /^row 2 has 6 tokens, more than a window of 5; /,
  });
  await assert.rejects(
    collect(trainSft(model, pieces, { ...options, packing: true, batchSize: 3, accumulation: 2 })),
    InputError,
  );
  // rows, not windows, are named where a loss is not a number
  const run = { ...options, packing: true, maxLength: 20, lr: 1e30, warmupSteps: 0 };
  const { model: broken } = await loadEngineModel('a-group');
  await assert.rejects(
    collect(trainSft(broken, pieces, { ...run, batchSize: 2 })),
    /^InputError: step 2: (loss|gradNorm) is (NaN|-?Infinity), on the rows \d+(, \d+){2,} \(counted from 1\); check/,
  );
  const { model: other } = await loadEngineModel('a-group');
  await assert.rejects(
    collect(trainSft(other, pieces, { ...run, batchSize: 20 })),
    /^InputError: step 2: .*, on the rows \d+(, \d+){31} and \d+ more \(counted from 1\); check/,
  );
  broken.dispose();
  other.dispose();
  model.dispose();
});

test('train-sft packs texts, says so, goes on after an interrupt, and is another run with other windows', async () => {
  const texts = join(folder, 'short.jsonl');
  const rows = Array.from({ length: 9 }, (_, n) => ({ text: 'One two three four five.'.slice(0, 7 + 2 * n) }));
  writeFileSync(texts, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const output = join(folder, 'run');
  const args = (maxLength: number, ...more: readonly string[]) => [
    ...[join(root, 'lib', 'bin', 'alignbook.js'), 'train-sft', '--model', 'tiny', '--data', texts, '--output', output],
    ...['--epochs', '4', '--batch-size', '1', '--lr', '1e-4', '--max-length', `${maxLength}`, ...more],
  ];
  const train = (maxLength: number, ...more: readonly string[]) =>
    spawnSync(process.execPath, args(maxLength, ...more), { encoding: 'utf8' });
  const metrics = (): { step: number; tokens: number }[] =>
    readFileSync(join(output, 'metrics.jsonl'), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as { step: number; tokens: number });

  const child = spawn(process.execPath, args(16, '--packing'));
  let said = '';
  child.stdout.on('data', (chunk) => (said += chunk));
  const ended = once(child, 'close') as Promise<[number | null]>;
  while (child.exitCode === null && !/^step 1 of/m.test(said)) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill('SIGINT');
  assert.equal((await ended)[0], 130, said);

  const read = await readResponses(texts, await Tokenizer.fromPretrained('tiny'), { maxLength: 16 });
  const windows = sftWindows(read, { packing: true, maxLength: 16 }, 256);
  const tokens = read.reduce((sum, { responses }) => sum + 1 + responses[0]!.length, 0);
  assert.ok(windows.length < 9);
  const share = ((100 * tokens) / (16 * windows.length)).toFixed(0);
  const count = `${windows.length} windows of 16`;
  const note = `note: 9 rows of ${tokens} tokens are packed into ${count}, ${share} % full; batchSize counts windows\n`;
  assert.ok(said.includes(note), said);

  // The rows are the same; the windows are not.
  for (const other of [train(12, '--packing'), train(16)]) {
    assert.equal(other.status, 1);
    assert.match(other.stderr, /training\.json: belongs to a run with other data or options/);
  }
  const again = train(16, '--packing');
  assert.equal(again.status, 0, again.stderr);
  assert.match(again.stdout, /^going on after step \d+ of /m);
  const steps = metrics();
  assert.deepEqual(
    steps.map(({ step }) => step),
    Array.from({ length: 4 * windows.length }, (_, n) => n + 1),
  );
  // each epoch predicts every token but the texts' first
  assert.equal(
    steps.reduce((sum, step) => sum + step.tokens, 0),
    4 * (tokens - 9),
  );
});

test('a packed training is not handed over', async () => {
  const config = { model: 'tiny', data: 'rows.jsonl', output: 'run', steps: 1, lr: 1e-4, packing: true };
  await assert.rejects(handoffInputs('sft', config), {
    name: 'InputError',
    message: 'packing: train.py takes rows one by one; leave it out, or train by alignbook itself',
  });
});
