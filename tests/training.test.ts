import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import {
  batchOrder,
  checkpointFolder,
  checkpoints,
  evaluateDpo,
  evaluateSft,
  FileError,
  InputError,
  learningRate,
  liveTensors,
  preferenceLosses,
  pruneCheckpoints,
  Random,
  referenceLogps,
  SafetensorsFile,
  tf,
  trainDpo,
  TrainingState,
  trainSft,
  type DpoTrainOptions,
  type PairIds,
  type PreferenceLossName,
  type PromptResponses,
  type ScheduleOptions,
  type TrainOptions,
} from 'alignbook';

import { root } from '../scripts/paths';
import { loadEngineModel } from './engineFixtures';
import { collect, near, ordered } from './trainingSteps';

interface Fixtures {
  schedules: { options: ScheduleOptions; rates: number[] }[];
  sft: SftFixture;
  frozen: SftFixture;
  dpo: {
    pairs: PairIds[];
    steps: Record<
      | 'loss'
      | 'gradNorm'
      | 'lr'
      | 'chosen'
      | 'rejected'
      | 'margins'
      | 'accuracies'
      | 'logpsChosen'
      | 'logpsRejected'
      | 'entropy'
      | 'meanTokenAccuracy',
      number
    >[];
  };
}
interface SftFixture {
  rows: PromptResponses[];
  order: number[][];
  steps: { loss: number; gradNorm: number; lr: number; tokens: number }[];
  last: number[];
}
const fixtures = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'training.json'), 'utf8')) as Fixtures;

for (const { options, rates } of fixtures.schedules) {
  const { schedule, warmupSteps, steps } = options;
  test(`the learning rate is that of transformers: ${schedule}, ${warmupSteps} of ${steps} steps warm up`, () => {
    const lr = learningRate(options);
    rates.forEach((rate, step) => near(lr(step), rate, 1e-12, `step ${step}`));
  });
}

test('the learning rate ends at minLrRatio of lr', () => {
  const lr = learningRate({ lr: 1, steps: 10, schedule: 'cosine', minLrRatio: 0.2 });
  near(lr(10), 0.2, 1e-12, 'the end');
  near(lr(5), 0.6, 1e-12, 'half-way');
  assert.equal(learningRate({ lr: 1, steps: 10, schedule: 'constant' })(7), 1);
});

