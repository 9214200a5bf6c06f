/** Adapters of low rank: against PyTorch, and what must stay as it is. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  checkpointFolder,
  configJson,
  exportModel,
  FileError,
  generate,
  GPT2,
  InputError,
  liveTensors,
  loadWeights,
  lora,
  merged,
  Random,
  referenceLogps,
  responseBatch,
  SafetensorsFile,
  saveWeights,
  tf,
  trainDpo,
  TrainingState,
  trainSft,
  type DpoTrainOptions,
  type LoraOptions,
  type PairIds,
  type PromptResponses,
  type TrainOptions,
} from 'alignbook';

import { root } from '../scripts/paths';
import { loadEngineModel } from './engineFixtures';
import { collect, near, ordered } from './trainingSteps';

interface LoraFixture extends Required<LoraOptions> {
  rows: PromptResponses[];
  order: number[][];
  begin: Record<string, number[]>;
  steps: { loss: number; gradNorm: number; lr: number; tokens: number }[];
  last: number[];
}
const fixtures = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'training.json'), 'utf8')) as {
  lora: LoraFixture;
  dpo: { pairs: PairIds[] };
};
const pairs = fixtures.dpo.pairs.slice(0, 40);
const folder = mkdtempSync(join(tmpdir(), 'lora-'));
after(() => rmSync(folder, { recursive: true }));

const copies = ({ weights }: GPT2) => new Map(weights.names.map((name) => [name, weights.values(name)]));
const everywhere: LoraOptions = { rank: 2, targets: ['attn.c_attn', 'attn.c_proj', 'mlp.c_fc', 'mlp.c_proj'] };
const dpoOptions: DpoTrainOptions = { steps: 9, batchSize: 8, lr: 1e-2, schedule: 'constant', epsilon: 1e-4 };
const sftOptions: TrainOptions = {
  steps: 5,
  batchSize: 4,
  lr: 0.01,
  warmupSteps: 2,
  schedule: 'cosine',
  beta2: 0.98,
  epsilon: 1e-4,
  weightDecay: 0.1,
  maxGradNorm: 1,
};

for (const accumulation of [1, 2]) {
  test(`SFT of adapters walks as PyTorch does, accumulation ${accumulation}`, async () => {
    const { rows, order, begin, steps, last, rank, alpha, targets } = fixtures.lora;
    const { model: base } = await loadEngineModel('a-group');
    const before = copies(base);
    const model = lora(base, { rank, alpha, targets }, new Random(0));
    const { trained } = model.weights;
    assert.deepEqual(trained.names, Object.keys(begin));
    for (const name of trained.names) trained.assign(name, Float32Array.from(begin[name]!));
    const made = await collect(trainSft(model, ordered(rows, order.flat(), 4), { ...sftOptions, accumulation }));
    assert.equal(made.length, steps.length);
    made.forEach(({ step, loss, gradNorm, lr, tokens }, n) => {
      near(loss, steps[n]!.loss, 1e-5, `loss of step ${step}`); // PyTorch in float64
      near(gradNorm, steps[n]!.gradNorm, 2e-5, `gradNorm of step ${step}`);
      near(lr, steps[n]!.lr, 1e-12, `lr of step ${step}`);
      assert.equal(tokens, steps[n]!.tokens);
    });
    const { logits } = model.forward(tf.tensor2d([[...rows[0]!.promptIds]], undefined, 'int32'));
    const end = logits.dataSync().slice(-37);
    last.forEach((logit, id) => near(end[id]!, logit, 2e-5, `logit ${id} after training`));
    assert.deepEqual(copies(base), before);
    for (const each of [model, base]) each.dispose();
  });
}

test('A begins uniform within 1 / sqrt(in), B at 0, and the model as its base, bit for bit', async () => {
  const { model: base } = await loadEngineModel('a-group');
  const model = lora(base, everywhere, new Random(7));
  const { trained } = model.weights;
  const shape = (name: string) => base.weights.shape(name.replace(/lora_.$/, 'weight'));
  for (const name of trained.names) {
    const [from, to] = shape(name) as [number, number];
    const values = trained.values(name);
    assert.deepEqual(trained.shape(name), name.endsWith('A') ? [from, 2] : [2, to]);
    if (name.endsWith('B'))
      assert.ok(
        values.every((value) => value === 0),
        name,
      );
    else {
      const largest = Math.max(...values.map(Math.abs)) * Math.sqrt(from);
      assert.ok(largest <= 1 && largest > 0.8, `${name}: ${largest}`);
      near(
        values.reduce((sum, value) => sum + value ** 2, 0) / values.length,
        1 / (3 * from),
        0.4 / (3 * from),
        `variance of ${name}`,
      );
      near(
        (values.reduce((sum, value) => sum + value, 0) / values.length) * Math.sqrt(from),
        0,
        0.35,
        `mean of ${name}`,
      );
    }
  }
  const rows = fixtures.lora.rows;
  const logps = (of: GPT2) =>
    tf.tidy(() => of.score(responseBatch(rows, { layout: 'padded', maxLength: 12 })).dataSync());
  assert.deepEqual(logps(model), logps(base));
  const again = lora(base, everywhere, new Random(7)).weights.trained;
  for (const name of trained.names) assert.deepEqual(again.values(name), trained.values(name));
  const others = lora(base, everywhere, new Random(8)).weights.trained;
  for (const name of trained.names.filter((each) => each.endsWith('A')))
    assert.notDeepEqual(others.values(name), trained.values(name));
  assert.deepEqual(
    lora(base, { rank: 1 }, new Random(7)).weights.trained.names,
    ['h.0', 'h.1'].flatMap((h) => [`${h}.attn.c_attn.lora_A`, `${h}.attn.c_attn.lora_B`]),
  );
});

test(
  'DPO of adapters leaves the base as it is, which is the ' + 'reference; the merged model is the model, bit for bit',
  async () => {
    const { model: base } = await loadEngineModel('one-head');
    const before = copies(base);
    const reference = referenceLogps(base, pairs);
    const losses = async (given: typeof reference | GPT2) => {
      const model = lora(base, everywhere, new Random(1));
      const steps = await collect(trainDpo(model, pairs, dpoOptions, { reference: given }));
      return { model, losses: steps.map(({ loss }) => loss) };
    };
    const [live, known] = [await losses(base), await losses(reference)];
    near(live.losses[0]!, Math.LN2, 1e-7, 'the first loss');
    assert.ok(live.losses.at(-1)! < 0.65, `it learned something: ${live.losses.at(-1)}`);
    // other batches round otherwise
    live.losses.forEach((loss, n) => near(loss, known.losses[n]!, 1e-5, `loss of step ${n + 1}, asked or known`));
    assert.deepEqual(copies(base), before);
    assert.deepEqual(referenceLogps(base, pairs), reference);

    const { model } = live;
    const plain = merged(model);
    assert.deepEqual(referenceLogps(plain, pairs), referenceLogps(model, pairs));
    assert.notDeepEqual(referenceLogps(plain, pairs), reference);
    const options = { maxNewTokens: 5, seed: 3 };
    assert.deepEqual(await generate(plain, [[1, 2], [3]], options), await generate(model, [[1, 2], [3]], options));
    const { rank, alpha } = { rank: 2, alpha: 4 };
    for (const [name, w] of before) {
      const [a, b] = ['lora_A', 'lora_B'].map((side) => name.replace(/weight$/, side));
      if (!model.weights.trained.names.includes(a!)) {
        assert.deepEqual(plain.weights.values(name), w, name);
        continue;
      }
      const [A, B, W, to] = [
        model.weights.trained.values(a!),
        model.weights.trained.values(b!),
        plain.weights.values(name),
        base.weights.shape(name)[1]!,
      ];
      W.forEach((value, at) => {
        const [row, column] = [Math.floor(at / to), at % to];
        near(
          value,
          w[at]! + (alpha / rank) * (A[row * 2]! * B[column]! + A[row * 2 + 1]! * B[to + column]!),
          1e-6,
          `${name}[${row}, ${column}]`,
        ); // float32
      });
    }
    for (const each of [plain, model, known.model, base]) each.dispose();
  },
);

test('an export is a plain model with the adapters merged', async () => {
  const { model: base } = await loadEngineModel('one-head');
  const model = lora(base, { rank: 4 }, new Random(1));
  await collect(trainDpo(model, pairs, dpoOptions));
  const source = mkdtempSync(join(folder, 'source-'));
  writeFileSync(join(source, 'config.json'), configJson(base.config));
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    copyFileSync(join(root, 'data', 'models', 'tiny', name), join(source, name));
  await exportModel(model, join(folder, 'exported'), { source });
  const opened = await GPT2.fromPretrained(join(folder, 'exported'));
  assert.deepEqual(referenceLogps(opened, pairs), referenceLogps(model, pairs));
  for (const each of [opened, model, base]) each.dispose();
});

test('a checkpoint holds the adapters, their moments and the step; going on from it gives the same bits', async () => {
  const { model: base } = await loadEngineModel('one-head');
  const reference = referenceLogps(base, pairs);
  const begun = () => lora(base, { rank: 2 }, new Random(4));
  const whole = begun();
  const losses = (await collect(trainDpo(whole, pairs, dpoOptions, { reference }))).map(({ loss }) => loss);

  const first = begun();
  const state = TrainingState.begin(first, dpoOptions);
  for await (const { step } of trainDpo(first, pairs, dpoOptions, { reference, state })) if (step === 4) break;
  const checkpoint = checkpointFolder(folder, 4);
  state.save(checkpoint);
  const { names } = first.weights.trained;
  const held = (file: string) => {
    using opened = new SafetensorsFile(join(checkpoint, file));
    return [...opened.tensors.keys()].sort();
  };
  assert.deepEqual(held('model.safetensors'), [...names].sort());
  assert.deepEqual(held('optimizer.safetensors'), names.flatMap((name) => [`m.${name}`, `v.${name}`]).sort());

  const second = lora(base, { rank: 2 }, new Random(99));
  const resumed = TrainingState.resume(checkpoint, second, dpoOptions);
  const rest = (await collect(trainDpo(second, pairs, dpoOptions, { reference, state: resumed }))).map(
    ({ loss }) => loss,
  );
  assert.deepEqual(rest, losses.slice(4));
  assert.deepEqual(copies(second), copies(whole));

  const kept = lora(base, { rank: 2 }, new Random(99)); // as those of a run's best step are kept
  saveWeights(join(folder, 'best'), whole);
  loadWeights(join(folder, 'best'), kept);
  assert.deepEqual(copies(kept), copies(whole));

  TrainingState.begin(base).dispose(); // makes the constants
  const live = liveTensors();
  assert.throws(
    () => TrainingState.resume(checkpoint, base),
    (error) => error instanceof FileError && /has no "wte\.weight" of shape/.test(error.message),
  );
  assert.equal(liveTensors(), live, 'no moments are left behind');
  assert.throws(
    () => TrainingState.resume(checkpoint, lora(base, { rank: 3 }, new Random(4))),
    (error) =>
      error instanceof FileError && /has no "h\.0\.attn\.c_attn\.lora_A" of shape \[\d+, 3\]/.test(error.message),
  );
});

test('training adapters leaves no tensor behind, and disposing of them frees these alone', async () => {
  const { model: base } = await loadEngineModel('one-head');
  const train = async (model: GPT2) => {
    for await (const { step } of trainDpo(model, pairs, dpoOptions)) if (step === 3) break;
    await collect(trainDpo(model, pairs, { ...dpoOptions, accumulation: 2 }, { reference: base }));
  };
  await train(lora(base, everywhere, new Random(0))); // makes the constants
  const reference = referenceLogps(base, pairs);
  const live = liveTensors();
  const model = lora(base, everywhere, new Random(0));
  const withAdapters = liveTensors();
  assert.equal(withAdapters - live, base.config.nLayer * everywhere.targets!.length * 2);
  await train(model);
  assert.equal(liveTensors(), withAdapters);
  model.dispose();
  assert.equal(liveTensors(), live);
  assert.deepEqual(referenceLogps(base, pairs), reference);
  base.dispose();
});

test('a backward pass gives the gradients of the adapters that are wanted', async () => {
  const { model: base } = await loadEngineModel('a-group');
  const model = lora(base, { rank: 2 }, new Random(0));
  const gradients = (wanted?: (name: string) => boolean) => {
    using recording = model.record(responseBatch(fixtures.lora.rows, { layout: 'padded', maxLength: 12 }));
    using found = recording.backward(recording.responseMask.toFloat(), wanted);
    return found.names.sort();
  };
  assert.deepEqual(gradients(), [...model.weights.trained.names].sort());
  assert.deepEqual(
    gradients((name) => name === 'h.1.attn.c_attn.lora_B'),
    ['h.1.attn.c_attn.lora_B'],
  );
  assert.deepEqual(
    gradients((name) => name === 'h.0.attn.c_attn.lora_A'),
    ['h.0.attn.c_attn.lora_A'],
  );
  assert.deepEqual(
    gradients((name) => name === 'h.0.attn.c_attn.weight'),
    [],
  );
  for (const each of [model, base]) each.dispose();
});

test('frozen names adapters, where there are any; options that do not fit', async () => {
  const { model: base } = await loadEngineModel('a-group');
  const refused = (message: RegExp, options: Partial<LoraOptions>) =>
    assert.throws(
      () => lora(base, { rank: 2, ...options }, new Random(0)),
      (error) => error instanceof InputError && message.test(error.message),
    );
  const live = liveTensors();
  for (const rank of [0, 1.5, 17, NaN])
    refused(new RegExp(`^rank must be a whole number from 1 to 16, the smaller side of the matrices, got ${rank}$`), {
      rank,
    });
  refused(/^alpha must be a number above 0, got 0$/, { alpha: 0 });
  refused(
    /^targets holds "c_fc", which cannot be adapted; choose from attn\.c_attn, attn\.c_proj, mlp\.c_fc, mlp\.c_proj$/,
    {
      targets: ['attn.c_attn', 'c_fc' as 'mlp.c_fc'],
    },
  );
  refused(/^targets is empty/, { targets: [] });
  assert.equal(liveTensors(), live);

  const model = lora(base, { rank: 2 }, new Random(0));
  const before = model.weights.trained.values('h.0.attn.c_attn.lora_A');
  await assert.rejects(
    collect(trainSft(model, fixtures.lora.rows, { ...sftOptions, frozen: ['wte'] })),
    /frozen: no weight is named, or begins with, "wte"; the model has h\.0\.attn\.c_attn\.lora_A, /,
  );
  await collect(trainSft(model, fixtures.lora.rows, { ...sftOptions, frozen: ['h.0.attn.c_attn.lora_A', 'h.1'] }));
  assert.deepEqual(model.weights.trained.values('h.0.attn.c_attn.lora_A'), before);
  assert.ok(model.weights.trained.values('h.0.attn.c_attn.lora_B').some((value) => value !== 0));
  assert.ok(model.weights.trained.values('h.1.attn.c_attn.lora_B').every((value) => value === 0));
  for (const each of [model, base]) each.dispose();
});
