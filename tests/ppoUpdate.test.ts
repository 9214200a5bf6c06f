/**
 * A PPO iteration after its sampling: one scripted rollout against PyTorch in float64, and three iterations of TRL's
 * PPOTrainer.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  InputError,
  liveTensors,
  measureSamples,
  minibatchOrder,
  ppoUpdates,
  rolloutAdvantages,
  sampleLogps,
  TrainingState,
  withValueHead,
  type AdamWOptions,
  type GPT2,
  type PpoUpdate,
  type PpoUpdateOptions,
  type Rollout,
} from 'alignbook';

import { loadEngineModel } from './engineFixtures';
import {
  copyOf,
  firstMoments,
  fixture,
  float32,
  lastGradients,
  nearGradients,
  nearRows,
  nearWeights,
  scripted,
  setHead,
  type ScriptedRow,
} from './rollouts';
import { near } from './trainingSteps';

type Options = Required<AdamWOptions> &
  Record<
    'temperature' | 'klCoef' | 'gamma' | 'gaeLambda' | 'clipRange' | 'valueClipRange' | 'valueCoef' | 'lr',
    number
  > & { maxGradNorm?: number };
type Update = Record<
  | 'loss'
  | 'policyLoss'
  | 'valueLoss'
  | 'clipFraction'
  | 'valueClipFraction'
  | 'approxKl'
  | 'ratioMean'
  | 'ratioVariance'
  | 'entropy'
  | 'gradNorm',
  number
>;
type Row = ScriptedRow & { score: number };
interface Head {
  weight: number[];
  bias: number[];
}
interface Step extends Record<
  'oldLogps' | 'oldValues' | 'refLogps' | 'rewards' | 'advantages' | 'returns',
  number[][]
> {
  options: Options;
  rows: Row[];
  vHead: Head;
  order: number[][];
  updates: Update[];
  gradients: { first: Record<string, number[]>; last: Record<string, number[]> };
  weights: Record<string, number[]>;
}
interface Trl {
  options: Options;
  vHead: Head;
  iterations: {
    rows: Row[];
    order: number[][];
    updates: Update[];
    metrics: Record<
      'kl' | 'approxKl' | 'clipFraction' | 'policyLoss' | 'valueLoss' | 'valueClipFraction' | 'entropy' | 'ratioMean',
      number
    >;
  }[];
  weights: Record<string, number[]>;
}
const step = fixture<Step>('ppo_step.json');
const trl = fixture<Trl>('ppo_trl.json');

async function begin({
  options,
  vHead,
}: {
  options: Options;
  vHead: Head;
}): Promise<{ base: GPT2; state: TrainingState; dispose: () => void }> {
  const { model: base } = await loadEngineModel('a-group');
  const model = withValueHead(base);
  setHead(model, vHead);
  const state = TrainingState.begin(model, options);
  return { base, state, dispose: () => [state, model, base].forEach((each) => each.dispose()) };
}

/** The rollout of ppo_step.json: log-probs and values are recorded here, those of the reference are the fixture's. */
function rolloutOf({ model }: TrainingState): Rollout {
  const samples = scripted(step.rows);
  const { logps, values } = measureSamples(model, samples, { temperature: step.options.temperature });
  return {
    samples,
    scores: step.rows.map(({ score }) => score),
    oldLogps: logps,
    refLogps: float32(step.refLogps),
    oldValues: values!,
  };
}

function nearUpdate(
  { loss, policy, value, ratio, gradNorm }: PpoUpdate,
  expected: Update,
  tolerance: number,
  what: string,
): void {
  const { loss: policyLoss, clipFraction, approxKl, entropy } = policy;
  const ours = {
    loss,
    policyLoss,
    valueLoss: value.loss,
    clipFraction,
    valueClipFraction: value.clipFraction,
    approxKl,
    ratioMean: ratio.mean,
    ratioVariance: ratio.variance,
    entropy,
    gradNorm,
  };
  for (const [name, number] of Object.entries(ours))
    near(number, expected[name as keyof Update], tolerance, `${name} of ${what}`);
}

test('rewards, whitened advantages and returns are those of PyTorch', async () => {
  const { state, dispose } = await begin(step);
  const rollout = rolloutOf(state);
  nearRows(rollout.oldLogps, step.oldLogps, 1e-5, 'oldLogps'); // as in valueHead.test.ts
  nearRows(rollout.oldValues, step.oldValues, 2e-6, 'oldValues');
  const { rewards, advantages, returns } = rolloutAdvantages(rollout, step.options);
  // Computed from the log-probs: times klCoef, whitened, summed. Largest differences seen: 1.1e-7, 3.6e-7, 3.6e-7.
  nearRows(rewards, step.rewards, 1e-6, 'rewards');
  nearRows(advantages, step.advantages, 5e-6, 'advantages');
  nearRows(returns, step.returns, 5e-6, 'returns');
  dispose();
});

