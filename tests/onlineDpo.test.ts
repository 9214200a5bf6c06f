/** Online DPO against TRL's OnlineDPOTrainer on given samples; its own samples, ties, moving references, resuming. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import {
  diagnose,
  InputError,
  liveTensors,
  lora,
  onlineDpoUpdate,
  Random,
  scoreSamples,
  tf,
  TrainingState,
  trainOnlineDpo,
  type AdamWOptions,
  type GPT2,
  type Judge,
  type JudgedSamples,
  type OnlineDpoStep,
  type OnlineDpoTrainOptions,
  type Sample,
} from 'alignbook';
import { byScores } from 'alignbook/dist/training/judge';
import { mixReference } from 'alignbook/dist/training/trainOnlineDpo';

import { loadEngineModel } from './engineFixtures';
import { fixture, letterTokenizer, nearAll, scripted, type ScriptedRow } from './rollouts';
import { collect, near } from './trainingSteps';

type Logged = Record<
  | 'loss'
  | 'gradNorm'
  | 'sequenceKl'
  | 'chosen'
  | 'rejected'
  | 'margins'
  | 'accuracies'
  | 'logpsChosen'
  | 'logpsRejected',
  number
> &
  Record<'scores' | 'scoresMargin' | 'ended', number>;
interface Trl {
  options: Required<AdamWOptions> & { lr: number; maxGradNorm: number; missingEosPenalty: number };
  rollouts: (ScriptedRow & { reward: number })[][];
  runs: {
    loss: 'sigmoid' | 'ipo';
    beta: number;
    referenceEvery?: number;
    referenceAlpha?: number;
    steps: Logged[];
    last: number[];
  }[];
}
const trl = fixture<Trl>('online_dpo.json');

for (const accumulation of [1, 2]) {
  for (const { steps, last, referenceEvery, referenceAlpha, loss, beta } of trl.runs) {
    test(`ten steps follow TRL's OnlineDPOTrainer: ${loss}, accumulation ${accumulation}`, async () => {
      const { model } = await loadEngineModel('one-head');
      const { model: reference } = await loadEngineModel('one-head');
      const state = TrainingState.begin(model, trl.options);
      for (const [n, rows] of trl.rollouts.entries()) {
        const samples = scripted(rows, 2);
        const scores = await scoreSamples(samples, () => rows.map(({ reward }) => reward), trl.options);
        const pairs = [0, 2, 4].map((a): JudgedSamples => {
          const both = [scores[a]!, scores[a + 1]!] as const;
          return {
            samples: [samples[a]!, samples[a + 1]!],
            winner: byScores(...both),
            inconsistent: false,
            scores: both,
          };
        });
        const made = onlineDpoUpdate(state, pairs, reference, { ...trl.options, loss, beta, accumulation });
        state.step = n + 1;
        if (referenceEvery !== undefined && state.step % referenceEvery === 0)
          mixReference(model, reference, referenceAlpha!);
        const expected = steps[n]!;
        // Float32 on both sides; relative to the value, where it is above 1. Largest differences seen are stated below.
        const close = (actual: number, wanted: number, what: string) =>
          near(actual, wanted, 1e-5 * Math.max(1, Math.abs(wanted)), `${what} of step ${n + 1}`);
        close(made.loss, expected.loss, 'loss');
        close(made.gradNorm, expected.gradNorm, 'gradNorm');
        close(made.sequenceKl, expected.sequenceKl, 'KL');
        for (const name of ['chosen', 'rejected', 'margins'] as const) close(made.rewards[name], expected[name], name);
        // In the first step all margins are 0 but for rounding, so that their signs say nothing.
        if (n > 0) close(made.rewards.accuracies, expected.accuracies, 'accuracies');
        close(made.logps.chosen, expected.logpsChosen, 'logps of chosen');
        close(made.logps.rejected, expected.logpsRejected, 'logps of rejected');
        const margins = pairs.map(({ scores: [a, b] = [0, 0] }) => Math.abs(a - b));
        close(margins.reduce((sum, margin) => sum + margin) / 3, expected.scoresMargin, 'margin of the scores');
        close(samples.filter(({ ended }) => ended).length / 6, expected.ended, 'ended');
      }
      const { logits } = model.forward(tf.tensor2d([trl.rollouts[0]![0]!.promptIds], undefined, 'int32'));
      nearAll(logits.dataSync().slice(-last.length), last, 1e-5, 'logits after training');
      for (const each of [state, model, reference]) each.dispose();
    });
  }
}

const PROMPTS = [[1, 2, 3], [4], [24, 25, 26], [8, 5, 12, 12]];
const options: OnlineDpoTrainOptions = {
  ...{ steps: 4, batchSize: 4, lr: 1e-2, maxNewTokens: 5, schedule: 'constant', beta: 0.2, seed: 3 },
};
/** The more letters a response has that come early, the better; the same for the texts alone. */
const early = (text: string): number => [...text].filter((letter) => letter < 'm').length;
const reward = (samples: readonly Sample[]): number[] => samples.map(({ text }) => early(text));
const judge: Judge = ({ a, b }) => ({ winner: byScores(early(a), early(b)) });

