/** Reward models: scores and gradients against GPT2ForSequenceClassification, initialization, normalizing, folders. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  exportModel,
  FileError,
  GPT2,
  InputError,
  liveTensors,
  lora,
  Random,
  responseBatch,
  RewardModel,
  scoreNormalization,
  scoreResponses,
  tf,
  Tokenizer,
  writeSafetensors,
  type Layout,
} from 'alignbook';

import { root } from '../scripts/paths';
import { loadEngineModel } from './engineFixtures';
import { matching } from './matching';
import { fixtures, FOLDER, rewardModel, stored } from './rewardFixtures';

const TINY = join(root, 'data', 'models', 'tiny');
const folder = mkdtempSync(join(tmpdir(), 'reward-'));
after(() => rmSync(folder, { recursive: true }));

/**
 * Float32 here, float64 in the fixtures, as in engine.test.ts. Greatest differences seen: 8e-7 for scores, which reach
 * 4; for a gradient, 3e-6 of the largest element of its parameter.
 */
const SCORES = 5e-6;
const GRADIENTS = 1.2e-5;

function near(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  assert.equal(actual.length, expected.length, what);
  for (let i = 0; i < expected.length; i += 1)
    assert.ok(
      Math.abs(actual[i]! - expected[i]!) <= tolerance,
      `${what}, element ${i}: ${actual[i]} instead of ${expected[i]}`,
    );
}

for (const [name, { scores, weights }] of Object.entries(fixtures.models)) {
  test(`${name}: scores and the gradient of every weight are transformers', in each layout`, async () => {
    const { model, rows } = await rewardModel(name, stored('gradients', `${name}/head`));
    for (const layout of ['padded', 'shared', 'packed'] satisfies Layout[]) {
      const batch = responseBatch(rows, { layout, maxLength: model.config.blockSize });
      using recording = model.record(batch);
      near(recording.scores.dataSync(), scores, SCORES, `${layout}: recorded scores`);
      near(model.scores(batch).dataSync(), scores, SCORES, `${layout}: scores`);
      using gradients = recording.backward(tf.tensor1d(weights));
      assert.deepEqual(gradients.names.slice().sort(), model.weights.names.slice().sort());
      for (const weight of model.weights.names) {
        const values = stored('gradients', `${name}/gradient/${weight}`);
        const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        near(gradients.values(weight), values, GRADIENTS * Math.max(largest, 1e-3), `${layout}: ${weight}`);
      }
    }
    near(scoreResponses(model, rows, { batchSize: 1 }).flat(), scores, SCORES, 'scoreResponses');
    model.dispose();
  });
}

for (const [pad, scores] of Object.entries(fixtures.positions.scores)) {
  test(`pad_token_id ${pad}: scores are read where transformers reads them, in each layout`, async () => {
    const { model: name, rows } = fixtures.positions;
    const { model } = await rewardModel(name, stored('gradients', `${name}/head`), JSON.parse(pad) as number | null);
    for (const layout of ['padded', 'shared', 'packed'] satisfies Layout[]) {
      near(model.scores(responseBatch(rows, { layout })).dataSync(), scores, SCORES, layout);
    }
    model.dispose();
  });
}

test('only the gradients that are wanted are made, from no deeper than they need', async () => {
  const { model, rows } = await rewardModel('five-layers', stored('gradients', 'five-layers/head'));
  const gradients = (wanted: (name: string) => boolean) =>
    model.record(responseBatch(rows)).backward(tf.tensor1d(fixtures.models['five-layers']!.weights), wanted);
  using all = gradients(() => true);
  for (const wanted of [
    (name: string) => name === 'score.weight',
    (name: string) => /^(ln_f|score|h\.4)\./.test(name),
    (name: string) => name === 'wpe.weight',
  ]) {
    using some = gradients(wanted);
    assert.deepEqual(some.names.slice().sort(), model.weights.names.filter(wanted).sort());
    for (const name of some.names) assert.deepEqual(some.values(name), all.values(name), name);
  }
  model.dispose();
});

test('a forward pass serves one backward pass, and leaves nothing behind, with or without it', async () => {
  const { model, rows } = await rewardModel('a-group', stored('gradients', 'a-group/head'));
  const batch = responseBatch(rows);
  const gradient = tf.tensor1d(fixtures.models['a-group']!.weights);
  const round = (follow: boolean) => {
    const recording = model.record(batch);
    if (follow) recording.backward(gradient)[Symbol.dispose]();
    recording[Symbol.dispose]();
    return recording;
  };
  round(true); // makes the constants
  const live = liveTensors();
  round(false);
  assert.equal(liveTensors(), live);
  const recording = round(true);
  model.scores(batch).dispose();
  assert.equal(liveTensors(), live);
  assert.throws(
    () => recording.backward(gradient),
    /already been used for a backward pass, or was disposed of; record the batch again/,
  );
  assert.throws(() => model.record(batch).backward(tf.zeros([5])), /gradient must have shape \[6\], got \[5\]/);
  assert.throws(
    () => model.scores(responseBatch([{ promptIds: [37], responses: [[1]] }])),
    /ids must lie from 0 to 36, got 37/,
  );
  model.dispose();
});