for (const accumulation of [1, 3]) {
  test(`updates, gradients and final weights are those of PyTorch, accumulation ${accumulation}`, async () => {
    const { state, dispose } = await begin(step);
    const { options, order } = step;
    const rollout = rolloutOf(state);
    const advantages = rolloutAdvantages(rollout, options);
    const gradients: Map<string, Float32Array>[] = [];
    let before: Map<string, Float32Array> = new Map(
      [...copyOf(state.model)].map(([name, values]) => [name, new Float32Array(values.length)]),
    );
    let n = 0;
    for (const update of ppoUpdates(state, rollout, advantages, order, options.lr, { ...options, accumulation })) {
      // largest difference seen: 8e-6, in the last update's variance of the ratio
      nearUpdate(update, step.updates[n]!, 3e-5, `update ${n}`);
      gradients.push(lastGradients(state.optimizer, before, options.beta1));
      before = firstMoments(state.optimizer);
      n += 1;
    }
    assert.equal(n, order.length);
    for (const [which, number] of [
      ['first', 0],
      ['last', order.length - 1],
    ] as const) {
      const { gradNorm } = step.updates[number]!;
      const factor = Math.min(1, options.maxGradNorm! / (gradNorm + 1e-6)); // the fixture has unclipped gradients
      // Largest difference seen: 3e-6 of a parameter's largest element; four times that is allowed.
      nearGradients(
        (name) => gradients[number]!.get(name)!.map((value) => value / factor),
        step.gradients[which],
        1.2e-5,
        which,
      );
    }
    // largest difference seen: 8e-6; Adam divides small gradients by their own size
    nearWeights(state.model, step.weights, 3e-5);
    assert.equal(state.optimizer.steps, 6);
    dispose();
  });
}

test("three iterations follow TRL's PPOTrainer", async () => {
  const { state, dispose } = await begin(trl);
  const { model: reference } = await loadEngineModel('a-group');
  const { options, iterations } = trl;
  for (const [iteration, { rows, order, updates, metrics }] of iterations.entries()) {
    const samples = scripted(rows);
    const { logps: oldLogps, values: oldValues } = measureSamples(state.model, samples, options);
    const rollout: Rollout = {
      samples,
      scores: rows.map(({ score }) => score),
      oldLogps,
      refLogps: sampleLogps(reference, samples, options),
      oldValues: oldValues!,
    };
    const made = [
      ...ppoUpdates(state, rollout, rolloutAdvantages(rollout, options), order, options.lr, {
        ...options,
        maxGradNorm: Infinity,
      }),
    ];
    assert.equal(made.length, order.length);
    // TRL computes in float64; largest difference seen: 6e-6
    made.forEach((update, n) => nearUpdate(update, updates[n]!, 3e-5, `update ${n} of iteration ${iteration}`));
    const mean = (of: (update: PpoUpdate) => number) => made.reduce((sum, update) => sum + of(update), 0) / made.length;
    const ours = {
      approxKl: mean(({ policy }) => policy.approxKl),
      clipFraction: mean(({ policy }) => policy.clipFraction),
      policyLoss: mean(({ policy }) => policy.loss),
      entropy: mean(({ policy }) => policy.entropy),
      valueLoss: mean(({ value }) => value.loss),
      valueClipFraction: mean(({ value }) => value.clipFraction),
      ratioMean: mean(({ ratio }) => ratio.mean),
    };
    // TRL computes in float32; the script that made the fixture allows the same difference.
    for (const [name, value] of Object.entries(ours))
      near(value, metrics[name as keyof typeof ours], 1e-4, `TRL's ${name}, iteration ${iteration}`);
  }
  nearWeights(state.model, trl.weights, 6e-5); // largest difference seen: 1.9e-5, after twelve updates
  reference.dispose();
  dispose();
});

