/**
 * Short trainings of a model with a vocabulary of 37 characters that go wrong on purpose, and healthy ones beside them:
 * what the rules of `diagnose` are tested on. tests/makeRuns.ts stores their metrics in tests/runs/made;
 * tests/extra/diagnose.test.ts makes them again.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import {
  AdamW,
  differentiate,
  GPT2,
  initialWeights,
  measureSamples,
  minibatchOrder,
  ppoUpdates,
  Random,
  readConfig,
  referenceLogps,
  responseBatch,
  RewardModel,
  rolloutAdvantages,
  sampleLogps,
  sampleResponses,
  sequenceKl,
  trainDpo,
  trainGrpo,
  TrainingState,
  trainKto,
  trainOnlineDpo,
  trainPpo,
  trainReward,
  trainSft,
  weightShapes,
  withValueHead,
  writeSafetensors,
  type DpoInputs,
  type DpoTrainOptions,
  type GrpoTrainOptions,
  type OnlineDpoTrainOptions,
  type PairIds,
  type PpoTrainOptions,
  type Reward,
  type Tokenizer,
} from 'alignbook';

import { letterTokenizer } from './rollouts';

/** The settings as the run's folder keeps them, and the steps. */
interface Training {
  readonly options: object;
  readonly steps: AsyncIterable<object>;
}

export interface MadeRun {
  readonly name: string;
  /** The rules that must find something, and no others. */
  readonly finds: readonly string[];
  /** Words of the cause or of the advice, where a rule tells several apart. */
  readonly says?: RegExp;
  readonly train: (start: Start) => Training | Promise<Training>;
}

const CONFIG = { n_layer: 2, n_head: 2, n_embd: 32, n_positions: 48, vocab_size: 37, model_type: 'gpt2' };
const [END, LOW, HIGH] = [0, 12, 36] as const;

/** The model that the runs begin with: after SFT on short answers, half of letters a to l and half of the others. */
export class Start {
  private constructor(
    readonly folder: string,
    readonly tokenizer: Tokenizer,
    /** The steps of its own training. */
    readonly sft: readonly object[],
  ) {}

  static async make(): Promise<Start> {
    const folder = mkdtempSync(join(tmpdir(), 'start-'));
    const save = (values: (name: string) => Float32Array) =>
      writeSafetensors(
        join(folder, 'model.safetensors'),
        [...weightShapes(config)].map(([name, shape]) => ({ name, shape, values: values(name) })),
      );
    writeFileSync(join(folder, 'config.json'), JSON.stringify(CONFIG));
    const config = readConfig(join(folder, 'config.json'));
    const initial = initialWeights(config, new Random(1));
    save((name) => initial.get(name)!);
    const model = await GPT2.fromPretrained(folder);
    const steps: object[] = [];
    for await (const step of trainSft(model, responses(512), SFT, { validation: responses(64, 9) })) steps.push(step);
    save((name) => model.weights.values(name));
    model.dispose();
    return new Start(folder, await letterTokenizer(CONFIG.vocab_size), steps);
  }

  model(): Promise<GPT2> {
    return GPT2.fromPretrained(this.folder);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }
}

const SFT = { steps: 150, batchSize: 32, lr: 3e-3, validateEvery: 50 } as const;

const letters = (random: Random, count: number, from: number, to: number): number[] =>
  Array.from({ length: count }, () => from + random.integer(to - from + 1));
const answer = (random: Random, low: boolean): number[] => [
  ...letters(random, 3 + random.integer(3), low ? 1 : LOW + 1, low ? LOW : HIGH),
  END,
];
const prompt = (random: Random): number[] => letters(random, 2 + random.integer(3), 1, HIGH);

function responses(count: number, seed = 2): { promptIds: number[]; responses: number[][] }[] {
  const random = new Random(seed);
  return Array.from({ length: count }, (_, n) => ({
    promptIds: prompt(random),
    responses: [answer(random, n % 2 === 0)],
  }));
}

/** The letters a to l are chosen; of `wrong` of the pairs, the others. */
function pairs(count: number, { seed = 3, wrong = 0, equal = false } = {}): PairIds[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const promptIds = prompt(random);
    const [low, high] = [answer(random, true), answer(random, false)];
    const swapped = random.uniform() < wrong;
    const chosenIds = swapped ? high : low;
    return { promptIds, chosenIds, rejectedIds: equal ? chosenIds : swapped ? low : high };
  });
}

