/**
 * PPO, GRPO and RLOO as complete trainings: reproducible to the bit, resumed or not; what they refuse; a reward that
 * they learn.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  adaptedKlCoef,
  checkpointFolder,
  grpoUpdate,
  InputError,
  liveTensors,
  lora,
  merged,
  Random,
  tf,
  trainGrpo,
  TrainingState,
  trainPpo,
  withValueHead,
  type GPT2,
  type GroupRollout,
  type GrpoStep,
  type GrpoTrainOptions,
  type PpoStep,
  type PpoTrainOptions,
  type Reward,
  type Rollout,
} from 'alignbook';

import { loadEngineModel } from './engineFixtures';
import { copyOf, letterTokenizer, nearAll } from './rollouts';
import { collect, near } from './trainingSteps';

const folder = mkdtempSync(join(tmpdir(), 'ppo-'));
after(() => rmSync(folder, { recursive: true }));
const tokenizer = letterTokenizer(37); // a-group's ids
const random = new Random(2);
const prompts = Array.from({ length: 7 }, () =>
  Array.from({ length: 1 + random.integer(5) }, () => 1 + random.integer(36)),
);

/** The fraction of a response's tokens that are among the given ones. */
const shareOf =
  (some: (id: number) => boolean): Reward =>
  (samples) =>
    samples.map(({ ids }) => ids.filter(some).length / ids.length);
const reward = shareOf((id) => id < 12);

const ppoOptions: PpoTrainOptions = {
  steps: 5,
  batchSize: 6,
  lr: 3e-3,
  schedule: 'constant',
  maxNewTokens: 8,
  seed: 4,
  ppoEpochs: 2,
  minibatches: 3,
  klTarget: 0.5,
  klHorizon: 40,
  missingEosPenalty: 0.1,
};
const grpoOptions: GrpoTrainOptions = {
  steps: 5,
  batchSize: 3,
  groupSize: 4,
  lr: 3e-3,
  schedule: 'constant',
  maxNewTokens: 8,
  seed: 4,
  iterations: 2,
  epsilon: 1e-5,
};

interface Trained {
  steps: (PpoStep | GrpoStep)[];
  weights: Map<string, Float32Array>;
}
type Train = (
  model: GPT2,
  state?: TrainingState,
  reference?: GPT2,
  more?: object,
  given?: Reward,
) => AsyncGenerator<PpoStep | GrpoStep, void>;
const trainers: Readonly<Record<string, { head: boolean; train: Train }>> = {
  ppo: {
    head: true,
    train: (model, state, reference, more, given) => ppo(model, { ...ppoOptions, ...more }, state, reference, given),
  },
  grpo: {
    head: false,
    train: (model, state, reference, more, given) => grpo(model, { ...grpoOptions, ...more }, state, reference, given),
  },
  rloo: {
    head: false,
    train: (model, state, reference, more, given) =>
      grpo(model, { ...grpoOptions, algorithm: 'rloo', ...more }, state, reference, given),
  },
};
async function* ppo(
  model: GPT2,
  options: PpoTrainOptions,
  state?: TrainingState,
  reference?: GPT2,
  given: Reward = reward,
): AsyncGenerator<PpoStep, void> {
  yield* trainPpo(model, prompts, options, { tokenizer: await tokenizer, reward: given, state, reference });
}
async function* grpo(
  model: GPT2,
  options: GrpoTrainOptions,
  state?: TrainingState,
  reference?: GPT2,
  given: Reward = reward,
): AsyncGenerator<GrpoStep, void> {
  yield* trainGrpo(model, prompts, options, { tokenizer: await tokenizer, reward: given, state, reference });
}
/** The trainers' own defaults: the optimizer of a given state is created by the caller. */
const adam = (head: boolean) => ({ epsilon: 1e-5, weightDecay: head ? 0 : 0.01 });
/** An event without its time. */
const timeless = <Step extends { seconds: number }>(steps: readonly Step[]) =>
  steps.map(({ seconds, ...others }) => others);