/** The policy after each of the steps, and the steps. */
async function run(
  more: Partial<OnlineDpoTrainOptions>,
  inputs: Partial<Parameters<typeof trainOnlineDpo>[3]>,
  model?: GPT2,
): Promise<{ steps: OnlineDpoStep[]; policy: GPT2 }> {
  const policy = model ?? (await loadEngineModel('a-group')).model;
  const tokenizer = await letterTokenizer(policy.config.vocabSize);
  const steps = await collect(trainOnlineDpo(policy, PROMPTS, { ...options, ...more }, { tokenizer, ...inputs }));
  return { steps, policy };
}
const timeless = (steps: readonly OnlineDpoStep[]) => steps.map(({ seconds: _, ...step }) => step);
const weightsOf = ({ weights: { trained } }: GPT2) => trained.names.map((name) => trained.values(name));

test('a step is the update on its samples; a reward and a judge of the same taste give the same steps', async () => {
  const seen: (readonly JudgedSamples[])[] = [];
  const { steps, policy } = await run({}, { reward, onPairs: (pairs) => seen.push(pairs) });
  const { model } = await loadEngineModel('a-group');
  const { model: reference } = await loadEngineModel('a-group');
  const state = TrainingState.begin(model, options);
  for (const [n, pairs] of seen.entries()) {
    assert.deepEqual(
      pairs.map(({ samples: [a, b] }) => byScores(early(a.text), early(b.text))),
      pairs.map(({ winner }) => winner),
    );
    const made = onlineDpoUpdate(state, pairs, reference, options);
    assert.deepEqual({ ...steps[n]!, ...made }, steps[n]);
    const ties = pairs.filter(({ winner }) => winner === 'tie').length / 4;
    assert.equal(steps[n]!.ties, ties);
  }
  assert.ok(
    steps.some(({ ties }) => ties > 0 && ties < 1),
    'some pairs are ties, others not',
  );
  assert.deepEqual(weightsOf(model), weightsOf(policy));
  const ofScores = steps[0]!.scores!;
  const all = seen[0]!.flatMap(({ samples }) => samples.map(({ text }) => early(text)));
  near(ofScores.mean, all.reduce((sum, score) => sum + score) / 8, 1e-12, 'mean score');

  const byJudge = await run({}, { judge });
  assert.deepEqual(
    timeless(byJudge.steps),
    timeless(steps).map(({ scores: _, ...step }) => step),
  );
  assert.deepEqual(weightsOf(byJudge.policy), weightsOf(policy));
  for (const each of [policy, byJudge.policy, model, reference, state]) each.dispose();
});

test('a step without a decided pair changes nothing; a judge of places decides nothing', async () => {
  const { model: before } = await loadEngineModel('a-group');
  const { steps, policy } = await run({ steps: 2 }, { judge: () => ({ winner: 'a' }) });
  for (const { loss, gradNorm, ties, inconsistent, rewards } of steps) {
    assert.deepEqual([loss, gradNorm, ties], [0, 0, 1]);
    assert.ok(inconsistent > 0.5); // two equal responses are not asked about
    assert.ok(Number.isNaN(rewards.margins));
  }
  assert.deepEqual(weightsOf(policy), weightsOf(before));
  const twice = [...steps, ...steps].map((step, n) => ({ ...step, step: n + 1 }));
  const { method, findings } = diagnose(twice, options);
  assert.deepEqual([method, findings.map(({ rule }) => rule)], ['online-dpo', ['equal-groups', 'no-end']]);
  assert.match(findings[0]!.says, /^at the end 100 % of the pairs are ties/);
  const inFile = diagnose(JSON.parse(JSON.stringify(twice)) as typeof twice, options); // NaN is null there
  assert.deepEqual([inFile.method, inFile.findings], [method, findings]);
  const inOneOrder = await run({ steps: 2, bothOrders: false }, { judge: () => ({ winner: 'a' }) });
  assert.ok(inOneOrder.steps[0]!.ties < 0.5);
  assert.notDeepEqual(weightsOf(inOneOrder.policy), weightsOf(before));
  for (const each of [before, policy, inOneOrder.policy]) each.dispose();
});