test('rewards by hand, unwhitened, and each option of the advantages', () => {
  const samples = scripted([
    { promptIds: [1], responseIds: [2, 3] },
    { promptIds: [1], responseIds: [0] },
  ]);
  const rollout: Rollout = {
    samples,
    scores: [2, -1],
    oldLogps: float32([[-1, -2], [-3]]),
    refLogps: float32([[-1.5, -1], [-3]]),
    oldValues: float32([[0.5, 1], [0]]),
  };
  const { rewards, returns } = rolloutAdvantages(rollout, {
    klCoef: 0.1,
    whitenRewards: false,
    gamma: 0.5,
    gaeLambda: 0,
  });
  nearRows(rewards, [[-0.05, 2.1], [-1]], 1e-6, 'rewards'); // float32
  nearRows(returns, [[-0.05 + 0.5 * 1, 2.1], [-1]], 1e-6, 'returns: the next value discounted, as gaeLambda is 0');
  const { advantages } = rolloutAdvantages(rollout, { klCoef: 0.1 });
  const all = advantages.flatMap((row) => [...row]);
  near(
    all.reduce((sum, value) => sum + value, 0),
    0,
    1e-5,
    'sum of whitened advantages',
  );
  near(all.reduce((sum, value) => sum + value ** 2, 0) / 2, 1, 1e-5, 'their variance, of three tokens');

  const single: Rollout = {
    samples: samples.slice(1),
    scores: [1],
    oldLogps: float32([[-1]]),
    refLogps: float32([[-1]]),
    oldValues: float32([[0]]),
  };
  assert.throws(
    () => rolloutAdvantages(single, { klCoef: 0.1 }),
    (error) => error instanceof InputError && /selects 1 position; at least 2 are needed/.test(error.message),
  );
});

test("the variance of a single token's ratio is 0, not NaN", async () => {
  const { state, dispose } = await begin(step);
  const rollout = rolloutOf(state);
  const one = step.rows.findIndex(({ responseIds }) => responseIds.length === 1);
  const [update] = ppoUpdates(state, rollout, rolloutAdvantages(rollout, step.options), [[one]], 1e-3, step.options);
  near(update!.ratio.mean, 1, 1e-6, 'mean');
  assert.equal(update!.ratio.variance, 0);
  dispose();
});

test('minibatches: every sample once per epoch, each epoch in a new order, the same for the same seed', () => {
  const order = minibatchOrder(12, { ppoEpochs: 3, minibatches: 4 }, 7);
  assert.deepEqual(
    order.map((numbers) => numbers.length),
    Array(12).fill(3),
  );
  const epochs = [0, 4, 8].map((start) => order.slice(start, start + 4).flat());
  for (const epoch of epochs)
    assert.deepEqual(
      [...epoch].sort((a, b) => a - b),
      Array.from({ length: 12 }, (_, n) => n),
    );
  assert.notDeepEqual(epochs[0], epochs[1]);
  assert.notDeepEqual(epochs[1], epochs[2]);
  assert.deepEqual(minibatchOrder(12, { ppoEpochs: 3, minibatches: 4 }, 7), order);
  assert.notDeepEqual(minibatchOrder(12, { ppoEpochs: 3, minibatches: 4 }, 8), order);
  assert.equal(minibatchOrder(12, {}, 0).length, 4, 'four epochs of one');

  const refused = (message: RegExp, options: PpoUpdateOptions) =>
    assert.throws(
      () => minibatchOrder(12, options, 0),
      (error) => error instanceof InputError && message.test(error.message),
    );
  refused(/^a rollout of 12 samples cannot be split into 5 equal minibatches; change batchSize or minibatches$/, {
    minibatches: 5,
  });
  refused(/^minibatches must be a whole number from 1 up, got 1\.5$/, { minibatches: 1.5 });
  refused(/^minibatches must be a whole number from 1 up, got -2$/, { minibatches: -2 });
  refused(/^ppoEpochs must be a whole number from 1 up, got 0$/, { ppoEpochs: 0 });
});

test('updates leave no tensor behind, even if refused', async () => {
  const { base, state, dispose } = await begin(step);
  const rollout = rolloutOf(state);
  const run = (training: TrainingState, options: PpoUpdateOptions = {}) => {
    const advantages = rolloutAdvantages(rollout, step.options);
    return [...ppoUpdates(training, rollout, advantages, step.order, 1e-4, { ...step.options, ...options })];
  };
  for (let round = 0; round < 3; round += 1) run(state); // creates the moments and constants
  const live = liveTensors();
  run(state, { accumulation: 3 });
  assert.equal(liveTensors(), live);
  assert.throws(
    () => run(state, { accumulation: 2 }),
    (error) =>
      error instanceof InputError && error.message.startsWith('a batch of 3 rows cannot be split into 2 equal parts'),
  );
  const headless = TrainingState.begin(base);
  assert.throws(
    () => run(headless),
    (error) =>
      error instanceof InputError && /^the model has no value head; give withValueHead\(policy\)$/.test(error.message),
  );
  headless.dispose();
  assert.equal(liveTensors(), live);
  dispose();
});