for (const [name, { head, train }] of Object.entries(trainers)) {
  test(`${name}: the same seed gives the same bits, another seed others; with adapters and accumulation`, async () => {
    const run = async (more: object = {}): Promise<Trained> => {
      const { model } = await loadEngineModel('a-group');
      const steps = await collect(train(model, undefined, undefined, { steps: 3, ...more }));
      const weights = copyOf(model);
      model.dispose();
      return { steps, weights };
    };
    const first = await run();
    const again = await run();
    assert.deepEqual(timeless(again.steps), timeless(first.steps));
    assert.deepEqual(again.weights, first.weights);
    assert.notDeepEqual((await run({ seed: 9 })).weights, first.weights);
    const [whole, inParts] = [await run({ steps: 1 }), await run({ steps: 1, accumulation: 2 })];
    near(inParts.steps[0]!.loss, whole.steps[0]!.loss, 1e-5, 'loss'); // float32 sums in another order
    nearAll(
      inParts.weights.get('ln_f.bias')!,
      whole.weights.get('ln_f.bias')!,
      1e-4,
      'ln_f.bias, which moved by 3e-3 an update',
    );

    const { model: base } = await loadEngineModel('a-group');
    const before = copyOf(base);
    const adapted = lora(base, { rank: 2 }, new Random(0));
    await collect(train(adapted, undefined, base, { steps: 2 }));
    assert.deepEqual(copyOf(base), before);
    assert.ok(adapted.weights.trained.values('h.0.attn.c_attn.lora_B').some((value) => value !== 0));
    for (const each of [adapted, base]) each.dispose();
  });

  test(`${name}: resuming from a checkpoint gives the same bits as never having stopped`, async () => {
    const load = async () => {
      const { model: base } = await loadEngineModel('a-group');
      return { base, model: head ? withValueHead(base) : base };
    };
    const { model: reference } = await loadEngineModel('a-group');
    const whole = await load();
    const steps = timeless(await collect(train(whole.model, undefined, reference)));

    const first = await load();
    const state = TrainingState.begin(first.model, adam(head));
    const checkpoint = checkpointFolder(join(folder, name), 3);
    for await (const { step } of train(first.model, state, reference)) {
      if (step === 3) state.save(checkpoint);
      if (step === 4) break; // killed: everything after the checkpoint is lost
    }
    const second = await load();
    const resumed = TrainingState.resume(checkpoint, second.model, adam(head));
    if (head) assert.equal(resumed.carried.klCoef, (steps[3] as unknown as PpoStep).klCoef);
    assert.deepEqual(timeless(await collect(train(second.model, resumed, reference))), steps.slice(3));
    assert.deepEqual(copyOf(second.model), copyOf(whole.model));

    const alone = collect(train(second.model, TrainingState.resume(checkpoint, second.model)));
    await assert.rejects(
      alone,
      (error) =>
        error instanceof InputError &&
        /^a resumed training needs its reference: the policy is no longer the model it began as$/.test(error.message),
    );
    for (const each of [
      state,
      resumed,
      reference,
      ...[whole, first, second].flatMap(({ base, model }) => (head ? [model, base] : [base])),
    ])
      each.dispose();
  });

  test(`${name}: a training leaves no tensor behind, even if ended early, aborted or refused`, async () => {
    const { model } = await loadEngineModel('a-group');
    const still = { lr: 0, steps: 4 }; // the same rollouts each time: every new shape creates a constant once
    await collect(train(model, undefined, undefined, still));
    const [live, numTensors] = [liveTensors(), tf.memory().numTensors];
    const flat = (what: string) => assert.deepEqual([liveTensors(), tf.memory().numTensors], [live, numTensors], what);
    const counts: number[] = [];
    for await (const _ of train(model, undefined, undefined, still)) counts.push(liveTensors());
    flat('whole');
    assert.deepEqual(counts, Array(4).fill(counts[0]), 'the same after each step');
    for await (const { step } of train(model, undefined, undefined, still)) if (step === 2) break;
    flat('ended early');
    const abort = new AbortController();
    let scored = 0;
    const late: Reward = (samples) => {
      scored += samples.length;
      setImmediate(() => abort.abort(new Error('enough')));
      return reward(samples);
    };
    await assert.rejects(
      collect(train(model, undefined, undefined, { ...still, signal: abort.signal }, late)),
      /^Error: enough$/,
    );
    assert.equal(scored, head ? 6 : 12, "the signal came in the first step, and ended the second one's sampling");
    flat('aborted');
    model.dispose();
  });

  test(`${name}: a NaN loss is refused, naming step and prompts, and leaves no tensor behind`, async () => {
    const counts: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      const { model } = await loadEngineModel('a-group');
      const lost = collect(train(model, undefined, undefined, { lr: 1e30 }));
      await assert.rejects(
        lost,
        (error) =>
          error instanceof InputError &&
          /^step [12]: loss is NaN, on the rows \d(, \d)+ \(counted from 1\); check them, or try a lower lr/.test(
            error.message,
          ),
      );
      model.dispose();
      counts.push(liveTensors());
    }
    assert.equal(counts[2], counts[1]); // the first creates constants
  });

  test(`${name}: it learns a reward, the fraction of one token`, async () => {
    const { model } = await loadEngineModel('a-group');
    const more = head ? { klTarget: undefined, klCoef: 0.01, missingEosPenalty: 0 } : { beta: 0.01 };
    const steps = await collect(
      train(
        model,
        undefined,
        undefined,
        { steps: 16, batchSize: head ? 12 : 6, ...more },
        shareOf((id) => id === 5),
      ),
    );
    const scores = steps.map((step) => ('objective' in step ? step.objective.scores : step.scores.mean));
    const mean = (some: readonly number[]) => some.reduce((sum, score) => sum + score, 0) / some.length;
    // One of 37 tokens starts at 1% to 8% of the texts here, and reaches 75% to 90%.
    assert.ok(
      mean(scores.slice(0, 3)) < 0.15 && mean(scores.slice(-3)) > 0.5,
      `${scores.map((score) => score.toFixed(2))}`,
    );
    model.dispose();
  });
}

