/**
 * GRPO and RLOO on scripted rollouts: advantages, losses, gradients and updates against PyTorch in float64, and TRL's
 * GRPOTrainer.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  groupAdvantages,
  grpoLoss,
  grpoUpdate,
  InputError,
  liveTensors,
  rlooAdvantages,
  rlooLoss,
  sampleLogps,
  tf,
  TrainingState,
  type AdamWOptions,
  type GroupRollout,
  type GrpoLossType,
  type GrpoOptions,
  type GrpoTensors,
  type GrpoTrainOptions,
  type GrpoUpdate,
  type GrpoUpdateOptions,
} from 'alignbook';
import { average } from 'alignbook/dist/moments';
import { summedRewards } from 'alignbook/dist/training/rewards';
import { rewardSpreads } from 'alignbook/dist/training/trainGrpo';

import { loadEngineModel } from './engineFixtures';
import { close, keepsNothing, refused } from './lossCases';
import {
  copyOf,
  fixture,
  float32,
  lastGradients,
  nearAll,
  nearGradients,
  nearWeights,
  scripted,
  type ScriptedRow,
} from './rollouts';
import { near } from './trainingSteps';

type Options = Required<AdamWOptions> &
  Record<'temperature' | 'beta' | 'clipRange' | 'maxNewTokens' | 'lr' | 'maxGradNorm', number>;
type Row = ScriptedRow & { reward: number };
/** What a run has of its own. */
type Changed = Required<Pick<GrpoUpdateOptions, 'klRatio' | 'clipRange' | 'epsilonHigh' | 'level' | 'maskTruncated'>>;
type Logged = Record<'loss' | 'kl' | 'entropy' | 'clipFraction' | 'gradNorm', number>;
type Spread = Record<'mean' | 'deviation', number>;
type Update = Logged & { rows: number[] };
interface Run extends Changed {
  loss: 'grpo' | 'bnpo' | 'dapo' | 'dr_grpo';
  updates: Update[];
  order: number[][];
  gradients?: Record<string, number[]>;
  weights?: Record<string, number[]>;
}
interface Step {
  options: Options;
  generations: number;
  rows: Row[];
  oldLogps: number[][];
  refLogps: number[][];
  advantages: Record<'group' | 'none' | 'leaveOneOut', number[]>;
  runs: Run[];
  rloo: { advantages: number[]; updates: Omit<Update, 'kl'>[]; gradients: Record<string, number[]> };
}
interface Trl {
  options: Omit<Options, 'clipRange'>;
  generations: number;
  iterations: number;
  rollouts: (Row & { letters: number })[][];
  runs: (Changed & {
    loss: GrpoLossType;
    weights?: [number, number];
    steps: (Logged & { rewards?: Record<'reward' | 'letters', Spread>; reward?: number })[];
    last: number[];
  })[];
}
const step = fixture<Step>('grpo_step.json');
const trl = fixture<Trl>('grpo_trl.json');
const { options, rows, generations } = step;
const rewards = rows.map(({ reward }) => reward);

test('advantages are those of PyTorch: scaled, unscaled, and leave-one-out', () => {
  // Rewards are exact in float64 here; the fixture has ten digits.
  nearAll(groupAdvantages(rewards, generations), step.advantages.group, 1e-9, 'group');
  nearAll(groupAdvantages(rewards, generations, { scaleRewards: false }), step.advantages.none, 1e-9, 'none');
  nearAll(
    groupAdvantages(rewards, generations, { baseline: 'leaveOneOut' }),
    step.advantages.leaveOneOut,
    1e-9,
    'leaveOneOut',
  );
  const kl = { oldLogps: step.oldLogps.map((row) => Float32Array.from(row)), refLogps: float32(step.refLogps) };
  nearAll(
    rlooAdvantages(rewards, kl, { groupSize: generations, beta: options.beta }),
    step.rloo.advantages,
    1e-6,
    'rloo',
  ); // log-probs in float32
});

