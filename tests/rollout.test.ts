/** Sampling, scoring and measuring: the data from which PPO and GRPO learn. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  generate,
  InputError,
  liveTensors,
  measureSamples,
  Random,
  responseBatch,
  RewardModel,
  rewardOf,
  sampleLogps,
  sampleResponses,
  scoreSamples,
  sequenceKl,
  weightedRewards,
  withValueHead,
  type GenerateOptions,
  type Reward,
  type Sample,
  type SampleOptions,
} from 'alignbook';

import { loadEngineModel } from './engineFixtures';
import { float32, letterTokenizer, nearAll, scripted, setHead } from './rollouts';

const prompts = [[3, 4, 5], [6], [7, 8, 9, 10, 11]];
const tokenizer = letterTokenizer(37); // a-group's ids
const sampleOptions: SampleOptions = { maxNewTokens: 12, seed: 5, temperature: 1.5, samples: 4 };

test('several samples of a prompt equal those of the repeated prompt, row by row', async () => {
  const { model } = await loadEngineModel('a-group');
  const repeated = prompts.flatMap((prompt) => Array<number[]>(4).fill(prompt));
  for (const options of [
    { temperature: 1 },
    { temperature: 0.7, topK: 9, topP: 0.9 },
    { temperature: 1, repetitionPenalty: 1.3 },
  ] as GenerateOptions[]) {
    const common = { ...options, maxNewTokens: 9, seed: 2, eosTokenId: 0 };
    const made = await generate(model, prompts, { ...common, samples: 4 });
    assert.deepEqual(made, await generate(model, repeated, common));
    assert.ok(new Set(made.slice(0, 4).map(({ ids }) => ids.join())).size > 1, 'samples differ from one another');
  }
  // some responses end while their prompt is still shared
  const one = await generate(model, prompts, { temperature: 1, maxNewTokens: 1, samples: 3 });
  assert.deepEqual(
    one.map(({ ids }) => ids.length),
    Array(9).fill(1),
  );
  await assert.rejects(
    generate(model, prompts, { samples: 0 }),
    (error) => error instanceof InputError && /^samples must be a whole number from 1 up, got 0$/.test(error.message),
  );
  model.dispose();
});

test("sampling by temperature alone draws what sampling from logits draws, in the model's proportions", async () => {
  const { model } = await loadEngineModel('a-group');
  // A topK of all 37 tokens restricts nothing, but takes the other path: logits, their distribution, and a draw with
  // the same random numbers.
  for (const temperature of [0.6, 1, 2]) {
    const options = { temperature, maxNewTokens: 9, samples: 8, seed: 11 };
    assert.deepEqual(await generate(model, prompts, options), await generate(model, prompts, { ...options, topK: 37 }));
  }
  // Chi-square of the first token over 4,000 samples at temperature 0.7, against the model's own log-probs, with 36
  // degrees of freedom: a correct sampler exceeds 100 with a probability below 1e-7, and the seed is fixed.
  const draws = 4000;
  const made = await generate(model, [[3, 4, 5]], { temperature: 0.7, maxNewTokens: 1, samples: draws, seed: 3 });
  const logps = model
    .score(responseBatch([{ promptIds: [3, 4, 5], responses: Array.from({ length: 37 }, (_, id) => [id]) }]), {
      temperature: 0.7,
    })
    .dataSync();
  const counts = Array.from({ length: 37 }, () => 0);
  for (const { ids } of made) counts[ids[0]!]! += 1;
  const chiSquare = counts.reduce(
    (sum, count, id) => sum + (count - draws * Math.exp(logps[id]!)) ** 2 / (draws * Math.exp(logps[id]!)),
    0,
  );
  assert.ok(chiSquare < 100, `chi-square ${chiSquare}`);
  model.dispose();
});

test('samples have their prompt, their text, and whether they ended', async () => {
  const { model } = await loadEngineModel('a-group');
  const samples = await sampleResponses(model, await tokenizer, prompts, sampleOptions, [2, 0]);
  assert.deepEqual(
    samples.map(({ prompt }) => prompt),
    [2, 2, 2, 2, 0, 0, 0, 0],
  );
  const made = await generate(model, [prompts[2]!, prompts[0]!], { ...sampleOptions, eosTokenId: 0 });
  assert.deepEqual(
    samples.map(({ ids }) => ids),
    made.map(({ ids }) => ids),
  );
  for (const { prompt, promptIds, ids, text, ended } of samples) {
    assert.deepEqual(promptIds, prompts[prompt]);
    assert.equal(ended, ids.at(-1) === 0);
    assert.ok(
      ids.slice(0, -1).every((id) => id !== 0),
      'nothing comes after the end',
    );
    assert.equal(
      text,
      ids
        .filter((id) => id !== 0)
        .map((id) => 'abcdefghijklmnopqrstuvwxyz0123456789'[id - 1])
        .join(''),
    );
  }
  assert.deepEqual(new Set(samples.map(({ ended }) => ended)), new Set([true, false]), 'both are part of the test');
  assert.equal((await sampleResponses(model, await tokenizer, prompts)).length, 3, 'all prompts, once each');

  const refused = (message: RegExp, options: SampleOptions, some = prompts) =>
    assert.rejects(
      async () => sampleResponses(model, await tokenizer, some, options),
      (error) => error instanceof InputError && message.test(error.message),
    );
  for (const temperature of [0, -1, NaN])
    await refused(
      new RegExp(`^temperature must be a number above 0, got ${temperature}: greedy answers are no samples$`),
      { temperature },
    );
  await refused(/^prompt 1 is empty/, {}, [[1], []]);
  model.dispose();
});

const samples: Sample[] = [
  { prompt: 0, promptIds: [1], ids: [2, 3, 0], text: 'bc', ended: true },
  { prompt: 0, promptIds: [1], ids: [2, 3], text: 'bc', ended: false },
  { prompt: 1, promptIds: [4], ids: [0], text: '', ended: true },
];
const lengths: Reward = (some) => some.map(({ ids }) => ids.length);
const refusedReward = (message: RegExp, reward: Reward) =>
  assert.rejects(scoreSamples(samples, reward), (error) => error instanceof InputError && message.test(error.message));

test('scores minus penalties, by hand; a promise of scores is accepted', async () => {
  assert.deepEqual(await scoreSamples(samples, () => [1, 2, 3]), [1, 2, 3]);
  assert.deepEqual(
    await scoreSamples(samples, async () => [1, 2, 3], { missingEosPenalty: 0.5, lengthPenalty: 0.25 }),
    [0.25, 1, 2.75],
  );
});

test('a reward with too few scores, too many, or one that is not a number is refused, naming the sample', async () => {
  await refusedReward(/^reward gave 2 scores for 3 samples; it must give one for each$/, () => [1, 2]);
  await refusedReward(/^reward gave 4 scores for 3 samples/, () => [1, 2, 3, 4]);
  for (const [score, said] of [
    [NaN, 'NaN'],
    [Infinity, 'Infinity'],
    [undefined, 'undefined'],
    ['1', '1'],
  ] as const) {
    await refusedReward(new RegExp(`^reward gave ${said} for sample 1, "bc"; it must give a finite number$`), () => [
      1,
      score as number,
      3,
    ]);
  }
  await assert.rejects(
    scoreSamples(samples, () => {
      throw new Error('mine');
    }),
    /^Error: mine$/,
  );
});

test('a weighted sum of rewards, each checked in the same way', async () => {
  const sum = weightedRewards([
    { reward: lengths, weight: 2 },
    { reward: async () => [1, 0, -1], weight: -0.5 },
  ]);
  assert.deepEqual(await sum(samples), [5.5, 4, 2.5]);
  await refusedReward(
    /^reward gave 1 score for 3 samples/,
    weightedRewards([
      { reward: lengths, weight: 1 },
      { reward: () => [1], weight: 1 },
    ]),
  );
  await refusedReward(
    /^reward gave NaN for sample 2, ""/,
    weightedRewards([
      { reward: lengths, weight: 1 },
      { reward: () => [1, 1, NaN], weight: 0 },
    ]),
  );
});

test("a reward model's scores are those of its batch, computed in parts or at once", async () => {
  const { model: base } = await loadEngineModel('a-group');
  const model = RewardModel.begin(base, new Random(8));
  const batch = responseBatch(
    samples.map(({ promptIds, ids }) => ({ promptIds, responses: [ids] })),
    { layout: 'padded' },
  );
  const expected = model.scores(batch).dataSync();
  for (const batchSize of [64, 2, 1])
    // the order of float32 sums
    nearAll(await scoreSamples(samples, rewardOf(model, { batchSize })), expected, 2e-6, `in parts of ${batchSize}`);
  for (const each of [model, base]) each.dispose();
});

/** Samples of different lengths, several of one prompt, and the same prompt again later. */
const measured = scripted(
  [[3, 1, 2, 0], [4], [5, 6, 0], [7, 8, 9, 10, 11, 12], [0], [13, 14]].map((responseIds, n) => ({
    promptIds: n === 3 ? [20] : [21, 22, 23],
    responseIds,
  })),
).map((sample, n) => ({ ...sample, prompt: n === 3 ? 1 : 0 }));

