/** KTO: 20 steps of TRL's KTOTrainer, the rules of the batch, rows with thumbs, and the command. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  evaluateKto,
  ktoLoss,
  liveTensors,
  lora,
  Random,
  readLabeled,
  responseBatch,
  tf,
  Tokenizer,
  TrainingState,
  trainKto,
  type GPT2,
  type KtoTrainOptions,
  type LabeledResponse,
} from 'alignbook';
import { ktoSettings } from 'alignbook/dist/training/ktoOptions';

import { root } from '../scripts/paths';
import { loadEngineModel } from './engineFixtures';
import { collect, near, ordered } from './trainingSteps';

const fixture = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'kto.json'), 'utf8')) as {
  rows: LabeledResponse[];
  batchSize: number;
  beta: number;
  desirable_weight: number;
  undesirable_weight: number;
  steps: Record<string, number>[];
  last: number[];
};
const { batchSize } = fixture;
const rows = ordered(
  fixture.rows,
  fixture.rows.map((_, n) => n),
  batchSize,
);
const options: KtoTrainOptions = {
  steps: fixture.steps.length,
  batchSize,
  beta: fixture.beta,
  desirableWeight: fixture.desirable_weight,
  undesirableWeight: fixture.undesirable_weight,
  lr: 1e-2,
  warmupSteps: 3,
  weightDecay: 0.01,
  epsilon: 1e-4,
  tokenMetrics: true,
};
const folder = mkdtempSync(join(tmpdir(), 'kto-'));
after(() => rmSync(folder, { recursive: true }));
const load = async () => (await loadEngineModel('one-head')).model;
const logits = (model: GPT2, ids: readonly number[]) =>
  tf.tidy(() => Array.from(model.forward(tf.tensor2d([[...ids]], undefined, 'int32')).logits.dataSync()).slice(-23));

for (const accumulation of [1, 2, 3]) {
  // float32 on both sides: TRL's figures of step 1 agree to 1e-6, and twenty steps of rounding may add up
  test(`20 steps are those of TRL's KTOTrainer, in ${accumulation} parts`, async () => {
    const [model, reference] = [await load(), await load()];
    const steps = await collect(trainKto(model, rows, { ...options, accumulation }, { reference }));
    assert.equal(steps.length, fixture.steps.length);
    steps.forEach((step, n) => {
      const wanted = fixture.steps[n]!;
      const told = (name: string) => `step ${n + 1}: ${name}`;
      near(step.loss, wanted['loss']!, 1e-5, told('loss'));
      near(step.gradNorm, wanted['gradNorm']!, 1e-4 * wanted['gradNorm']!, told('gradNorm'));
      near(step.lr, wanted['lr']!, 1e-9, told('lr'));
      near(step.kl, wanted['kl']!, 2e-4, told('kl'));
      near(step.entropy!, wanted['entropy']!, 1e-5, told('entropy'));
      for (const [name, value] of [
        ['chosen', step.rewards.chosen],
        ['rejected', step.rewards.rejected],
        ['margins', step.rewards.margins],
        ['logpsChosen', step.logps.chosen],
        ['logpsRejected', step.logps.rejected],
      ] as const) {
        assert.equal(value === undefined, wanted[name] === undefined, told(name)); // a batch may lack a kind
        if (value !== undefined) near(value, wanted[name]!, 2e-4, told(name));
      }
    });
    logits(model, fixture.rows[0]!.promptIds).forEach((value, n) => near(value, fixture.last[n]!, 2e-4, `logit ${n}`));
    for (const each of [model, reference]) each.dispose();
  });
}

test('the declared defaults are those of the loss, and nothing stays behind', async () => {
  const inputs = {
    policyLogps: tf.tensor1d([-10, -20]),
    refLogps: tf.tensor1d([-12, -17]),
    desirable: tf.tensor1d([true, false], 'bool'),
    policyMismatchedLogps: tf.tensor1d([-29, -38]),
    refMismatchedLogps: tf.tensor1d([-30, -40]),
  };
  const { beta, desirableWeight, undesirableWeight } = ktoSettings;
  const declared = ktoLoss(inputs, {
    beta: beta.default,
    desirableWeight: desirableWeight.default,
    undesirableWeight: undesirableWeight.default,
  });
  assert.deepEqual(ktoLoss(inputs).losses.arraySync(), declared.losses.arraySync());

  const [model, reference] = [await load(), await load()];
  await collect(trainKto(model, rows, { ...options, steps: 1 }, { reference, validation: rows.slice(0, 5) }));
  const live = liveTensors();
  await collect(trainKto(model, rows, { ...options, steps: 3 }, { reference, validation: rows.slice(0, 5) }));
  assert.equal(liveTensors(), live);
  for (const each of [model, reference]) each.dispose();
});

test('a validation pairs each prompt with the response of the row before it, whatever the batch', async () => {
  const [model, reference] = [await load(), await load()];
  await collect(trainKto(model, rows, { ...options, steps: 4 }, { reference }));
  const held = fixture.rows.slice(40, 47);
  const sums = (of: GPT2, responses: (n: number) => readonly number[]) =>
    tf.tidy(() =>
      of
        .score(responseBatch(held.map(({ promptIds }, n) => ({ promptIds, responses: [responses(n)] }))))
        .sum<tf.Tensor1D>(1)
        .arraySync(),
    );
  const own = (n: number) => held[n]!.responseIds;
  const before = (n: number) => held.at(n - 1)!.responseIds;
  const vector = (values: number[]) => tf.tensor1d(values);
  const { losses, kl } = ktoLoss(
    {
      policyLogps: vector(sums(model, own)),
      refLogps: vector(sums(reference, own)),
      desirable: tf.tensor1d(held.map(({ desirable }) => desirable)),
      policyMismatchedLogps: vector(sums(model, before)),
      refMismatchedLogps: vector(sums(reference, before)),
    },
    options,
  );
  assert.ok(kl.dataSync()[0]! > 0.1);
  for (const size of [2, 3, 16]) {
    const metrics = evaluateKto(model, held, reference, { ...options, batchSize: size });
    near(metrics.loss, losses.mean().dataSync()[0]!, 1e-6, `loss, batches of ${size}`);
    near(metrics.kl, kl.dataSync()[0]!, 1e-5, `kl, batches of ${size}`);
  }
  for (const each of [model, reference]) each.dispose();
});

test('resumed after three steps, the run has the same bits; adapters keep the base as the reference', async () => {
  const base = await load();
  const adapted = () => lora(base, { rank: 2 }, new Random(4));
  const run = { ...options, steps: 6 };
  const whole = adapted();
  const wanted = await collect(trainKto(whole, rows, run, { reference: base }));
  const [first, second] = [adapted(), adapted()];
  const [begun, path] = [TrainingState.begin(first, run), join(folder, 'checkpoint')];
  for await (const { step } of trainKto(first, rows, run, { reference: base, state: begun })) if (step === 3) break;
  begun.save(path, 'kto');
  const state = TrainingState.resume(path, second, run, 'kto');
  const rest = await collect(trainKto(second, rows, run, { reference: base, state }));
  assert.deepEqual(
    rest.map(({ loss, gradNorm }) => [loss, gradNorm]),
    wanted.slice(3).map(({ loss, gradNorm }) => [loss, gradNorm]),
  );
  assert.equal(second.weights.trained.digest(), whole.weights.trained.digest());
  for (const each of [begun, state, whole, first, second, base]) each.dispose();
});

test('what cannot be trained is said at once', async () => {
  const [model, reference] = [await load(), await load()];
  const refused = (
    more: Partial<KtoTrainOptions>,
    said: RegExp,
    some: readonly LabeledResponse[] = rows,
    other = reference,
  ) => assert.rejects(collect(trainKto(model, some, { ...options, ...more }, { reference: other })), said);
  await refused({ batchSize: 1 }, /batchSize must be at least 2: one row alone cannot form a mismatched pair/);
  await refused({}, /KTO needs at least two rows, got 1 row$/, rows.slice(0, 1));
  await refused({}, /the reference is the model that is trained/, rows, model);
  await refused({ beta: -1 }, /beta must be/);
  await refused({ desirableWeight: -1 }, /desirableWeight must be/);
  for (const each of [model, reference]) each.dispose();
});

test('rows with thumbs: the forms that are read, and what is wrong with others', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const read = (...lines: unknown[]) => {
    const path = join(folder, 'rows.jsonl');
    writeFileSync(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    return readLabeled(path, tokenizer, { maxLength: 64 });
  };
  const end = tokenizer.eosTokenId;
  const hi = { promptIds: tokenizer.encode('Hi'), responseIds: [...tokenizer.encode(' there'), end] };
  assert.deepEqual(
    await read(
      { prompt: 'Hi', completion: ' there', label: true },
      { prompt: 'Hi', response: ' there', label: 0 },
      { prompt: 'Hi', chosen: ' there', rejected: ' you', id: 3 },
    ),
    [
      { ...hi, desirable: true },
      { ...hi, desirable: false },
      { ...hi, desirable: true },
      { promptIds: hi.promptIds, responseIds: [...tokenizer.encode(' you'), end], desirable: false },
    ],
  );
  const messages = await read({
    prompt: [{ role: 'user', content: 'Hi' }],
    completion: [{ role: 'assistant', content: 'there' }],
    label: false,
  });
  assert.equal(messages.length, 1);
  await assert.rejects(read({ prompt: 'Hi', completion: ' there' }), /line 1: has no "label"/);
  await assert.rejects(
    read({ prompt: 'Hi', completion: ' there', label: 'good' }),
    /line 1: "label" is "good", not true or false/,
  );
  await assert.rejects(read({ prompt: 'Hi', label: true }), /line 1: has no "response"/);
  await assert.rejects(read({ prompt: 'Hi', completion: '', label: true }), /line 1: response is empty/);
});

test('train-kto: a run of adapters, with a note on unequal counts', () => {
  const path = join(folder, 'thumbs.jsonl');
  const lines = readFileSync(join(root, 'data', 'preferences', 'validation.jsonl'), 'utf8')
    .split('\n')
    .slice(0, 9);
  writeFileSync(
    path,
    lines
      .map((line, n) => {
        const { instruction, chosen, rejected } = JSON.parse(line) as Record<string, string>;
        return JSON.stringify({ instruction, output: n < 6 ? chosen : rejected, label: n < 6 });
      })
      .join('\n'),
  );
  const run = (batchSize: number) =>
    spawnSync(
      process.execPath,
      [
        join(root, 'lib', 'bin', 'alignbook.js'),
        ...['train-kto', '--model', 'tiny', '--data', path, '--output', join(folder, 'run'), '--lr', '1e-3'],
        ...['--batch-size', `${batchSize}`, '--lora-rank', '2', '--steps', '4', '--validation', path],
      ],
      { encoding: 'utf8' },
    );
  const { status, stdout, stderr } = run(3);
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(stdout, /^note: 6 desirable rows and 3 undesirable rows: .* desirableWeight from 0\.5 to 0\.667 for/m);
  assert.match(stdout, /^step 1 of 4 {2}loss 0\.5000 {2}kl 0\.000/m);
  assert.match(stdout, /^validation after step 4 {2}loss 0\.4/m);
  assert.match(run(1).stderr, /batchSize must be at least 2/);
});