test('advantages by hand; equal scores in a group give advantages of 0', () => {
  nearAll(
    groupAdvantages([1, 3, 5, 5], 2),
    [-1, 1, 0, 0].map((value) => value / (Math.SQRT2 + 1e-4)),
    1e-12,
    'groups of two',
  );
  assert.deepEqual(groupAdvantages([1, 3, 5, 6, 9, 3], 3, { baseline: 'leaveOneOut' }), [-3, 0, 3, 0, 4.5, -4.5]);
  assert.deepEqual(
    groupAdvantages([0.1, 0.1, 0.1], 3).map((value) => Math.abs(value) < 1e-9),
    [true, true, true],
  );
  refused(() => groupAdvantages([1, 2], 1), /^groupSize must be a whole number from 2 up, got 1$/);
  refused(() => groupAdvantages([1, 2, 3], 2), /^3 scores cannot be split into groups of 2$/);
});

/** A rollout of some of the rows, as recorded in the fixture. */
function rolloutOf(numbers: readonly number[], advantages: readonly number[] = step.advantages.group): GroupRollout {
  const samples = scripted(rows, generations);
  const of = <Item>(all: readonly Item[]) => numbers.map((n) => all[n]!);
  return {
    samples: of(samples),
    scores: of(rewards),
    advantages: of(advantages),
    refLogps: of(float32(step.refLogps)),
    oldLogps: of(float32(step.oldLogps)),
  };
}

function nearUpdate(update: GrpoUpdate, expected: Partial<Logged>, tolerance: number, what: string): void {
  for (const name of ['loss', 'kl', 'entropy', 'clipFraction', 'gradNorm'] as const)
    if (expected[name] !== undefined) near(update[name], expected[name], tolerance, `${name} of ${what}`);
}

/**
 * Float32 here, float64 in the fixture. Largest differences seen: 2.3e-6 for the norm of gradients, 1.2e-6 for the
 * rest, and for a gradient, read back from the optimizer, 8.4e-6 of its parameter's largest element. Another processor
 * sums in another order, so a few times that is allowed.
 */
const [UPDATE, GRADIENT] = [1e-5, 3e-5];

/** A minibatch's mean over its own tokens is TRL's bnpo; if the minibatch is the whole rollout, dapo is the same. */
const OURS: Readonly<Record<Run['loss'], GrpoLossType | undefined>> = {
  grpo: 'grpo',
  bnpo: 'dapo',
  dapo: undefined,
  dr_grpo: 'dr_grpo',
};

/** The options of a run that are not the usual ones. */
const inWords = ({ klRatio, clipRange, epsilonHigh, level, maskTruncated }: Changed): string =>
  [klRatio && 'klRatio', epsilonHigh !== clipRange && 'epsilonHigh', level, maskTruncated && 'maskTruncated']
    .filter((name) => name && name !== 'token')
    .map((name) => `, ${name}`)
    .join('');

for (const accumulation of [1, 3]) {
  for (const { loss, updates, gradients, weights, order: _, ...changed } of step.runs) {
    const lossType = updates[0]!.rows.length === rows.length && loss === 'dapo' ? 'dapo' : OURS[loss];
    // dapo divides a minibatch by the tokens of all minibatches; here there is only one
    if (lossType === undefined) continue;
    const name = `${loss}${inWords(changed)}, ${updates.length} updates of ${updates[0]!.rows.length}`;
    test(`${name} responses are those of PyTorch, accumulation ${accumulation}`, async () => {
      const { model } = await loadEngineModel('a-group');
      const before = new Map([...copyOf(model)].map(([name, values]) => [name, new Float32Array(values.length)]));
      const state = TrainingState.begin(model, options);
      updates.forEach((expected, n) => {
        const made = grpoUpdate(state, rolloutOf(expected.rows), options.lr, {
          ...options,
          ...changed,
          lossType,
          accumulation,
        });
        nearUpdate(made, expected, UPDATE, `update ${n}`);
        if (n > 0 || gradients === undefined) return;
        const factor = Math.min(1, options.maxGradNorm / (expected.gradNorm + 1e-6));
        const found = lastGradients(state.optimizer, before, options.beta1);
        nearGradients((name) => found.get(name)!.map((value) => value / factor), gradients, GRADIENT, 'gradient');
      });
      // largest difference seen: 5.3e-6; Adam divides small gradients by their own size
      if (weights) nearWeights(model, weights, 2e-5);
      for (const each of [state, model]) each.dispose();
    });
  }

  test(`rloo's updates are those of PyTorch, clipped per response, accumulation ${accumulation}`, async () => {
    const { model } = await loadEngineModel('a-group');
    const before = new Map([...copyOf(model)].map(([name, values]) => [name, new Float32Array(values.length)]));
    const state = TrainingState.begin(model, options);
    step.rloo.updates.forEach((expected, n) => {
      const made = grpoUpdate(state, rolloutOf(expected.rows, step.rloo.advantages), options.lr, {
        ...options,
        algorithm: 'rloo',
        accumulation,
      });
      nearUpdate(made, expected, UPDATE, `update ${n}`);
      if (n > 0) return;
      const factor = Math.min(1, options.maxGradNorm / (expected.gradNorm + 1e-6));
      const found = lastGradients(state.optimizer, before, options.beta1);
      nearGradients(
        (name) => found.get(name)!.map((value) => value / factor),
        step.rloo.gradients,
        GRADIENT,
        'gradient',
      );
    });
    for (const each of [state, model]) each.dispose();
  });
}
assert.ok(
  step.rloo.updates.some(({ clipFraction }) => clipFraction > 0),
  'clipping is part of the test',
);