test('log-probs, values and entropy are those of score and record, for any parts', async () => {
  const { model: base } = await loadEngineModel('a-group');
  const model = withValueHead(base);
  setHead(model, { weight: Array.from({ length: 16 }, (_, n) => Math.cos(n) / 4), bias: [0.3] });
  const temperature = 0.7;
  const batch = responseBatch(
    measured.map(({ promptIds, ids }) => ({ promptIds, responses: [ids] })),
    { layout: 'padded' },
  );
  const logps = model.score(batch, { temperature }).arraySync();
  using recording = model.record(batch, { temperature, statistics: true });
  const values = recording.values!.arraySync();
  const entropyOf = (n: number) => {
    const start = measured.slice(0, n).reduce((sum, { ids }) => sum + ids.length, 0);
    return recording.statistics!.entropy.slice(start, start + measured[n]!.ids.length);
  };
  for (const batchSize of [64, 4, 1]) {
    const found = measureSamples(model, measured, { temperature, batchSize });
    const again = sampleLogps(model, measured, { temperature, batchSize });
    measured.forEach(({ ids }, n) => {
      // Other layouts sum float32 in other orders, and log-probs reach 10. Largest difference seen: 1.5e-6.
      nearAll(found.logps[n]!, logps[n]!.slice(0, ids.length), 1e-5, `logps of sample ${n}`);
      nearAll(found.values![n]!, values[n]!.slice(0, ids.length), 1e-5, `values of sample ${n}`);
      nearAll(found.entropy[n]!, entropyOf(n), 1e-5, `entropy of sample ${n}`);
      assert.deepEqual(again[n], found.logps[n]);
    });
  }
  assert.equal('values' in measureSamples(base, measured), false);
  nearAll(sampleLogps(base, measured)[1]!, [base.score(batch).arraySync()[1]![0]!], 1e-5, 'at temperature 1');
  for (const each of [model, base]) each.dispose();
});

test('the KL of sequences, by hand', () => {
  const kl = sequenceKl(float32([[-1, -2], [-3]]), float32([[-1.5, -1], [-3.25]]));
  nearAll(kl, [-0.5, 0.25], 0, 'exact in float32');
});

test('sampling, scoring and measuring leave no tensor behind', async () => {
  const { model: base } = await loadEngineModel('a-group');
  const model = withValueHead(base);
  const reward = RewardModel.begin(base, new Random(8));
  const round = async () => {
    const made = await sampleResponses(model, await tokenizer, prompts, sampleOptions);
    await scoreSamples(made, rewardOf(reward, { batchSize: 5 }));
    measureSamples(model, made, { batchSize: 5 });
    sampleLogps(base, made, { batchSize: 5 });
  };
  await round(); // creates the constants
  const live = liveTensors();
  await round();
  assert.equal(liveTensors(), live);
  const abort = new AbortController();
  const aborted = sampleResponses(model, await tokenizer, prompts, { ...sampleOptions, signal: abort.signal });
  abort.abort(new Error('enough'));
  await assert.rejects(aborted, /^Error: enough$/);
  assert.equal(liveTensors(), live);
  for (const each of [model, reward, base]) each.dispose();
});