const DPO = { steps: 40, batchSize: 16, lr: 5e-4, warmupSteps: 4, beta: 0.1 } as const;
const dpo =
  (
    more: Partial<DpoTrainOptions> = {},
    rows = pairs(320),
    inputs: (model: GPT2, start: Start) => DpoInputs = () => ({}),
  ) =>
  async (start: Start): Promise<Training> => {
    const options = { ...DPO, ...more };
    const model = await start.model();
    return { options, steps: trainDpo(model, rows, options, inputs(model, start)) };
  };

const kto =
  (more: object = {}) =>
  async (start: Start): Promise<Training> => {
    const options = { steps: 40, batchSize: 32, lr: 5e-4, warmupSteps: 4, ...more };
    const rows = pairs(320).flatMap(({ promptIds, chosenIds, rejectedIds }) => [
      { promptIds, responseIds: chosenIds, desirable: true },
      { promptIds, responseIds: rejectedIds, desirable: false },
    ]);
    return { options, steps: trainKto(await start.model(), rows, options, { reference: await start.model() }) };
  };

const reward =
  (more: object = {}, rows = pairs(320), validation?: PairIds[]) =>
  async (start: Start): Promise<Training> => {
    const options = { steps: 40, batchSize: 16, lr: 1e-3, warmupSteps: 4, ...more };
    const model = RewardModel.begin(await start.model(), new Random(5));
    return { options, steps: trainReward(model, rows, options, { validation }) };
  };

const prompts = Array.from({ length: 256 }, (_, n) => prompt(new Random(100 + n)));
/** The fraction of an answer's letters that are a to l, and half a point for an end. */
const lowLetters: Reward = (samples) =>
  samples.map(({ ids, ended }) => ids.filter((id) => id !== END && id <= LOW).length / ids.length + (ended ? 0.5 : 0));
const lengthOf: Reward = (samples) => samples.map(({ ids }) => ids.length / 24);
const onlyA: Reward = (samples) => samples.map(({ ids }) => ids.filter((id) => id === 1).length);
const never: Reward = (samples) => samples.map(() => 1);

const PPO = {
  steps: 12,
  batchSize: 64,
  lr: 1e-3,
  maxNewTokens: 16,
  temperature: 1,
  ppoEpochs: 2,
  klCoef: 0.05,
  whitenRewards: false,
};
/** Trainings on samples, by a trainer with its usual options. */
const sampled =
  <Options extends object>(
    train: (
      model: GPT2,
      prompts: number[][],
      options: Options,
      more: { tokenizer: Tokenizer; reward: Reward },
    ) => AsyncIterable<object>,
    usual: Options,
  ) =>
  (more: Partial<Options> = {}, given = lowLetters) =>
  async (start: Start): Promise<Training> => {
    const options = { ...usual, ...more };
    return {
      options,
      steps: train(await start.model(), prompts, options, { tokenizer: start.tokenizer, reward: given }),
    };
  };
const ppo = sampled<PpoTrainOptions>(trainPpo, PPO);
const GRPO = { steps: 12, batchSize: 16, groupSize: 4, lr: 1e-3, maxNewTokens: 16, scaleRewards: false };
const grpo = sampled<GrpoTrainOptions>(trainGrpo, GRPO);

const ONLINE = { steps: 12, batchSize: 32, lr: 1e-3, maxNewTokens: 16, beta: 0.1 };
const onlineDpo = sampled<OnlineDpoTrainOptions>(trainOnlineDpo, ONLINE);

/** A loop of one's own, whose policy is measured at another temperature than the one that sampled (notebook 10). */
async function* mismatched(start: Start): AsyncGenerator<object> {
  const [model, reference] = [withValueHead(await start.model()), await start.model()];
  const state = TrainingState.begin(model, { epsilon: 1e-5, weightDecay: 0 });
  const lr = 1e-4;
  for (let step = 1; step <= 6; step += 1) {
    const began = performance.now();
    const some = Array.from({ length: 64 }, (_, n) => (64 * step + n) % prompts.length);
    const samples = await sampleResponses(
      model,
      start.tokenizer,
      prompts,
      { maxNewTokens: 16, temperature: 0.2, seed: step },
      some,
    );
    const { logps: oldLogps, values } = measureSamples(model, samples, { temperature: 1 });
    const refLogps = sampleLogps(reference, samples, { temperature: 0.2 });
    const rollout = {
      samples,
      scores: (await lowLetters(samples)) as number[],
      oldLogps,
      refLogps,
      oldValues: values!,
    };
    const advantages = rolloutAdvantages(rollout, { klCoef: PPO.klCoef });
    const [update] = [...ppoUpdates(state, rollout, advantages, minibatchOrder(64, { ppoEpochs: 2 }, step), lr)].slice(
      -1,
    );
    const kls = sequenceKl(oldLogps, refLogps);
    const mean = (numbers: readonly number[]): number => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
    yield {
      step,
      ...update,
      objective: { kl: mean(kls), scores: mean(rollout.scores) },
      eosCount: samples.filter(({ ended }) => ended).length,
      lr,
      tokens: samples.reduce((sum, { ids }) => sum + ids.length, 0),
      seconds: (performance.now() - began) / 1000,
    };
  }
}