test('klCoef adapts as by hand: the relative error of KL, clipped at 0.2, over the horizon', () => {
  const of = (kl: number) => adaptedKlCoef(0.15, { kl, klTarget: 6, klHorizon: 10_000, samples: 64 });
  near(of(6), 0.15, 1e-15, 'on target');
  near(of(6.6), 0.15 * (1 + 0.1 * 0.0064), 1e-15, 'a tenth above');
  near(of(60), 0.15 * (1 + 0.2 * 0.0064), 1e-15, 'far above');
  near(of(-3), 0.15 * (1 - 0.2 * 0.0064), 1e-15, 'far below');
});

test('a PPO step reports its rollout and its updates', async () => {
  const { model } = await loadEngineModel('a-group');
  const rollouts: Rollout[] = [];
  const inputs = { tokenizer: await tokenizer, reward, onRollout: (rollout: Rollout) => rollouts.push(rollout) };
  const steps = await collect(trainPpo(model, prompts, { ...ppoOptions, steps: 3 }, inputs));
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  let klCoef = 0.15; // the default if it adapts
  steps.forEach(({ objective, updates, policy, loss, eosCount, tokens, klCoef: used, value }, n) => {
    const { samples, scores, oldLogps, refLogps, oldValues } = rollouts[n]!;
    assert.equal(samples.length, 6);
    assert.equal(updates.length, 2 * 3);
    assert.equal(
      tokens,
      samples.reduce((sum, { ids }) => sum + ids.length, 0),
    );
    assert.equal(eosCount, samples.filter(({ ended }) => ended).length);
    near(used, klCoef, 1e-12, 'klCoef');
    const sums = (rows: readonly Float32Array[]) => rows.map((row) => row.reduce((sum, logp) => sum + logp, 0));
    near(objective.scores, mean(scores), 1e-9, 'scores');
    near(objective.entropy, -mean(sums(oldLogps)), 1e-5, 'entropy'); // float64 sums of float32, in another order
    near(objective.kl, mean(sums(oldLogps)) - mean(sums(refLogps)), 1e-5, 'kl');
    near(objective.rlhfReward, objective.scores - used * objective.kl, 1e-9, 'rlhfReward');
    near(objective.nonScoreReward, -used * objective.kl, 1e-9, 'nonScoreReward');
    near(loss, mean(updates.map((update) => update.loss)), 1e-9, 'loss');
    near(policy.approxKl, mean(updates.map((update) => update.policy.approxKl)), 1e-9, 'approxKl');
    near(updates[0]!.ratio.mean, 1, 1e-5, 'the first update sees the policy that sampled');
    assert.ok(Math.abs(updates.at(-1)!.ratio.mean - 1) > 1e-4, 'the last one sees another');
    if (n === 0) {
      near(objective.kl, 0, 1e-5, 'the policy begins as the reference');
      assert.ok(
        oldValues.every((row) => row.every((expected) => expected === 0)),
        'the head begins at 0',
      );
      near(value.explainedVariance, 0, 1e-6, 'values that are all the same explain nothing');
    }
    klCoef = adaptedKlCoef(klCoef, { kl: objective.kl, klTarget: 0.5, klHorizon: 40, samples: 6 });
  });
  assert.notEqual(klCoef, 0.15);
  model.dispose();
});