test('order: every row once per epoch, each epoch in a new order, the same for the same seed', () => {
  const order = batchOrder(10, { batchSize: 4, seed: 3 });
  const rows = Array.from({ length: 5 }, (_, batch) => order(batch)).flat();
  const [first, second] = [rows.slice(0, 10), rows.slice(10)];
  const sorted = (epoch: number[]) => [...epoch].sort((a, b) => a - b);
  assert.deepEqual(sorted(first), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(sorted(second), sorted(first));
  assert.notDeepEqual(first, second);
  assert.deepEqual(batchOrder(10, { batchSize: 4, seed: 3 })(3), order(3)); // the fourth batch without the first three
  assert.notDeepEqual(batchOrder(10, { batchSize: 4, seed: 4 })(0), order(0));
});

test('grouped by length: every row once per epoch, little padding, the longest first, a new order each epoch', () => {
  const random = new Random(5);
  const lengths = Array.from({ length: 1003 }, () => 10 + random.integer(200));
  const order = batchOrder(1003, { batchSize: 8, seed: 1, lengths });
  const epoch = (n: number) =>
    Array.from({ length: 1003 }, (_, place) => order(Math.floor((n * 1003 + place) / 8))[(n * 1003 + place) % 8]!);
  const first = epoch(0);
  assert.deepEqual(
    [...first].sort((a, b) => a - b),
    lengths.map((_, row) => row),
  );
  const padding = (rows: readonly number[]) => {
    let sum = 0;
    for (let start = 0; start + 8 <= rows.length; start += 8) {
      const some = rows.slice(start, start + 8).map((row) => lengths[row]!);
      sum += some.reduce((total, length) => total + Math.max(...some) - length, 0);
    }
    return sum;
  };
  const plain = batchOrder(1003, { batchSize: 8, seed: 1 });
  const shuffled = Array.from({ length: 1003 }, (_, place) => plain(Math.floor(place / 8))[place % 8]!);
  assert.ok(padding(first) < padding(shuffled) / 10, `${padding(first)} against ${padding(shuffled)}`);
  assert.equal(Math.max(...lengths), lengths[first[0]!]);
  assert.notDeepEqual(epoch(1), first);
  assert.deepEqual(batchOrder(3, { batchSize: 8, seed: 1, lengths: [1, 2, 3] })(0).length, 8);
});

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

const FROZEN = ['wte', 'wpe', 'h.0', 'h.1.mlp'];
for (const [what, fixture, more] of [
  ['', fixtures.sft, {}],
  [', in two parts', fixtures.sft, { accumulation: 2 }],
  [', most weights frozen', fixtures.frozen, { frozen: FROZEN }],
] as const) {
  test(`SFT follows PyTorch${what}`, async () => {
    const { rows, order, steps, last } = fixture;
    const { model } = await loadEngineModel('a-group');
    const laid = ordered(rows, order.flat(), 4);
    const made = await collect(trainSft(model, laid, { ...sftOptions, ...more }));
    assert.equal(made.length, steps.length);
    made.forEach(({ step, loss, gradNorm, lr, tokens }, n) => {
      assert.equal(step, n + 1);
      // PyTorch in float64: rounding errors grow over the steps; largest difference seen: 2e-6.
      near(loss, steps[n]!.loss, 1e-5, `loss of step ${step}`);
      near(gradNorm, steps[n]!.gradNorm, 2e-5, `gradNorm of step ${step}`);
      near(lr, steps[n]!.lr, 1e-12, `lr of step ${step}`);
      assert.equal(tokens, steps[n]!.tokens);
    });
    const { logits } = model.forward(tf.tensor2d([[...rows[0]!.promptIds]], undefined, 'int32'));
    const end = logits.dataSync().slice(-37);
    last.forEach((logit, id) => near(end[id]!, logit, 2e-5, `logit ${id} after training`));
    model.dispose();
  });
}

const dpoOptions: DpoTrainOptions = {
  steps: 50,
  batchSize: 8,
  lr: 3e-3,
  warmupSteps: 5,
  epsilon: 1e-4,
  weightDecay: 0.01,
  maxGradNorm: 1,
  beta: 0.1,
};

for (const accumulation of [1, 4]) {
  test(`50 steps of DPO follow TRL's DPOTrainer, accumulation ${accumulation}`, async () => {
    const { pairs, steps } = fixtures.dpo;
    const { model } = await loadEngineModel('one-head');
    const laid = ordered(
      pairs,
      pairs.map((_, n) => n),
      8,
    );
    const made = await collect(trainDpo(model, laid, { ...dpoOptions, accumulation, tokenMetrics: true }));
    made.forEach(({ step, loss, gradNorm, lr, rewards, logps, entropy, meanTokenAccuracy }, n) => {
      const expected = steps[n]!;
      // Two float32 implementations drift apart. Largest differences seen in 50 steps: 4e-7 for losses, 1e-6 for
      // rewards, 8e-6 for log-probs of size 15, 1.5e-5 of the norm. Another processor may drift differently, so a few
      // times that is allowed.
      near(loss, expected.loss, 5e-6, `loss of step ${step}`);
      near(gradNorm, expected.gradNorm, 1e-4 * expected.gradNorm, `gradNorm of step ${step}`);
      near(lr, expected.lr, 1e-12, `lr of step ${step}`);
      for (const name of ['chosen', 'rejected', 'margins'] as const)
        near(rewards[name], expected[name], 1e-5, `rewards.${name} of step ${step}`);
      // While policy and reference agree, rounding alone decides which reward is higher.
      if (Math.abs(expected.margins) > 1e-6)
        near(rewards.accuracies, expected.accuracies, 1e-6, `rewards.accuracies of step ${step}`);
      near(logps.chosen, expected.logpsChosen, 1e-4, `logps.chosen of step ${step}`);
      near(logps.rejected, expected.logpsRejected, 1e-4, `logps.rejected of step ${step}`);
      if (accumulation > 1) return; // here parts have equal weights, regardless of their numbers of tokens
      near(entropy!, expected.entropy, 1e-5, `entropy of step ${step}`);
      near(meanTokenAccuracy!, expected.meanTokenAccuracy, 1e-6, `meanTokenAccuracy of step ${step}`);
    });
    assert.equal(made.length, 50);
    model.dispose();
  });
}

for (const loss of Object.keys(preferenceLosses) as PreferenceLossName[]) {
  test(`six steps lower the loss ${loss}`, async () => {
    const { model } = await loadEngineModel('one-head');
    const pairs = fixtures.dpo.pairs.slice(0, 8);
    const reference = referenceLogps(model, pairs);
    const before = evaluateDpo(model, pairs, reference, { loss, batchSize: 8 }).loss;
    const [first] = await collect(
      trainDpo(
        model,
        pairs,
        { steps: 6, batchSize: 8, lr: 2e-3, schedule: 'constant', epsilon: 1e-4, loss },
        { reference },
      ),
    );
    // the same pairs in another order
    near(first!.loss, before, 1e-5 * Math.max(1, Math.abs(before)), 'the first step sees the loss before');
    assert.ok(evaluateDpo(model, pairs, reference, { loss, batchSize: 8 }).loss < before - 1e-4);
    model.dispose();
  });
}

test('an unknown loss, and an option that a loss does not take, are refused', async () => {
  const { model } = await loadEngineModel('one-head');
  const pairs = fixtures.dpo.pairs.slice(0, 2);
  const refused = async (message: RegExp, options: Partial<DpoTrainOptions>) =>
    assert.rejects(
      collect(trainDpo(model, pairs, { ...dpoOptions, batchSize: 2, ...options })),
      (error) => error instanceof InputError && message.test(error.message),
    );
  await refused(/^there is no loss "dpo"; the losses are sigmoid, /, { loss: 'dpo' as 'sigmoid' });
  await refused(/nllCoef/, { nllCoef: 1 });
  model.dispose();
});

test('an evaluation is the loss over all pairs, for any batch size', async () => {
  const { model } = await loadEngineModel('one-head');
  const pairs = fixtures.dpo.pairs.slice(0, 11);
  const reference = referenceLogps(model, pairs, { batchSize: 4 });
  for await (const _ of trainDpo(model, pairs, { ...dpoOptions, steps: 3 })) void _;
  const whole = evaluateDpo(model, pairs, reference, { batchSize: 11 });
  const parts = evaluateDpo(model, pairs, reference, { batchSize: 4 });
  near(parts.loss, whole.loss, 1e-6, 'loss');
  near(parts.rewards.margins, whole.rewards.margins, 1e-6, 'margins');
  near(parts.rewards.accuracies, whole.rewards.accuracies, 1e-6, 'accuracies');
  assert.ok(whole.loss < Math.LN2 - 1e-3, 'three steps lower the loss');
  model.dispose();
});

test('training leaves no tensor behind, even if ended early or aborted', async () => {
  const { model } = await loadEngineModel('one-head');
  const { pairs } = fixtures.dpo;
  const rows = pairs.map(({ promptIds, chosenIds }) => ({ promptIds, responses: [chosenIds] }));
  await collect(trainDpo(model, pairs, { ...dpoOptions, steps: 50 })); // creates the constants
  await collect(trainSft(model, rows, { ...sftOptions, steps: 50, batchSize: 8 }));
  const live = liveTensors();
  await collect(trainDpo(model, pairs, dpoOptions));
  for await (const { step } of trainSft(model, rows, { ...sftOptions, batchSize: 8, steps: 50 })) if (step === 3) break;
  assert.equal(liveTensors(), live);
  const abort = new AbortController();
  const aborted = collect(trainSft(model, rows, { ...sftOptions, batchSize: 8, signal: abort.signal }));
  abort.abort(new Error('enough'));
  await assert.rejects(aborted, /^Error: enough$/);
  assert.equal(liveTensors(), live);
  model.dispose();
});

test('options that do not fit and a NaN loss are refused', async () => {
  const { model } = await loadEngineModel('a-group');
  const { rows } = fixtures.sft;
  const refused = async (message: RegExp, options: Partial<TrainOptions>, some: readonly PromptResponses[] = rows) =>
    assert.rejects(
      collect(trainSft(model, some, { ...sftOptions, ...options })),
      (error) => error instanceof InputError && message.test(error.message),
    );
  await refused(/^there are no rows to train on$/, {}, []);
  await refused(/^steps must be a whole number from 1 up, got 0$/, { steps: 0 });
  await refused(/^batchSize must be a whole number from 1 up, got 0$/, { batchSize: 0 });
  await refused(/^a batch of 4 rows cannot be split into 3 equal parts; change batchSize or accumulation$/, {
    accumulation: 3,
  });
  await refused(/^schedule must be constant, linear or cosine, got polynomial$/, {
    schedule: 'polynomial' as 'linear',
  });
  await refused(/^give either steps or epochs$/, { epochs: 2 });
  await refused(/^validateEvery must be a whole number from 1 up, got 0$/, { validateEvery: 0 });
  await refused(/^epochs must be a number above 0, got 0$/, { steps: undefined, epochs: 0 });
  await refused(
    /^frozen: no weight is named, or begins with, "h\.2"; the model has wte\.weight, wpe\.weight, .*, ln_f\.bias$/,
    { frozen: ['h.2'] },
  );
  await refused(/^frozen: no weight is named, or begins with, "h\.0\.ln"/, { frozen: ['h.0.ln'] });
  await refused(/^frozen selects every weight/, { frozen: ['wte', 'wpe', 'h', 'ln_f'] });
  // the first time creates the constants, and leaves a model of NaN
  const { model: other } = await loadEngineModel('a-group');
  await assert.rejects(collect(trainSft(other, rows, { ...sftOptions, lr: 1e30, warmupSteps: 0 })));
  other.dispose();
  const live = liveTensors();
  await refused(/^step 2: loss is NaN, on the rows (\d, ){3}\d \(counted from 1\); check them/, {
    lr: 1e30,
    warmupSteps: 0,
  });
  assert.equal(liveTensors(), live);
  model.dispose();
});

test('resuming from a checkpoint gives the same bits as never having stopped', async () => {
  const run = mkdtempSync(join(tmpdir(), 'run-'));
  const { pairs } = fixtures.dpo;
  const options = { ...dpoOptions, steps: 9 };
  const whole = await loadEngineModel('one-head');
  const reference = referenceLogps(whole.model, pairs);
  const losses = (await collect(trainDpo(whole.model, pairs, options, { reference }))).map(({ loss }) => loss);

  const first = await loadEngineModel('one-head');
  const state = TrainingState.begin(first.model, options);
  const made: number[] = [];
  for await (const { step, loss } of trainDpo(first.model, pairs, options, { reference, state })) {
    made.push(loss);
    if (step === 4) state.save(checkpointFolder(run, step), 'the same run');
    if (step === 6) break; // killed: everything after the checkpoint is lost
  }
  state.dispose();

  const second = await loadEngineModel('one-head');
  const [newest] = checkpoints(run);
  const resumed = TrainingState.resume(newest!, second.model, options, 'the same run');
  assert.equal(resumed.step, 4);
  const rest = (await collect(trainDpo(second.model, pairs, options, { reference, state: resumed }))).map(
    ({ loss }) => loss,
  );
  assert.deepEqual([...made.slice(0, 4), ...rest], losses);
  for (const name of whole.model.weights.names)
    assert.deepEqual(second.model.weights.values(name), whole.model.weights.values(name), name);
  resumed.dispose();

  const other = await loadEngineModel('a-group');
  const refused = (message: RegExp, model = second.model, fingerprint = 'the same run') =>
    assert.throws(
      () => TrainingState.resume(newest!, model, options, fingerprint),
      (error) => error instanceof FileError && message.test(error.message),
    );
  refused(
    /training\.json: belongs to a run with other data or options; give another output folder/,
    second.model,
    'another run',
  );
  refused(/model\.safetensors: has no "wte\.weight" of shape \[37, 16\], which this model needs$/, other.model);
  writeFileSync(join(newest!, 'training.json'), '{');
  refused(/training\.json: cannot be read as JSON/);
  for (const { model } of [whole, first, second, other]) model.dispose();
  rmSync(run, { recursive: true });
});

test('frozen weights do not change, and have no moments', async () => {
  const { model } = await loadEngineModel('a-group');
  const before = new Map(model.weights.names.map((name) => [name, model.weights.values(name)]));
  const state = TrainingState.begin(model, { frozen: FROZEN });
  await collect(trainSft(model, fixtures.sft.rows, { ...sftOptions, frozen: FROZEN }, { state }));
  const isFrozen = (name: string) => FROZEN.some((beginning) => name.startsWith(`${beginning}.`));
  for (const [name, values] of before)
    assert.equal(
      Buffer.from(values.buffer).equals(Buffer.from(model.weights.values(name).buffer)),
      isFrozen(name),
      name,
    );
  const folder = mkdtempSync(join(tmpdir(), 'frozen-'));
  state.save(join(folder, 'state'));
  const { tensors } = new SafetensorsFile(join(folder, 'state', 'optimizer.safetensors'));
  assert.deepEqual(
    [...tensors.keys()].sort(),
    model.weights.names
      .filter((name) => !isFrozen(name))
      .flatMap((name) => [`m.${name}`, `v.${name}`])
      .sort(),
  );
  TrainingState.resume(join(folder, 'state'), model, { frozen: FROZEN }).dispose();
  state.dispose();
  model.dispose();
  rmSync(folder, { recursive: true });
});

test('epochs count the passes over the rows', async () => {
  const { model } = await loadEngineModel('a-group');
  const { rows } = fixtures.sft; // six
  const count = async (epochs: number) =>
    (await collect(trainSft(model, rows, { lr: 0, batchSize: 4, epochs }))).length;
  assert.deepEqual([await count(1), await count(2), await count(0.5)], [2, 3, 1]);
  model.dispose();
});

test('validation runs every few steps and after the last, and changes nothing', async () => {
  const { model: watched } = await loadEngineModel('one-head');
  const { model: unwatched } = await loadEngineModel('one-head');
  const { pairs } = fixtures.dpo;
  const [train, held] = [pairs.slice(0, 100), pairs.slice(100, 130)];
  const reference = referenceLogps(watched, held);
  const made = await collect(
    trainDpo(watched, train, { ...dpoOptions, steps: 7, validateEvery: 3 }, { validation: { pairs: held } }),
  );
  assert.deepEqual(
    made.filter(({ validation }) => validation).map(({ step }) => step),
    [3, 6, 7],
  );
  assert.deepEqual(made.at(-1)!.validation, evaluateDpo(watched, held, reference, { batchSize: 8 }));
  const plain = await collect(trainDpo(unwatched, train, { ...dpoOptions, steps: 7 }));
  assert.deepEqual(
    made.map(({ loss }) => loss),
    plain.map(({ loss }) => loss),
  );

  const responses = held.map(({ promptIds, chosenIds }) => ({ promptIds, responses: [chosenIds] }));
  const [, last] = await collect(
    trainSft(watched, responses, { steps: 2, lr: 1e-3, validateEvery: 5 }, { validation: responses }),
  );
  const whole = evaluateSft(watched, responses, { batchSize: responses.length });
  near(last!.validation!.loss, whole.loss, 1e-6, 'loss, in batches'); // rounding
  near(last!.validation!.entropy!, whole.entropy!, 1e-5, 'entropy, in batches');
  near(last!.validation!.meanTokenAccuracy!, whole.meanTokenAccuracy!, 1e-9, 'accuracy, in batches');
  for (const model of [watched, unwatched]) model.dispose();
});

test('the newest checkpoints are kept; leftovers of a killed save do not count', () => {
  const run = mkdtempSync(join(tmpdir(), 'run-'));
  for (const step of [100, 200, 300]) mkdirSync(checkpointFolder(run, step));
  for (const left of [
    `${checkpointFolder(run, 400)}.1234.tmp`,
    join(run, 'best.1234.old'),
    join(run, 'model.1234.tmp'),
  ])
    mkdirSync(left);
  mkdirSync(join(run, 'mine'));
  assert.deepEqual(
    checkpoints(run),
    [300, 200, 100].map((step) => checkpointFolder(run, step)),
  );
  pruneCheckpoints(run, 2);
  assert.deepEqual(
    checkpoints(run),
    [300, 200].map((step) => checkpointFolder(run, step)),
  );
  pruneCheckpoints(run, 2);
  assert.deepEqual(readdirSync(run).sort(), ['checkpoint-00000200', 'checkpoint-00000300', 'mine']);
  assert.deepEqual(checkpoints(join(run, 'nothing')), []);
  rmSync(run, { recursive: true });
});
