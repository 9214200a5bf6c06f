/** Training of reward models: against TRL's RewardTrainer, and properties of every training. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import {
  calibration,
  checkpointFolder,
  evaluateReward,
  InputError,
  liveTensors,
  scoreResponses,
  TrainingState,
  trainReward,
  type PairIds,
  type RewardTrainOptions,
} from 'alignbook';

import { fixtures, rewardModel, stored } from './rewardFixtures';
import { collect, near, ordered } from './trainingSteps';

const options: RewardTrainOptions = {
  steps: 20,
  batchSize: 8,
  lr: 3e-3,
  warmupSteps: 5,
  epsilon: 1e-4,
  weightDecay: 0.01,
  maxGradNorm: 1,
};
const plain: PairIds[] = fixtures.pairs.map(({ promptIds, chosenIds, rejectedIds }) => ({
  promptIds,
  chosenIds,
  rejectedIds,
}));
const load = async () => (await rewardModel('one-head', stored('trained', 'plain/head'))).model;

for (const kind of ['plain', 'margins'] as const) {
  for (const accumulation of [1, 4]) {
    test(`20 steps follow TRL's RewardTrainer: ${kind}, accumulation ${accumulation}`, async () => {
      const { margins, centerRewards, steps } = fixtures.trainings[kind];
      const model = await load();
      const pairs = ordered(
        margins ? fixtures.pairs : plain,
        plain.map((_, n) => n),
        8,
      );
      const made = await collect(trainReward(model, pairs, { ...options, accumulation, centerRewards }));
      assert.equal(made.length, 20);
      made.forEach(({ step, loss, gradNorm, lr, accuracy, margin, scores }, n) => {
        const expected = steps[n]!;
        // Two float32 implementations drift apart. Greatest differences seen in 20 steps: 2e-6 for losses and margins,
        // 6e-6 for scores, 2e-5 of the norm, 1.4e-6 for weights. Another processor may drift differently, so several
        // times that is allowed.
        near(loss, expected.loss, 1e-5, `loss of step ${step}`);
        near(gradNorm, expected.gradNorm, 1e-4 * expected.gradNorm, `gradNorm of step ${step}`);
        near(lr, expected.lr, 1e-12, `lr of step ${step}`);
        near(accuracy, expected.accuracy, 1e-6, `accuracy of step ${step}`);
        near(margin, expected.margin, 1e-5, `margin of step ${step}`);
        near((scores.chosen + scores.rejected) / 2, expected.meanScore, 3e-5, `scores of step ${step}`);
      });
      for (const name of model.weights.names) {
        const wanted = stored('trained', `${kind}/${name}`);
        model.weights
          .values(name)
          .forEach((value, n) => near(value, wanted[n]!, 1e-5, `${name}, element ${n}, after training`));
      }
      model.dispose();
    });
  }
}

test('calibration follows its definitions, even at extreme margins', () => {
  const { margins, calibrationError, brier } = fixtures.calibration;
  const made = calibration(margins);
  near(made.calibrationError, calibrationError, 1e-9, 'calibrationError');
  near(made.brier, brier, 1e-9, 'brier');
  assert.equal(
    made.bins.reduce((sum, { pairs }) => sum + pairs, 0),
    margins.length,
  );
  assert.ok(
    made.bins.every(
      ({ confidence, accuracy }) => confidence >= 0.5 && confidence <= 1 && accuracy >= 0 && accuracy <= 1,
    ),
  );
  // Three of four are right at margins of ln 3, which mean a probability of 3/4.
  const just = calibration([Math.log(3), Math.log(3), Math.log(3), -Math.log(3)]);
  near(just.calibrationError, 0, 1e-12, 'calibrated');
  near(just.brier, (3 * 0.25 ** 2 + 0.75 ** 2) / 4, 1e-12, 'brier');
  assert.deepEqual(calibration([0, 0]), {
    calibrationError: 0.5,
    brier: 0.25,
    bins: [{ confidence: 0.5, accuracy: 0, pairs: 2 }],
  });
  assert.deepEqual(calibration([1e4, -1e4]), {
    calibrationError: 0.5,
    brier: 0.5,
    bins: [{ confidence: 1, accuracy: 0.5, pairs: 2 }],
  });
});

test('an evaluation is the loss over all pairs, for any batch size, and validation equals it', async () => {
  const model = await load();
  const [train, held] = [plain.slice(0, 100), fixtures.pairs.slice(100, 131)];
  const made = await collect(
    trainReward(model, train, { ...options, steps: 7, validateEvery: 3, centerRewards: 0.05 }, { validation: held }),
  );
  assert.deepEqual(
    made.filter(({ validation }) => validation).map(({ step }) => step),
    [3, 6, 7],
  );
  const whole = evaluateReward(model, held, { batchSize: 8, centerRewards: 0.05 });
  assert.deepEqual(made.at(-1)!.validation, whole);
  for (const [name, value] of Object.entries(evaluateReward(model, held, { batchSize: 31, centerRewards: 0.05 }))) {
    if (typeof value === 'number') near(value, whole[name as 'loss'], 1e-6, name);
  }
  const scores = scoreResponses(
    model,
    held.map(({ promptIds, chosenIds, rejectedIds }) => ({ promptIds, responses: [chosenIds, rejectedIds] })),
    { batchSize: 8 },
  );
  const losses = scores.map(([w, l], n) => Math.log1p(Math.exp(l! - w! + held[n]!.margin)) + 0.05 * (w! + l!) ** 2);
  near(whole.loss, losses.reduce((sum, loss) => sum + loss, 0) / 31, 1e-6, 'loss by hand');
  near(
    whole.calibrationError,
    calibration(scores.map(([w, l]) => w! - l!)).calibrationError,
    1e-12,
    'calibrationError',
  );

  const unwatched = await load();
  const alone = await collect(trainReward(unwatched, train, { ...options, steps: 7, centerRewards: 0.05 }));
  assert.deepEqual(
    alone.map(({ loss }) => loss),
    made.map(({ loss }) => loss),
  );
  assert.throws(() => evaluateReward(model, []), InputError);
  for (const each of [model, unwatched]) each.dispose();
});

test('resuming from a checkpoint gives the same bits as never having stopped', async () => {
  const run = mkdtempSync(join(tmpdir(), 'run-'));
  const [whole, first, second] = [await load(), await load(), await load()];
  const losses = (await collect(trainReward(whole, fixtures.pairs, { ...options, groupByLength: true }))).map(
    ({ loss }) => loss,
  );
  const state = TrainingState.begin(first, options);
  for await (const { step } of trainReward(first, fixtures.pairs, { ...options, groupByLength: true }, { state }))
    if (step === 8) break;
  state.save(checkpointFolder(run, 8));
  state.dispose();
  const resumed = TrainingState.resume(checkpointFolder(run, 8), second, options);
  const rest = await collect(
    trainReward(second, fixtures.pairs, { ...options, groupByLength: true }, { state: resumed }),
  );
  assert.deepEqual(
    rest.map(({ loss }) => loss),
    losses.slice(8),
  );
  for (const name of whole.weights.names)
    assert.deepEqual(second.weights.values(name), whole.weights.values(name), name);
  resumed.dispose();
  for (const each of [whole, first, second]) each.dispose();
  rmSync(run, { recursive: true });
});

test('frozen weights do not change; the head alone can be trained', async () => {
  const model = await load();
  const before = new Map(model.weights.names.map((name) => [name, model.weights.values(name)]));
  const made = await collect(trainReward(model, plain, { ...options, frozen: ['wte', 'wpe', 'h', 'ln_f'] }));
  for (const [name, values] of before)
    assert.equal(
      Buffer.from(values.buffer).equals(Buffer.from(model.weights.values(name).buffer)),
      name !== 'score.weight',
      name,
    );
  assert.equal(made.length, 20);
  model.dispose();
});

test('no tensor is left behind, even if ended early or aborted; misfits and a NaN loss are named', async () => {
  const model = await load();
  await collect(trainReward(model, plain, options, { validation: plain.slice(0, 9) })); // creates the constants
  const doubtful = { ...plain[0]!, margin: NaN };
  await assert.rejects(collect(trainReward(model, [doubtful], options)));
  const live = liveTensors();
  for await (const { step } of trainReward(model, plain, options, { validation: plain.slice(0, 9) }))
    if (step === 3) break;
  const abort = new AbortController();
  const aborted = collect(trainReward(model, plain, { ...options, signal: abort.signal }));
  abort.abort(new Error('enough'));
  await assert.rejects(aborted, /^Error: enough$/);
  assert.equal(liveTensors(), live);

  const refused = async (message: RegExp, more: Partial<RewardTrainOptions>, some: readonly PairIds[] = plain) =>
    assert.rejects(
      collect(trainReward(model, some, { ...options, ...more })),
      (error) => error instanceof InputError && message.test(error.message),
    );
  await refused(/^there are no rows to train on$/, {}, []);
  await refused(/^centerRewards must be a number from 0 up, got -1$/, { centerRewards: -1 });
  await refused(/^validateEvery must be a whole number from 1 up, got 0$/, { validateEvery: 0 });
  await refused(/^frozen selects every weight/, { frozen: ['wte', 'wpe', 'h', 'ln_f', 'score'] });
  await refused(/^step 1: loss is NaN, on the rows 1, 1, 1, 1, 1, 1, 1, 1 \(counted from 1\); check them/, {}, [
    doubtful,
  ]);
  await refused(/^step 2: loss is NaN, on the rows (\d+, ){7}\d+ \(counted from 1\); check them/, {
    lr: 1e30,
    warmupSteps: 0,
  });
  assert.equal(liveTensors(), live);
  model.dispose();
});