test('a resumed run has the same bits: with a moving reference, and with adapters', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'online-dpo-'));
  try {
    for (const ofLora of [false, true]) {
      const begin = async () => {
        const { model } = await loadEngineModel('a-group');
        return ofLora ? lora(model, { rank: 2 }, new Random(1)) : model;
      };
      const { model: reference } = await loadEngineModel('a-group');
      const moving = { referenceEvery: 2, referenceAlpha: 0.5, accumulation: 2, steps: 5 };
      const whole = await run(moving, { reward, reference }, await begin());
      const cut = await begin();
      const state = TrainingState.begin(cut, options);
      const tokenizer = await letterTokenizer(cut.config.vocabSize);
      const first: OnlineDpoStep[] = [];
      for await (const step of trainOnlineDpo(
        cut,
        PROMPTS,
        { ...options, ...moving },
        { tokenizer, reward, reference, state },
      )) {
        first.push(step);
        if (step.step === 3) break;
      }
      state.save(join(folder, `checkpoint-${ofLora}`));
      const again = await begin();
      const resumed = TrainingState.resume(join(folder, `checkpoint-${ofLora}`), again, options);
      const rest = await run(moving, { reward, reference, state: resumed }, again);
      assert.deepEqual(timeless([...first, ...rest.steps]), timeless(whole.steps));
      assert.deepEqual(weightsOf(again), weightsOf(whole.policy));
      const fixed = await run({ ...moving, referenceEvery: undefined! }, { reward, reference }, await begin());
      assert.notDeepEqual(weightsOf(fixed.policy), weightsOf(whole.policy), 'the reference matters');
      for (const each of [state, resumed, cut, again, whole.policy, fixed.policy, reference]) each.dispose();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('nothing is left in memory, and what does not fit is refused before the first step', async () => {
  const { model } = await loadEngineModel('a-group');
  const tokenizer = await letterTokenizer(model.config.vocabSize);
  // Every run draws and decides the same, since constants of each new shape are kept.
  const still = { ...options, steps: 2, lr: 0, bothOrders: false };
  const counts: number[] = [];
  for (const moving of [{}, { referenceEvery: 1 }, {}, { referenceEvery: 1 }]) {
    const places: Judge = () => ({ winner: 'a' });
    await collect(trainOnlineDpo(model, PROMPTS, { ...still, ...moving }, { tokenizer, judge: places }));
    counts.push(liveTensors());
  }
  assert.deepEqual(counts.slice(1), [counts[0], counts[0], counts[0]]);
  const refused = (more: Partial<OnlineDpoTrainOptions>, inputs: object, message: RegExp) =>
    assert.rejects(
      collect(trainOnlineDpo(model, PROMPTS, { ...options, ...more }, { tokenizer, ...inputs })),
      (error: unknown) => error instanceof InputError && message.test(error.message),
    );
  await refused({}, {}, /^give either a judge or a reward$/);
  await refused({}, { judge, reward }, /^give either a judge or a reward$/);
  await refused({ missingEosPenalty: 1 }, { judge }, /a judge gives none; give a reward$/);
  await refused({ referenceAlpha: 0 }, { reward }, /^referenceAlpha must be in \(0, 1\], got 0/);
  await refused({ loss: 'hinge' as 'ipo' }, { reward }, /^loss must be sigmoid or ipo, got hinge$/);
  const wrong = () => ({ winner: 'A' }) as never;
  await refused({}, { judge: wrong }, /^step 1: the judge gave .* one of a, b and tie$/);
  model.dispose();
});