/** A loop of one's own that does not look at its loss. */
async function* careless(start: Start): AsyncGenerator<object> {
  const model = await start.model();
  const optimizer = new AdamW(model.weights.trained);
  const lr = 1e25;
  for (let step = 1; step <= 6; step += 1) {
    const batch = responseBatch(responses(16, step));
    using pass = model.record(batch);
    const tokens = batch.scored.ids.length;
    using loss = differentiate([pass.perTokenLogps], (logps) => logps.sum().div(-tokens));
    const gradients = pass.backward(loss.gradients[0]);
    const gradNorm = gradients.norm();
    optimizer.step(gradients, lr);
    yield { step, loss: loss.value, gradNorm, lr, tokens, seconds: 0.1 };
  }
  optimizer.dispose();
}

/** The policy has been trained before; the reference is the model before that. */
async function* trainedBefore(start: Start): AsyncGenerator<object> {
  const model = await start.model();
  const rows = pairs(320);
  const reference = referenceLogps(model, rows);
  for await (const _ of trainDpo(model, rows, { ...DPO, lr: 2e-3, schedule: 'constant' }, { reference }));
  yield* trainDpo(model, rows, { ...DPO, steps: 10, lr: 1e-4 }, { reference });
}

async function* scoredBefore(start: Start): AsyncGenerator<object> {
  const model = RewardModel.begin(await start.model(), new Random(5));
  for await (const _ of trainReward(model, pairs(320), { steps: 60, batchSize: 16, lr: 1e-3 }));
  yield* trainReward(model, pairs(320), { steps: 10, batchSize: 16, lr: 1e-4 });
}

const of = (options: object, steps: (start: Start) => AsyncIterable<object>) => (start: Start) => ({
  options,
  steps: steps(start),
});
async function* given(steps: readonly object[]): AsyncGenerator<object> {
  yield* steps;
}