/** Rewards that are equal in the first group of each rollout. */
const equalFirst: Reward = (samples) => samples.map(({ prompt }, n) => (prompt === samples[0]!.prompt ? 1 : n % 4));

test('a GRPO step reports its rollout; samples are in groups', async () => {
  const { model } = await loadEngineModel('a-group');
  const rollouts: GroupRollout[] = [];
  const inputs = {
    tokenizer: await tokenizer,
    reward: equalFirst,
    onRollout: (rollout: GroupRollout) => rollouts.push(rollout),
  };
  const [step] = await collect(trainGrpo(model, prompts, { ...grpoOptions, steps: 1 }, inputs));
  const [{ samples, scores, advantages, oldLogps }] = rollouts as [GroupRollout];
  assert.deepEqual(
    samples.map(({ prompt }) => prompt),
    samples.map((_, n) => samples[n - (n % 4)]!.prompt),
  );
  assert.equal(new Set(samples.map(({ prompt }) => prompt)).size, 3);
  assert.deepEqual(advantages.slice(0, 4), [0, 0, 0, 0]);
  assert.equal(oldLogps!.length, 12);
  near(step!.scores.mean, scores.reduce((sum, score) => sum + score, 0) / 12, 1e-12, 'mean');
  near(step!.scores.groupDeviation, (2 * Math.sqrt(5 / 3)) / 3, 1e-12, 'of 0, 1, 2, 3 in two groups of three');
  near(step!.scores.equalGroups, 1 / 3, 1e-12, 'equalGroups');
  near(step!.sequenceKl, 0, 1e-5, 'the policy begins as the reference');
  assert.equal(
    step!.tokens,
    samples.reduce((sum, { ids }) => sum + ids.length, 0),
  );
  model.dispose();
});