test('it begins as a copy of the language model, adapters merged, with a head drawn from the seed', async () => {
  const { seed, normals } = fixtures.begin;
  const { model: base } = await loadEngineModel('one-head');
  const begun = RewardModel.begin(base, new Random(seed));
  near(
    begun.weights.values('score.weight'),
    normals.map((x) => x / Math.sqrt(11)),
    1e-7,
    'the head',
  );
  for (const name of base.weights.names) assert.deepEqual(begun.weights.values(name), base.weights.values(name), name);
  begun.weights.assign('ln_f.bias', new Float32Array(10));
  assert.notDeepEqual(base.weights.values('ln_f.bias'), new Float32Array(10), 'a copy');
  const adapted = lora(base, { rank: 1 }, new Random(1));
  adapted.weights.trained.assign('h.0.attn.c_attn.lora_B', new Float32Array(30).fill(1));
  assert.deepEqual(
    RewardModel.begin(adapted, new Random(seed)).weights.values('h.0.attn.c_attn.weight'),
    adapted.weights.values('h.0.attn.c_attn.weight'),
  );
  for (const each of [begun, adapted, base]) each.dispose();
});

test(
  'normalized, the samples have mean 0 and deviation ' + '1, and other scores are moved and stretched alike',
  async () => {
    const { model, rows } = await rewardModel(
      'a-group',
      stored('gradients', 'a-group/head').map((w) => 7 * w),
    );
    const others = [{ promptIds: [1, 2], responses: [[3], [4, 5, 6]] }];
    const before = scoreResponses(model, others)[0]!;
    const found = scoreNormalization(model, rows);
    const scores = scoreResponses(model, rows).flat();
    const mean = scores.reduce((sum, score) => sum + score, 0) / 6;
    assert.equal(found.mean, mean);
    assert.equal(found.deviation, Math.sqrt(scores.reduce((sum, score) => sum + (score - mean) ** 2, 0) / 6));
    assert.ok(Math.abs(mean) > 1 && found.deviation > 2, 'there is something to do');
    model.normalize(found);
    const after = scoreNormalization(model, rows, { batchSize: 2 });
    // the tolerance is float32's rounding of scores of some size
    near([after.mean, after.deviation], [0, 1], 3e-6, 'mean and deviation');
    near(
      scoreResponses(model, others)[0]!,
      before.map((score) => (score - found.mean) / found.deviation),
      3e-6,
      'other scores',
    );
    const same = scoreNormalization(
      model,
      [rows[0]!, rows[0]!].map(({ promptIds, responses }) => ({ promptIds, responses: [responses[0]!] })),
    );
    for (const wrong of [same, { mean: NaN, deviation: 1 }, scoreNormalization(model, [])]) {
      assert.throws(
        () => model.normalize(wrong),
        (error) =>
          error instanceof InputError &&
          error.message.endsWith('cannot be normalized; give samples whose scores differ'),
      );
    }
    model.dispose();
  },
);

test('a folder of save_pretrained opens, and an export has its very bytes', async () => {
  const from = mkdtempSync(join(folder, 'source-'));
  for (const name of ['config.json', 'model.safetensors']) copyFileSync(join(FOLDER, 'saved', name), join(from, name));
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) copyFileSync(join(TINY, name), join(from, name));
  const model = await RewardModel.fromPretrained(from);
  const { scores } = fixtures.models['one-head']!;
  const { rows } = (await loadEngineModel('one-head')).expected;
  near(scoreResponses(model, rows).flat(), scores, SCORES, 'scores');

  const out = join(folder, 'exported');
  await exportModel(model, out, { source: from });
  assert.deepEqual(
    readFileSync(join(out, 'model.safetensors')),
    readFileSync(join(FOLDER, 'saved', 'model.safetensors')),
  );
  const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')) as Record<string, unknown>;
  assert.deepEqual(
    [config.architectures, config.id2label, config.label2id],
    [['GPT2ForSequenceClassification'], { 0: 'score' }, { score: 0 }],
  );
  assert.match(
    readFileSync(join(out, 'README.md'), 'utf8'),
    /pipeline_tag: text-classification\n[\s\S]*AutoModelForSequenceClassification/,
  );
  await Tokenizer.fromPretrained(out);
  assert.deepEqual(scoreResponses(await RewardModel.fromPretrained(out), rows), scoreResponses(model, rows));
});

test('a language model is no reward model, nor the other way round, and two labels are none either', async () => {
  const refused = (opened: Promise<unknown>, message: RegExp) =>
    assert.rejects(opened, (error) => error instanceof FileError && message.test(error.message));
  await refused(
    RewardModel.fromPretrained('tiny'),
    /tiny: has no "score\.weight", so it is not a reward model; make one from it with train-reward$/,
  );
  await refused(
    GPT2.fromPretrained(join(FOLDER, 'saved')),
    matching(
      /model\.safetensors: has a "score\.weight", so it is a reward model, which writes no text; open/,
      / it with RewardModel\.fromPretrained, or score with "alignbook score"$/,
    ),
  );
  const two = mkdtempSync(join(folder, 'two-'));
  copyFileSync(join(FOLDER, 'saved', 'config.json'), join(two, 'config.json'));
  const { model } = await loadEngineModel('one-head');
  const weights = model.weights.names.map((name) => ({
    name,
    shape: model.weights.shape(name),
    values: model.weights.values(name),
  }));
  writeSafetensors(join(two, 'model.safetensors'), [
    ...weights,
    { name: 'score.weight', shape: [2, 10], values: new Float32Array(20) },
  ]);
  await refused(
    RewardModel.fromPretrained(two),
    /its "score\.weight" has 2 labels; a reward model has one \(num_labels=1\)$/,
  );
});