export const MADE_RUNS: readonly MadeRun[] = [
  { name: 'sft-healthy', finds: [], train: ({ sft }) => ({ options: SFT, steps: given(sft) }) },
  {
    name: 'dpo-healthy',
    finds: [],
    train: dpo({ validateEvery: 10 }, undefined, () => ({ validation: { pairs: pairs(64, { seed: 8 }) } })),
  },
  { name: 'kto-healthy', finds: [], train: kto() },
  { name: 'reward-healthy', finds: [], train: reward({ validateEvery: 10 }, undefined, pairs(64, { seed: 8 })) },
  { name: 'ppo-healthy', finds: [], train: ppo() },
  { name: 'grpo-healthy', finds: [], train: grpo() },
  { name: 'online-dpo-healthy', finds: [], train: onlineDpo() },

  { name: 'dpo-lr-low', finds: ['stuck'], says: /learning rate of at most 1\.0e-8/, train: dpo({ lr: 1e-8 }) },
  { name: 'dpo-lr-zero', finds: ['stuck'], says: /learning rate was 0/, train: dpo({ lr: 0 }) },
  {
    name: 'dpo-reference-moves',
    finds: ['stuck'],
    says: /the reference moves along/,
    train: dpo({}, undefined, (model) => ({ reference: model })),
  },
  {
    name: 'dpo-pairs-equal',
    finds: ['stuck'],
    says: /the two responses are the same/,
    train: dpo({}, pairs(320, { equal: true })),
  },
  {
    name: 'dpo-labels-random',
    finds: ['stuck'],
    says: /contradict/,
    train: dpo({ batchSize: 64, schedule: 'constant', lr: 6e-4 }, pairs(2560, { wrong: 0.5 })),
  },
  { name: 'dpo-beta-low', finds: ['stuck'], says: /beta of 1\.0e-4/, train: dpo({ beta: 1e-4 }) },
  {
    name: 'dpo-frozen',
    finds: ['stuck'],
    says: /hardly moved/,
    train: dpo({ frozen: ['wte', 'wpe', 'h.0', 'h.1', 'ln_f.weight'], lr: 5e-5 }),
  },
  { name: 'kto-lr-low', finds: ['stuck'], train: kto({ lr: 1e-8 }) },
  { name: 'reward-labels-random', finds: ['stuck'], train: reward({ lr: 2e-4 }, pairs(640, { wrong: 0.5 })) },
  {
    name: 'sft-lr-high',
    finds: ['loss-rises', 'gradients-clipped'],
    train: async (start) => {
      const options = { steps: 30, batchSize: 16, lr: 1, schedule: 'constant' as const };
      return { options, steps: trainSft(await start.model(), responses(512), options) };
    },
  },
  {
    name: 'dpo-lr-very-high',
    finds: ['both-rewards-fall', 'chosen-falls'], // the loss goes up and down by far more than it rises
    train: dpo({ lr: 3 }, pairs(320, { wrong: 0.2 })),
  },
  { name: 'dpo-beta-high', finds: ['gradients-clipped'], train: dpo({ beta: 5, lr: 1e-5 }) },
  {
    name: 'reward-memorized',
    finds: ['validation-parts'],
    train: reward(
      { steps: 120, schedule: 'constant', validateEvery: 10 },
      pairs(48, { wrong: 0.3 }),
      pairs(64, { seed: 8, wrong: 0.3 }),
    ),
  },
  { name: 'dpo-lr-high', finds: ['saturated'], train: dpo({ lr: 1e-2, schedule: 'constant', steps: 60 }) },
  { name: 'kto-lr-high', finds: ['both-rewards-fall', 'chosen-falls'], train: kto({ lr: 0.3, schedule: 'constant' }) },
  {
    name: 'dpo-both-fall',
    finds: ['both-rewards-fall', 'chosen-falls'],
    train: dpo({ lr: 0.3, warmupSteps: 5 }, pairs(320, { wrong: 0.2 })),
  },
  { name: 'dpo-chosen-falls', finds: ['chosen-falls'], train: dpo({ loss: 'hinge', lr: 5e-3, schedule: 'constant' }) },
  {
    name: 'dpo-trained-before',
    finds: ['accurate-at-once'],
    train: of({ ...DPO, steps: 10, lr: 1e-4 }, trainedBefore),
  },
  {
    name: 'reward-trained-before',
    finds: ['accurate-at-once'],
    train: of({ steps: 10, batchSize: 16, lr: 1e-4 }, scoredBefore),
  },
  { name: 'not-a-number', finds: ['not-a-number'], train: of({}, careless) },

  {
    name: 'ppo-lr-low',
    finds: ['policy-stays'],
    says: /learning rate is at most/,
    train: ppo({ lr: 1e-9 }),
  },
  { name: 'grpo-reward-constant', finds: ['equal-groups'], train: grpo({}, never) },
  { name: 'online-dpo-ties', finds: ['policy-stays', 'equal-groups'], train: onlineDpo({}, never) },
  { name: 'online-dpo-lr-low', finds: ['policy-stays'], train: onlineDpo({ lr: 1e-9 }) },
  { name: 'ppo-temperatures', finds: ['kl-negative'], train: of({ ...PPO, steps: 6 }, mismatched) },
  {
    name: 'ppo-no-kl',
    finds: ['kl-explodes', 'answers-lengthen'],
    train: ppo({ klCoef: 0, lr: 3e-3, schedule: 'constant', steps: 15 }, onlyA),
  },
  {
    name: 'ppo-lr-high',
    finds: ['kl-explodes', 'score-falls', 'no-end'],
    train: ppo({ lr: 0.1, ppoEpochs: 4, schedule: 'constant', steps: 12 }),
  },
  { name: 'ppo-clip-narrow', finds: ['mostly-clipped'], train: ppo({ clipRange: 0.002, ppoEpochs: 8 }) },
  { name: 'ppo-one-update', finds: ['ratio-one'], train: ppo({ ppoEpochs: 1 }) },
  { name: 'ppo-small-steps', finds: ['never-clipped'], train: ppo({ lr: 3e-5 }) },
  { name: 'grpo-no-end', finds: ['no-end'], train: grpo({ maxNewTokens: 2 }) },
  {
    name: 'ppo-length',
    finds: ['no-end', 'answers-lengthen'],
    train: ppo({ klCoef: 0.01, lr: 3e-3, steps: 20, maxNewTokens: 24 }, lengthOf),
  },
];