test('several rewards: their weighted sum is the score, each is logged, and mistakes are named', async () => {
  const { model } = await loadEngineModel('a-group');
  const [early, long] = [shareOf((id) => id < 12), ((samples) => samples.map(({ ids }) => ids.length)) as Reward];
  const rollouts: GroupRollout[] = [];
  const inputs = { tokenizer: await tokenizer, onRollout: (rollout: GroupRollout) => rollouts.push(rollout) };
  const rewards = [
    { name: 'early', reward: early },
    { name: 'long', reward: long, weight: -0.25 },
    { name: 'watched', reward: long, weight: 0 },
  ];
  const [step] = await collect(trainGrpo(model, prompts, { ...grpoOptions, steps: 1 }, { ...inputs, rewards }));
  const [{ samples, scores }] = rollouts as [GroupRollout];
  const [shares, lengths] = [await early(samples), await long(samples)];
  const sums = shares.map((share, n) => share - lengths[n]! / 4);
  nearAll(scores, sums, 1e-12, 'score');
  const mean = lengths.reduce((sum, length) => sum + length, 0) / 12;
  const deviation = Math.sqrt(lengths.reduce((sum, length) => sum + (length - mean) ** 2, 0) / 11);
  assert.deepEqual(Object.keys(step!.rewards!), ['early', 'long', 'watched']);
  near(step!.rewards!['long']!.mean, mean, 1e-12, 'mean, before its weight');
  near(step!.rewards!['watched']!.deviation, deviation, 1e-12, 'deviation');
  const refused = (message: RegExp, more: object) =>
    assert.rejects(
      collect(trainGrpo(model, prompts, { ...grpoOptions, steps: 1 }, { tokenizer: inputs.tokenizer, ...more })),
      (error) => error instanceof InputError && message.test(error.message),
      `${message}`,
    );
  await refused(/^give reward, or rewards, and not both$/, { rewards, reward: early });
  await refused(/^give reward, or rewards, and not both$/, {});
  await refused(/^rewards is empty; give at least one$/, { rewards: [] });
  await refused(/^rewards: "a b" cannot be a name; /, { rewards: [{ name: 'a b', reward: early }] });
  await refused(/^rewards: two are named early; /, { rewards: [rewards[0]!, rewards[0]!] });
  await refused(/^rewards: the weight of early must be a number, got NaN$/, {
    rewards: [{ name: 'early', reward: early, weight: NaN }],
  });
  await refused(/^step 1: reward long gave 1 score for 12 samples; /, {
    rewards: [rewards[0]!, { name: 'long', reward: () => [1] }],
  });
  model.dispose();
});

test('skipEqual trains as if equal groups were not there; where nothing is left, nothing changes', async () => {
  const trained = async (more: Partial<GrpoTrainOptions>, given: Reward = equalFirst) => {
    const { model } = await loadEngineModel('a-group');
    const rollouts: GroupRollout[] = [];
    const inputs = {
      tokenizer: await tokenizer,
      reward: given,
      onRollout: (made: GroupRollout) => rollouts.push(made),
    };
    const steps = await collect(trainGrpo(model, prompts, { ...grpoOptions, steps: 1, ...more }, inputs));
    const weights = copyOf(model);
    model.dispose();
    return { step: steps[0]!, rollout: rollouts[0]!, weights };
  };
  const all = await trained({});
  const skipping = await trained({ skipEqual: true });
  assert.deepEqual(skipping.rollout.counts, [...Array(4).fill(false), ...Array(8).fill(true)]);
  // By hand: the same rollout without its first group.
  const { model } = await loadEngineModel('a-group');
  const state = TrainingState.begin(model, { ...adam(false) });
  const rest = Object.fromEntries(
    Object.entries(all.rollout).map(([name, values]) => [name, (values as unknown[]).slice(4)]),
  ) as unknown as GroupRollout;
  for (let n = 0; n < 2; n += 1) grpoUpdate(state, rest, grpoOptions.lr, { maxNewTokens: 8 });
  const byHand = copyOf(model);
  // The same numbers in another layout of the batch: other last bits, which Adam enlarges where gradients are small.
  for (const [name, values] of skipping.weights) nearAll(values, byHand.get(name)!, 2e-4, name);
  const isMoved = (name: string, values: Float32Array) =>
    values.some((x, n) => Math.abs(x - byHand.get(name)![n]!) > 1e-3);
  assert.ok(
    [...all.weights].some(([name, values]) => isMoved(name, values)),
    'with the group, the mean is another',
  );
  for (const each of [state, model]) each.dispose();

  const masking = await trained({ maskTruncated: true });
  near(masking.step.sequenceKl, all.step.sequenceKl, 1e-5, 'the KL is of all samples');
  assert.notDeepEqual(masking.weights, all.weights);
  // Nothing to learn from: no update, not even weight decay.
  const { model: untouched } = await loadEngineModel('a-group');
  const nothing = await trained({ skipEqual: true }, (samples) => samples.map(() => 1));
  assert.deepEqual(nothing.weights, copyOf(untouched));
  assert.deepEqual([nothing.step.loss, nothing.step.gradNorm], [0, 0]);
  untouched.dispose();
});