for (const { loss, weights, steps, last, ...changed } of trl.runs) {
  test(`ten steps follow TRL's GRPOTrainer, two updates each: ${loss}${inWords(changed)}`, async () => {
    const { model } = await loadEngineModel('one-head');
    const { model: reference } = await loadEngineModel('one-head');
    const state = TrainingState.begin(model, trl.options);
    let n = 0;
    for (const rollout of trl.rollouts) {
      const samples = scripted(rollout, trl.generations);
      let given: Parameters<typeof rewardSpreads>[0] = {};
      const terms = (['reward', 'letters'] as const).map((name, term) => ({
        name,
        reward: () => rollout.map((row) => row[name]),
        weight: (weights ?? [1, 0])[term]!,
      }));
      const scores = await summedRewards(terms, (all) => (given = all))(samples);
      for (const [name, { mean, deviation }] of Object.entries(steps[n]!.rewards ?? {})) {
        near(rewardSpreads(given)![name]!.mean, mean, 1e-6, `${name} of step ${n}, a float32 in TRL`);
        near(rewardSpreads(given)![name]!.deviation, deviation, 1e-6, `its deviation`);
      }
      near(average(scores), steps[n]!.reward!, 1e-6, `weighted sum of step ${n}`);
      const kept = {
        samples,
        scores,
        advantages: groupAdvantages(scores, trl.generations),
        refLogps: sampleLogps(reference, samples, trl.options),
        oldLogps: sampleLogps(model, samples, trl.options),
      };
      for (let iteration = 0; iteration < trl.iterations; iteration += 1) {
        // Float32 on both sides. Largest differences seen: 1.1e-5 for norms, which reach 3.6; 1.5e-6 for the rest.
        nearUpdate(
          grpoUpdate(state, kept, trl.options.lr, { ...trl.options, ...changed, lossType: loss }),
          steps[n]!,
          5e-5,
          `step ${n}`,
        );
        n += 1;
      }
    }
    assert.equal(n, steps.length);
    const prompt = trl.rollouts[0]![0]!.promptIds;
    const { logits } = model.forward(tf.tensor2d([prompt], undefined, 'int32'));
    // largest difference seen: 1.7e-6
    nearAll(logits.dataSync().slice(-last.length), last, 1e-5, 'logits after training');
    for (const each of [state, model, reference]) each.dispose();
  });
}

const rowOf = (...values: number[]) => tf.tensor2d([values]);
/** One response of two tokens, with ratios 0.5 and 1.5, and one position after its end. */
const tensors = (advantage: number): GrpoTensors => ({
  logps: rowOf(Math.log(0.5), Math.log(1.5), 1e30),
  oldLogps: rowOf(0, 0, NaN),
  refLogps: rowOf(0, Math.log(1.5), NaN),
  advantages: tf.tensor1d([advantage]),
  responseMask: tf.tensor2d([[1, 1, 0]], undefined, 'int32'),
});
const K3 = 2 - 1 - Math.LN2; // of the first token: x = -ln 2; the second's is 0

