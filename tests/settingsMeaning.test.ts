/**
 * Settings at the ends of their ranges either mean the same as in transformers and TRL (tests/oracles/settings.py), or
 * are refused before the first step.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  AdamW,
  adaptedKlCoef,
  encodePair,
  evaluateDpo,
  evaluateReward,
  evaluateSft,
  generate,
  InputError,
  learningRate,
  measureSamples,
  preferenceLosses,
  Random,
  referenceLogps,
  RewardModel,
  scorePairs,
  scoreResponses,
  tf,
  Tokenizer,
  trainDpo,
  trainGrpo,
  trainPpo,
  trainReward,
  trainSft,
  weightedLosses,
  type PairIds,
  type ScheduleOptions,
} from 'alignbook';
import { lossNotes, settingNotes } from 'alignbook/dist/commands/trainNotes';
import { VALIDATION_METRICS } from 'alignbook/dist/commands/trainSettings';
import { flat } from 'alignbook/dist/training/stepNumbers';
import { DPO_RANGES } from 'alignbook/dist/training/trainDpo';
import { GRPO_RANGES } from 'alignbook/dist/training/trainGrpo';
import { PPO_RANGES } from 'alignbook/dist/training/trainPpo';
import { REWARD_RANGES } from 'alignbook/dist/training/trainReward';
import { SFT_RANGES } from 'alignbook/dist/training/trainSft';

import { loadEngineModel } from './engineFixtures';
import { fixture, letterTokenizer, nearAll } from './rollouts';
import { collect, near, ordered } from './trainingSteps';

interface Fixtures {
  schedules: { options: ScheduleOptions; rates: number[] }[];
  clipping: {
    pairs: PairIds[];
    runs: { maxGradNorm: number; steps: Record<'loss' | 'gradNorm' | 'lr', number>[]; last: number[] }[];
  };
  adamwWithoutEpsilon: [number, string];
  smoothing: Record<'sigmoid' | 'robust', number>;
  wholeTexts: { rows: number[][]; mean: number; trainer: number };
  boundary: { prompt: string; response: string; apart: [number[], number[]]; trl: [number[], number[]] }[];
  defaults: { dropoutDisabled: Record<string, boolean>; gpt2Dropout: number; topK: number };
}
const { schedules, clipping, adamwWithoutEpsilon, smoothing, wholeTexts, boundary, defaults } =
  fixture<Fixtures>('settings.json');

for (const { options, rates } of schedules) {
  const { schedule, warmupSteps, steps, minLrRatio } = options;
  test(
    `learning rates are transformers': ${schedule}, ${warmupSteps} of ${steps} steps warm up, ending at ` +
      `${minLrRatio}`,
    () => {
      const lr = learningRate(options);
      rates.forEach((rate, step) => near(lr(step), rate, 1e-12, `step ${step}`)); // float64 on both sides
    },
  );
}

for (const { maxGradNorm, steps, last } of clipping.runs) {
  test(`maxGradNorm ${maxGradNorm} is TRL's max_grad_norm`, async () => {
    const { model } = await loadEngineModel('one-head');
    const { pairs } = clipping;
    const laid = ordered(
      pairs,
      pairs.map((_, n) => n),
      4,
    );
    const made = await collect(
      trainDpo(model, laid, {
        steps: 4,
        batchSize: 4,
        lr: 0.03,
        warmupSteps: 1,
        beta: 2,
        weightDecay: 0,
        epsilon: 0.5,
        maxGradNorm,
      }),
    );
    // Two float32 implementations. Greatest differences seen: 1.8e-5 for a loss of 2.3, 6e-6 of a norm's size, 4e-6 for
    // a logit. The losses of different runs differ by 0.06 and more.
    made.forEach(({ loss, gradNorm, lr }, n) => {
      near(loss, steps[n]!.loss, 5e-5, `loss of step ${n + 1}`);
      near(gradNorm, steps[n]!.gradNorm, 5e-5 * steps[n]!.gradNorm, `gradNorm of step ${n + 1}`);
      near(lr, steps[n]!.lr, 1e-12, `lr of step ${n + 1}`);
    });
    const { logits } = model.forward(tf.tensor2d([[...pairs[0]!.promptIds]], undefined, 'int32'));
    nearAll(logits.dataSync().slice(-23), last, 5e-5, 'logits after training');
    model.dispose();
  });
}

test('epsilon 0 gives torch a weight that is not a number, and is refused here', async () => {
  assert.equal(adamwWithoutEpsilon[1], 'nan');
  const { model } = await loadEngineModel('one-head');
  for (const epsilon of [0, 1e-40, -1, NaN])
    assert.throws(
      () => new AdamW(model.weights.trained, { epsilon }),
      (error) => error instanceof InputError && error.message.startsWith('epsilon must be '),
    );
  // 0.99999999 is 1 in float32, where the bias correction divides by 1 - beta.
  for (const beta of [1, 0.99999999])
    assert.throws(
      () => new AdamW(model.weights.trained, { beta1: beta }),
      /^InputError: beta1 must be in \[0, 1\), also when rounded to 32 bits, got /,
    );
  model.dispose();
});

test('labelSmoothing counts with sigmoid, which TRL passes over, and with robust alike', () => {
  // beta h = 0.1 (-12 + 20 + 9 + 3) = 2: -0.7 log s(2) - 0.3 log s(-2) = 0.126928 + 0.3 * 2 = 0.726928.
  const one = (value: number) => tf.tensor1d([value]);
  const inputs = {
    policyChosenLogps: one(-12),
    policyRejectedLogps: one(-9),
    refChosenLogps: one(-20),
    refRejectedLogps: one(3),
  };
  const options = { beta: 0.1, labelSmoothing: 0.3 };
  near(preferenceLosses.sigmoid(inputs, options).dataSync()[0]!, 0.726928, 2e-6, 'ours'); // float32
  near(smoothing.sigmoid, 0.126928, 1e-6, "TRL's");
  near(preferenceLosses.robust(inputs, options).dataSync()[0]!, smoothing.robust, 5e-6, 'robust');
});

test("what README says of Python's defaults: dropout, and the 50 likeliest tokens", () => {
  assert.deepEqual(defaults, {
    dropoutDisabled: { SFT: false, DPO: true, Reward: true, GRPO: false, RLOO: false },
    gpt2Dropout: 0.1,
    topK: 50,
  });
});

test(
  "the loss of whole texts is the mean over what is predicted; transformers' Trainer divides by one token a row " +
    'more',
  async () => {
    const { rows, mean, trainer } = wholeTexts;
    near(trainer, (mean * 3) / 4, 1e-6, "the Trainer's"); // rows of four tokens, three of them predicted
    const { model } = await loadEngineModel('one-head');
    near(
      evaluateSft(
        model,
        rows.map(([first, ...others]) => ({ promptIds: [first!], responses: [others] })),
      ).loss,
      mean,
      2e-6,
      'ours',
    ); // float32, of size 3
    model.dispose();
  },
);

test('prompt and response are encoded apart, where TRL encodes them together', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  for (const { prompt, response, apart, trl } of boundary) {
    const { promptIds, chosenIds } = encodePair(tokenizer, { prompt, chosen: response, rejected: 'x' });
    assert.deepEqual([promptIds, chosenIds.slice(0, -1)], apart); // without the end of text
    if (prompt.endsWith('?'))
      assert.deepEqual(apart, trl); // a response that begins with the space
    else assert.notDeepEqual(apart, trl);
  }
});

test('klCoef cannot turn negative as it adapts', () => {
  // By hand: a KL far below the target gives an error of -0.2 over 64 samples; with a horizon of 12.8, a fifth of the
  // samples, that takes off the whole of klCoef.
  const after = (klHorizon: number) => adaptedKlCoef(0.15, { kl: 0, klTarget: 6, klHorizon, samples: 64 });
  near(after(25.6), 0.15 * 0.5, 1e-12, 'two fifths of the samples');
  near(after(64), 0.15 * 0.8, 1e-12, 'as many as the samples');
  for (const wrong of [0, -1, NaN])
    assert.throws(() => after(wrong), /^InputError: klHorizon must be a number above 0, got /);
  for (const wrong of [12, 12.8])
    assert.throws(() => after(wrong), /^InputError: klHorizon must be above 12\.8, a fifth of samples, got /);
});

const PAIRS: readonly PairIds[] = [
  { promptIds: [1, 2], chosenIds: [3, 0], rejectedIds: [4, 5, 0] },
  { promptIds: [6], chosenIds: [7, 8, 0], rejectedIds: [9, 0] },
];
const ROWS = PAIRS.map(({ promptIds, chosenIds }) => ({ promptIds, responses: [chosenIds] }));
const COMMON = { steps: 1, batchSize: 2, lr: 1e-3 };

test('in a notebook, too, each number is checked before the first step: not a number, infinite, text', async () => {
  const { model } = await loadEngineModel('a-group');
  const scores = RewardModel.begin(model, new Random(1));
  const tokenizer = await letterTokenizer(model.config.vocabSize);
  const never = { tokenizer, reward: () => assert.fail('something was sampled') };
  const prompts = PAIRS.map(({ promptIds }) => promptIds);
  const trainers: Record<string, [ranges: object, train: (options: never) => AsyncIterable<unknown>]> = {
    sft: [SFT_RANGES, (options) => trainSft(model, ROWS, options)],
    dpo: [DPO_RANGES, (options) => trainDpo(model, PAIRS, options)],
    reward: [REWARD_RANGES, (options) => trainReward(scores, PAIRS, options)],
    ppo: [PPO_RANGES, (options) => trainPpo(model, prompts, options, never)],
    grpo: [GRPO_RANGES, (options) => trainGrpo(model, prompts, options, never)],
  };
  const before = model.weights.values('wte.weight');
  for (const [name, [ranges, train]] of Object.entries(trainers)) {
    for (const field of Object.keys(ranges)) {
      for (const wrong of [NaN, Infinity, -Infinity, '1', null]) {
        if (field === 'maxGradNorm' && wrong === Infinity) continue; // does not clip, like 0
        const options = {
          ...COMMON,
          ...(name === 'ppo' || name === 'grpo' ? { maxNewTokens: 4 } : {}),
          ...(field === 'epochs' && { steps: undefined }),
          [field]: wrong,
        };
        await assert.rejects(
          collect(train(options as never)),
          (error) =>
            error instanceof InputError &&
            error.message.startsWith(`${field} must be `) &&
            error.message.includes(`, got ${JSON.stringify(wrong) === 'null' ? String(wrong) : JSON.stringify(wrong)}`),
          `${name}, ${field} ${wrong}`,
        );
      }
    }
  }
  assert.deepEqual(model.weights.values('wte.weight'), before);
  for (const each of [scores, model]) each.dispose();
});

test('numbers out of their range are all named at once', async () => {
  const { model } = await loadEngineModel('a-group');
  await assert.rejects(
    collect(trainSft(model, ROWS, { ...COMMON, lr: -1, seed: 0.5, warmupSteps: 0 })),
    (error) =>
      error instanceof InputError &&
      error.message ===
        '2 problems:\n' +
          '  lr must be a number from 0 up, got -1\n' +
          '  seed must be a whole number from 0 to 4294967295, got 0.5',
  );
  model.dispose();
});

test('settings that do not go together are refused before the first step', async () => {
  const { model } = await loadEngineModel('a-group');
  const tokenizer = await letterTokenizer(model.config.vocabSize);
  const never = { tokenizer, reward: () => assert.fail('something was sampled') };
  const prompts = PAIRS.map(({ promptIds }) => promptIds);
  const refused = (run: AsyncIterable<unknown>, message: RegExp) =>
    assert.rejects(collect(run), (error) => error instanceof InputError && message.test(error.message), `${message}`);
  const sft = (more: object) => trainSft(model, ROWS, { ...COMMON, ...more });
  const dpo = (more: object) => trainDpo(model, PAIRS, { ...COMMON, ...more });
  const ppo = (more: object) => trainPpo(model, prompts, { ...COMMON, maxNewTokens: 4, ...more }, never);
  const grpo = (more: object) => trainGrpo(model, prompts, { ...COMMON, maxNewTokens: 4, ...more }, never);
  await refused(
    sft({ lr: 0.1, weightDecay: 11 }),
    /^weightDecay must be at most 1 \/ lr \(10\), got 11: each step would change the sign of every weight$/,
  );
  await refused(
    sft({ accumulation: 3 }),
    /^a batch of 2 rows cannot be split into 3 equal parts; change batchSize or accumulation$/,
  );
  await refused(
    sft({ steps: undefined, epochs: 1e9, batchSize: 1 }),
    /^epochs 1000000000 over 2 rows are 2000000000 steps, more than the 1000000000 allowed; lower epochs$/,
  );
  await refused(sft({ schedule: 'step' }), /^schedule must be constant, linear or cosine, got step$/);
  await refused(sft({ steps: undefined }), /^give either steps or epochs$/);
  await refused(dpo({ loss: 'exo_pair', labelSmoothing: 0 }), /^exo_pair: labelSmoothing must be above 0 /);
  await refused(dpo({ divergenceAlpha: 0.3 }), /^divergenceAlpha has no effect without divergence 'alpha'; /);
  await refused(
    dpo({ discopopTau: 0.3 }),
    /^sigmoid takes no option discopopTau; it takes beta, labelSmoothing, divergence, divergenceAlpha$/,
  );
  await refused(ppo({ klTarget: 6, klCoef: 0 }), /^klCoef must be above 0 if klTarget is given, got 0: /);
  await refused(
    ppo({ klTarget: 6, klHorizon: 0.4 }),
    /^klHorizon must be above 0\.4, a fifth of batchSize, got 0\.4: klCoef would turn negative$/,
  );
  await refused(ppo({ minibatches: 2, accumulation: 2 }), /^a batch of 1 row cannot be split into 2 equal parts/);
  await refused(
    ppo({ frozen: ['wte', 'wpe', 'h', 'ln_f'] }),
    /^frozen selects every weight, so nothing is left to train; freeze fewer$/,
  );
  const { blockSize } = model.config;
  for (const run of [ppo, grpo])
    await refused(
      run({ maxNewTokens: blockSize }),
      new RegExp(`^maxNewTokens must be below ${blockSize}, the model's window, got ${blockSize}$`),
    );
  await refused(grpo({ groupSize: 2, accumulation: 3 }), /^a batch of 4 rows cannot be split into 3 equal parts/);
  model.dispose();
});

test('a batch size of 0 would never end, and is refused wherever there is one', async () => {
  const { model } = await loadEngineModel('a-group');
  const scores = RewardModel.begin(model, new Random(1));
  const tokenizer = await letterTokenizer(model.config.vocabSize);
  const reference = referenceLogps(model, PAIRS);
  const sample = { prompt: 0, promptIds: [1], ids: [2], text: '', ended: false };
  const wrong = /^InputError: batchSize must be a whole number from 1 up, got 0$/;
  const batchSize = 0;
  for (const call of [
    () => referenceLogps(model, PAIRS, { batchSize }),
    () => evaluateDpo(model, PAIRS, reference, { batchSize }),
    () => evaluateSft(model, ROWS, { batchSize }),
    () => evaluateReward(scores, PAIRS, { batchSize }),
    () => scoreResponses(scores, ROWS, { batchSize }),
    () => [...scorePairs(model, tokenizer, PAIRS, { batchSize })],
    () => measureSamples(model, [sample], { batchSize }),
  ])
    assert.throws(call, wrong, `${call}`);
  await assert.rejects(generate(model, [[1]], { batchSize }), wrong);
  for (const seed of [-1, 0.5, 2 ** 32])
    await assert.rejects(
      generate(model, [[1]], { seed }),
      /^InputError: seed must be a whole number from 0 to 4294967295, got /,
    );
  await assert.rejects(
    generate(model, [[1]], { temperature: 1e-40 }),
    /^InputError: temperature must be at least 0\.000001, got 1e-40$/,
  );
  assert.throws(
    () =>
      weightedLosses(
        {
          policyChosenLogps: tf.tensor1d([-1]),
          policyRejectedLogps: tf.tensor1d([-1]),
          chosenLengths: tf.tensor1d([1]),
        },
        [{ loss: 'sft', weight: -1 }],
      ),
    /^InputError: the weight of sft must be a number from 0 up, got -1$/,
  );
  for (const each of [scores, model]) each.dispose();
});

test('a run says which of its settings have no effect', () => {
  const notes = (command: Parameters<typeof settingNotes>[0], settings: object, steps = 10) =>
    settingNotes(command, { lr: 1e-3, ...settings }, steps);
  assert.deepEqual(notes('train-sft', { validateEvery: 5 }), ['validateEvery has no effect without validation']);
  assert.deepEqual(
    notes('train-sft', { validateEvery: 5, validation: 'rows.jsonl', warmupSteps: 10, minLrRatio: 0.1 }),
    [],
  );
  assert.deepEqual(notes('train-sft', { schedule: 'constant', minLrRatio: 0.1 }), [
    'minLrRatio has no effect with schedule constant',
  ]);
  assert.deepEqual(notes('train-ppo', { klHorizon: 100, ppoEpochs: 1, clipRange: 0.1 }), [
    'klHorizon has no effect without klTarget',
    'clipRange has no effect with one update a rollout: ppoEpochs 1 and minibatches 1',
  ]);
  assert.deepEqual(
    notes('train-ppo', { klHorizon: 100, klTarget: 6, ppoEpochs: 1, minibatches: 2, clipRange: 0.1 }),
    [],
  );
  assert.deepEqual(
    notes('train-grpo', {
      ...{ algorithm: 'rloo', lossType: 'dapo', klRatio: true, scaleRewards: true },
      ...{ level: 'sequence', maskTruncated: true, skipEqual: true, iterations: 2, epsilonHigh: 0.3 },
    }).map((note) => note.split(' ')[0]),
    ['lossType', 'klRatio', 'scaleRewards', 'level', 'maskTruncated', 'skipEqual'],
  );
  assert.deepEqual(notes('train-grpo', { klRatio: true, beta: 0, clipRange: 0.1, epsilonHigh: 0.3 }), [
    'klRatio has no effect with beta 0',
    'clipRange has no effect with iterations 1, where the ratio is 1',
    'epsilonHigh has no effect with iterations 1, where the ratio is 1',
  ]);
  assert.deepEqual(notes('train-grpo', { lossType: 'dapo', klRatio: true, iterations: 2, clipRange: 0.1 }), []);
  assert.deepEqual(notes('train-dpo', { liveReference: true, referenceCache: 'kept' }), [
    'referenceCache has no effect with liveReference',
  ]);
  assert.deepEqual(notes('train-dpo', { sampleEvery: 0, samplePrompt: ['a'], greaterIsBetter: true }), [
    'greaterIsBetter has no effect without bestBy',
    'samplePrompt has no effect with sampleEvery 0',
  ]);
  assert.deepEqual(notes('train-dpo', { samplePrompt: ['a'], patience: 3, greaterIsBetter: true }), []);
  assert.deepEqual(notes('train-dpo', { lr: 0 }), ['lr is 0, so nothing is learned']);
  assert.match(
    notes('train-dpo', { warmupSteps: 2 }, 1)[0]!,
    /^the only step is the first of the warm-up, whose learning rate is 0, so nothing is learned; /,
  );
  assert.deepEqual(notes('train-dpo', { warmupSteps: 11 }), [
    'warmupSteps 11 is more than the 10 steps, so the learning rate never reaches lr',
  ]);
  assert.match(
    lossNotes('simpo', preferenceLosses.simpo, { reference: 'gpt2' })[0]!,
    /^reference has no effect on the loss simpo, /,
  );
  assert.deepEqual(lossNotes('sigmoid', preferenceLosses.sigmoid, { reference: 'gpt2', accumulation: 4 }), []);
  assert.match(
    lossNotes('aot', preferenceLosses.aot, { accumulation: 4 })[0]!,
    /accumulation 4 trains as batches of 4 would, not of 16$/,
  );
});

test('of the losses on pairs, exactly those that are said to depend on their part do', () => {
  const four = (values: number[]) => tf.tensor1d(values);
  const inputs = {
    policyChosenLogps: four([-12, -1, -3, -9]),
    policyRejectedLogps: four([-5, -10, -8, -4]),
    refChosenLogps: four([-6, -9, -2, -11]),
    refRejectedLogps: four([-7, -4, -9, -9]),
    chosenLengths: four([6, 3, 2, 4]),
    rejectedLengths: four([2, 5, 3, 1]),
  };
  const half = (start: number) =>
    Object.fromEntries(
      Object.entries(inputs).map(([name, tensor]) => [name, tensor.slice(start, 2)]),
    ) as unknown as typeof inputs;
  const sum = (losses: tf.Tensor) => losses.sum().dataSync()[0]!;
  for (const [name, loss] of Object.entries(preferenceLosses)) {
    const apart = Math.abs(sum(loss(inputs)) - sum(loss(half(0))) - sum(loss(half(2)))) > 1e-3;
    assert.equal(lossNotes(name, loss, { accumulation: 2, batchSize: 4 }).length === 1, apart, name);
  }
});

test("the metrics that bestBy may name are those of the trainers' validations", async () => {
  const { model } = await loadEngineModel('a-group');
  const scores = RewardModel.begin(model, new Random(1));
  const found = {
    'train-sft': evaluateSft(model, ROWS),
    'train-dpo': evaluateDpo(model, PAIRS, referenceLogps(model, PAIRS)),
    'train-reward': evaluateReward(scores, PAIRS),
  };
  for (const [name, metrics] of Object.entries(found))
    assert.deepEqual(
      [...flat(metrics).keys()].sort(),
      [...VALIDATION_METRICS[name as keyof typeof found]].sort(),
      name,
    );
  for (const each of [scores, model]) each.dispose();
});