test('the default reference is a copy of the policy at the start', async () => {
  const trained = async (given: boolean) => {
    const { model } = await loadEngineModel('a-group');
    const reference = given ? merged(model) : undefined;
    const steps = await collect(ppo(model, { ...ppoOptions, steps: 3 }, undefined, reference));
    reference?.dispose();
    model.dispose();
    return timeless(steps);
  };
  assert.deepEqual(await trained(false), await trained(true));
});

test('a policy with a value head keeps it; a plain one receives a head for the training only', async () => {
  const { model: base } = await loadEngineModel('a-group');
  const model = withValueHead(base);
  await collect(ppo(model, { ...ppoOptions, steps: 1 }));
  assert.ok(model.weights.values('v_head.weight').some((value) => value !== 0));
  await collect(ppo(base, { ...ppoOptions, steps: 1 }));
  assert.equal(base.weights.hasValueHead, false);
  for (const each of [model, base]) each.dispose();
});

test('options that do not fit, a reward that is NaN, and a state without a head are refused', async () => {
  const { model } = await loadEngineModel('a-group');
  const refused = (message: RegExp, run: AsyncIterable<unknown>) =>
    assert.rejects(collect(run), (error) => error instanceof InputError && message.test(error.message), `${message}`);
  await refused(/^klTarget must be a number of nats above 0, got 0$/, ppo(model, { ...ppoOptions, klTarget: 0 }));
  await refused(
    /^a rollout of 6 samples cannot be split into 4 equal minibatches/,
    ppo(model, { ...ppoOptions, minibatches: 4 }),
  );
  await refused(/^temperature must be a number above 0, got 0: /, ppo(model, { ...ppoOptions, temperature: 0 }));
  await refused(/^give either steps or epochs$/, grpo(model, { ...grpoOptions, epochs: 1 }));
  await refused(/^iterations must be a whole number from 1 up, got 0$/, grpo(model, { ...grpoOptions, iterations: 0 }));
  await refused(
    /^algorithm must be grpo or rloo, got "reinforce"$/,
    grpo(model, { ...grpoOptions, algorithm: 'reinforce' as 'rloo' }),
  );
  await refused(/^groupSize must be a whole number from 2 up, got 1$/, grpo(model, { ...grpoOptions, groupSize: 1 }));
  const state = TrainingState.begin(model);
  await refused(
    /^the state belongs to a model without a value head; begin it with withValueHead\(policy\)$/,
    ppo(model, ppoOptions, state),
  );
  const inputs = { tokenizer: await tokenizer, reward: (() => [NaN]) as Reward };
  await refused(/^step 1: reward gave 1 score for 6 samples/, trainPpo(model, prompts, ppoOptions, inputs));
  await refused(
    /^step 1: reward gave NaN for sample 0, /,
    trainGrpo(model, prompts, grpoOptions, { ...inputs, reward: (samples) => samples.map(() => NaN) }),
  );
  for (const each of [state, model]) each.dispose();
});