test('losses by hand: each side of the clip, k3, and positions after the end are ignored', () => {
  const [better, worse] = [grpoLoss(tensors(2), { beta: 0.1 }), grpoLoss(tensors(-2), { beta: 0 })];
  close(better.loss, (-2 * 0.5 - 2 * 1.2 + 0.1 * K3) / 2, 'loss');
  close(better.clipFraction, 0.5, 'the second is clipped');
  close(better.kl, K3 / 2, 'kl');
  close(worse.loss, (2 * 0.8 + 2 * 1.5) / 2, 'loss: the first is clipped');
  close(
    grpoLoss(tensors(2), { beta: 0.1, lossType: 'dr_grpo', maxNewTokens: 8 }).loss,
    (-3.4 + 0.1 * K3) / 8,
    'dr_grpo',
  );
  // the ratio of the whole is sqrt(0.5 * 1.5) = 0.866
  const whole = (advantage: number, options: GrpoOptions) =>
    grpoLoss(tensors(advantage), { ...options, beta: 0, level: 'sequence' });
  close(whole(2, {}).loss, -2 * Math.sqrt(0.75), 'one ratio for the response');
  close(whole(-2, { clipRange: 0.1 }).loss, 2 * 0.9, 'clipped below');
  close(whole(-2, { clipRange: 0.1 }).clipFraction, 1, 'its response is');
  close(grpoLoss(tensors(2), { beta: 0, epsilonHigh: 0.4 }).loss, (-2 * 0.5 - 2 * 1.4) / 2, 'epsilonHigh');
  close(grpoLoss(tensors(-2), { beta: 0, epsilonHigh: 0.4 }).loss, (2 * 0.8 + 2 * 1.5) / 2, 'which is not below');
  close(
    rlooLoss({ ...tensors(2), oldLogps: rowOf(-1, 0, NaN) }, { epsilonHigh: 0.4 }).loss,
    -2 * 1.4,
    'e * 0.75 = 2.04',
  );
  close(grpoLoss(tensors(2), { beta: 0.1, klRatio: true }).loss, (-3.4 + 0.1 * 0.5 * K3) / 2, 'klRatio');
  close(
    grpoLoss(tensors(2), { beta: 0.1, tokens: 20, lossType: 'dapo' }).loss,
    (-3.4 + 0.1 * K3) / 20,
    'the share of a batch of 20 tokens',
  );

  const gradient = tf.grad((logps) => grpoLoss({ ...tensors(2), logps: logps as tf.Tensor2D }, { beta: 0.1 }).loss)(
    tensors(2).logps,
  );
  close(
    gradient,
    [[(-2 * 0.5 + 0.1 * (1 - 2)) / 2, 0, 0]],
    'gradient: 0 where the clip holds, but for the KL, which is 0 there',
  );

  const { loss, clipFraction, kl } = rlooLoss(tensors(2)); // the ratio of the sequence is 0.75
  close(loss, -2 * 0.75, 'rloo');
  close(clipFraction, 0, 'below the range a better one is not clipped');
  close(kl, K3 / 2, 'kl of rloo');
  close(rlooLoss(tensors(-2)).loss, 2 * 0.8, 'rloo: a worse one is');
  close(rlooLoss(tensors(2), { responses: 4 }).loss, (-2 * 0.75) / 4, 'the share of four responses');
  const ofRloo = tf.grad((logps) => rlooLoss({ ...tensors(2), logps: logps as tf.Tensor2D }).loss)(tensors(2).logps);
  close(ofRloo, [[-1.5, -1.5, 0]], 'gradient of rloo: the same for each token');
});

test("if the ratio is 1, the gradient of klRatio's term is that of the KL, unlike the gradient of k3", () => {
  // The KL of two distributions over three tokens, and its gradient by the logits, against the expectation of the
  // term's gradient.
  const [logits, reference] = [tf.tensor1d([0.5, -1, 0.2]), tf.tensor1d([-0.3, 0.4, 0])];
  const kl = tf.grad((x) => tf.logSoftmax(x).sub(tf.logSoftmax(reference)).mul(tf.softmax(x)).sum())(logits);
  const expected = (klRatio: boolean) =>
    tf.grad((x) => {
      const logps = tf.logSoftmax(x).expandDims<tf.Tensor2D>(1); // one response per token
      const p = tf.softmax(logits).dataSync();
      const given = {
        oldLogps: tf.logSoftmax(logits).expandDims<tf.Tensor2D>(1),
        refLogps: tf.logSoftmax(reference).expandDims<tf.Tensor2D>(1),
      };
      const terms = [0, 1, 2].map((token) => {
        const of = (all: tf.Tensor2D) => all.slice<tf.Tensor2D>([token, 0], [1, 1]);
        return grpoLoss(
          {
            logps: of(logps),
            oldLogps: of(given.oldLogps),
            refLogps: of(given.refLogps),
            advantages: tf.tensor1d([0]),
            responseMask: tf.ones([1, 1], 'int32'),
          },
          { beta: 1, klRatio },
        ).loss.mul(p[token]!);
      });
      return tf.addN(terms);
    })(logits);
  close(expected(true), [...kl.dataSync()], 'klRatio');
  assert.ok(tf.max(tf.abs(expected(false).sub(kl))).dataSync()[0]! > 0.1);
});

test('advantages and recorded log-probs are constants', () => {
  const given = tensors(2);
  const gradient = (name: 'oldLogps' | 'refLogps' | 'advantages', loss: typeof grpoLoss | typeof rlooLoss) =>
    tf.grad((x) => loss({ ...given, [name]: x }).loss)(given[name]);
  for (const loss of [grpoLoss, rlooLoss]) {
    close(gradient('oldLogps', loss), [[0, 0, 0]], 'oldLogps');
    close(gradient('advantages', loss), [0], 'advantages');
  }
  close(gradient('refLogps', grpoLoss), [[0, 0, 0]], 'refLogps'); // rloo's loss has none
});

test('inputs that do not fit are refused', () => {
  const given = tensors(1);
  for (const loss of [grpoLoss, rlooLoss]) {
    refused(
      () => loss({ ...given, advantages: tf.tensor1d([1, 2]) }),
      /^advantages must be \[1\], one per response, got \[2\]$/,
    );
    refused(() => loss({ ...given, refLogps: rowOf(1) }), /^refLogps has shape \[1,1\], logps has \[1,3\]/);
    refused(() => loss({ ...given, responseMask: tf.zeros([1, 3], 'int32') }), /^row 0 has no response token/);
  }
  refused(
    () => grpoLoss(given, { lossType: 'bnpo' as 'dapo' }),
    /^lossType must be grpo, dapo or dr_grpo, got "bnpo"$/,
  );
  refused(() => grpoLoss(given, { level: 'word' as 'token' }), /^level must be token or sequence, got "word"$/);
  refused(() => grpoLoss(given, { epsilonHigh: 0 }), /^epsilonHigh must be a number above 0, got 0/);
  refused(
    () => grpoLoss(given, { lossType: 'dr_grpo' }),
    /^lossType dr_grpo divides by maxNewTokens, which is missing: give it$/,
  );
});

test('neither losses nor updates leave a tensor behind', async () => {
  const given = tensors(1);
  for (const loss of [grpoLoss, rlooLoss]) {
    keepsNothing(() => ({ ...loss(given) }));
    keepsNothing(() => tf.grad((logps) => loss({ ...given, logps: logps as tf.Tensor2D }).loss)(given.logps));
  }
  const { model } = await loadEngineModel('a-group');
  const state = TrainingState.begin(model);
  const rollout = rolloutOf(rows.map((_, n) => n));
  const run = (more: Partial<GrpoTrainOptions>) => grpoUpdate(state, rollout, 1e-4, { ...options, ...more });
  for (const more of [{}, { algorithm: 'rloo', accumulation: 2 }] as const) {
    run(more); // creates moments and constants
    const [live, numTensors] = [liveTensors(), tf.memory().numTensors];
    run(more);
    assert.deepEqual([liveTensors(), tf.memory().numTensors], [live, numTensors]);
    assert.throws(
      () => run({ accumulation: 5 }),
      (error) =>
        error instanceof InputError &&
        error.message.startsWith('a batch of 12 rows cannot be split into 5 equal parts'),
    );
    assert.throws(
      () => run({ accumulation: 0 }),
      (error) =>
        error instanceof InputError && /^accumulation must be a whole number from 1 up, got 0$/.test(error.message),
    );
  }
  for (const each of [state, model]) each.dispose();
});
