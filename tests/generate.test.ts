import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import {
  distribution,
  generate,
  InputError,
  liveTensors,
  nextToken,
  Random,
  type GenerateOptions,
  type GPT2,
  type Sampling,
} from 'alignbook';

import { root } from '../scripts/paths';
import { loadEngineModel } from './engineFixtures';

interface Fixtures {
  greedy: {
    model: string;
    prompts: number[][];
    steps: number;
    penalty: number;
    suppress: number[];
    made: number[][];
    eos: number;
    ended: number[][];
  }[];
  distributions: { logits: number[]; present: number[]; options: Sampling; probabilities: number[] }[];
}
const fixtures = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'generate.json'), 'utf8')) as Fixtures;

for (const { model: name, prompts, steps, penalty, suppress, made, eos, ended } of fixtures.greedy) {
  test(
    `greedy is transformers' token for token: ${name}, ${prompts.length} prompts, penalty ${penalty}, ` +
      `${suppress.length} suppressed`,
    async () => {
      const { model } = await loadEngineModel(name);
      const options = { maxNewTokens: steps, repetitionPenalty: penalty, suppressTokens: suppress };
      for (const batchSize of [64, 2, 1])
        assert.deepEqual(
          (await generate(model, prompts, { ...options, batchSize })).map(({ ids }) => ids),
          made,
          `${batchSize} at once`,
        );

      const withEnd = await generate(model, prompts, { ...options, eosTokenId: eos });
      assert.deepEqual(
        withEnd.map(({ ids }) => ids),
        ended,
      );
      assert.deepEqual(
        withEnd.map(({ finish }) => finish),
        ended.map((ids) => (ids.at(-1) === eos ? 'eos' : 'length')),
      );
      model.dispose();
    },
  );
}

for (const { logits, present, options, probabilities } of fixtures.distributions) {
  test(`the distribution is transformers': ${JSON.stringify(options)}`, () => {
    const { repetitionPenalty = 1 } = options;
    const penalized = Float32Array.from(logits, (logit, id) =>
      !present.includes(id) ? logit : logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty,
    );
    distribution(penalized, options).forEach((probability, id) =>
      assert.ok(
        Math.abs(probability - probabilities[id]!) < 1e-6,
        `token ${id}: ${probability} instead of ${probabilities[id]}`,
      ),
    ); // float32 logits there

    // Chi-square over 20,000 draws: a correct sampler exceeds the bound with a probability below 1e-6, and the seed is
    // fixed.
    const draws = 20_000;
    const random = new Random(3);
    const counts = logits.map(() => 0);
    for (let draw = 0; draw < draws; draw += 1)
      counts[nextToken(Float32Array.from(logits), options, random, present)]! += 1;
    const possible = probabilities.flatMap((probability, id) => (probability > 0 ? [id] : []));
    counts.forEach((count, id) => assert.ok(count === 0 || possible.includes(id), `token ${id} cannot be drawn`));
    const chiSquare = possible.reduce(
      (sum, id) => sum + (counts[id]! - draws * probabilities[id]!) ** 2 / (draws * probabilities[id]!),
      0,
    );
    assert.ok(chiSquare < 50, `chi-square ${chiSquare} with ${possible.length - 1} degrees of freedom`);
  });
}

async function sampled(model: GPT2, prompts: number[][], options: GenerateOptions = {}): Promise<number[][]> {
  return (await generate(model, prompts, { maxNewTokens: 8, temperature: 1, seed: 5, ...options })).map(
    ({ ids }) => ids,
  );
}

test('a seed gives the same draws again; a row does not depend on its neighbours', async () => {
  const { model } = await loadEngineModel('a-group');
  const prompts = [[3, 4, 5], [6], [7, 8, 9, 10, 11]];
  const first = await sampled(model, prompts);
  assert.deepEqual(await sampled(model, prompts), first);
  assert.notDeepEqual(await sampled(model, prompts, { seed: 6 }), first);
  assert.deepEqual(await sampled(model, [[3, 4, 5]]), [first[0]]); // unpadded, in a batch of its own
  assert.deepEqual(
    await sampled(model, [
      [3, 4, 5],
      [1, 2],
      [7, 8, 9, 10, 11],
    ]),
    [
      first[0],
      (
        await sampled(model, [
          [3, 4, 5],
          [1, 2],
        ])
      )[1],
      first[2],
    ],
  );
  model.dispose();
});

test('rows enter where others have ended: the same rows, whatever the batch, and nothing left behind', async () => {
  const { model } = await loadEngineModel('a-group'); // 20 positions
  const random = new Random(8);
  const prompts = Array.from({ length: 23 }, () =>
    Array.from({ length: 1 + random.integer(12) }, () => random.integer(37)),
  );
  const finishes = new Set<string>();
  for (const options of [
    { temperature: 1, samples: 3 },
    { temperature: 0 },
    { temperature: 0.7, topK: 5, repetitionPenalty: 1.2 },
  ]) {
    const made = (batchSize: number) =>
      generate(model, prompts, {
        ...options,
        maxNewTokens: 30,
        eosTokenId: 3,
        stop: (ids) => ids.includes(11),
        seed: 2,
        batchSize,
      });
    const alone = await made(1);
    for (const { finish } of alone) finishes.add(finish);
    for (const batchSize of [5, 16, 64])
      assert.deepEqual(await made(batchSize), alone, `${batchSize} at once, ${JSON.stringify(options)}`);
    const before = liveTensors();
    await made(5);
    assert.equal(liveTensors(), before);
  }
  assert.deepEqual([...finishes].sort(), ['eos', 'length', 'stop']);
  model.dispose();
});

test('what is drawn follows the model: one step of the two-token model', async () => {
  const { model, expected } = await loadEngineModel('two-tokens');
  const probability = Math.exp(expected.logps[0]![0]!); // of token 0 after token 0, by transformers
  let zeros = 0;
  for (let seed = 0; seed < 2000; seed += 1)
    zeros += (await sampled(model, [[0]], { seed, maxNewTokens: 1 }))[0]![0] === 0 ? 1 : 0;
  const deviation = Math.sqrt(2000 * probability * (1 - probability));
  assert.ok(
    Math.abs(zeros - 2000 * probability) < 5 * deviation,
    `${zeros} zeros, expected ${2000 * probability} +- ${deviation}`,
  );
  model.dispose();
});

test("stop, the window's end, streaming and an abort", async () => {
  const { model } = await loadEngineModel('a-group');
  const seen: [number, number][] = [];
  const made = await generate(model, [[1, 2], [3]], {
    maxNewTokens: 6,
    stop: (ids) => ids.length === 2 && ids[0] !== undefined,
    onToken: (id, row) => seen.push([row, id]),
  });
  assert.deepEqual(
    made.map(({ finish, ids }) => [finish, ids.length]),
    [
      ['stop', 2],
      ['stop', 2],
    ],
  );
  assert.deepEqual(
    seen,
    [0, 1].flatMap((n) => made.map(({ ids }, row) => [row, ids[n]])),
  );

  const [full] = await generate(model, [Array(18).fill(1)], { maxNewTokens: 50 });
  assert.deepEqual([full!.finish, full!.ids.length], ['length', 2]); // 20 positions
  // the shorter ones go on long after the longest has ended
  const together = await generate(model, [[1], Array(18).fill(1), [2, 3]], { maxNewTokens: 50 });
  assert.deepEqual(
    together.map(({ ids }) => ids.length),
    [19, 2, 18],
  );
  assert.deepEqual(together[0], (await generate(model, [[1]], { maxNewTokens: 50 }))[0]);
  assert.deepEqual(await generate(model, []), []);

  await generate(model, [[1], [2]], { maxNewTokens: 15 }); // makes the constants
  await generate(model, [[1], [2, 3]], { maxNewTokens: 5 });
  const live = liveTensors();
  const abort = new AbortController();
  let tokens = 0;
  const work = generate(model, [[1], [2]], {
    maxNewTokens: 15,
    signal: abort.signal,
    onToken: () => ++tokens === 6 && abort.abort(new Error('enough')),
  });
  await assert.rejects(work, /^Error: enough$/);
  assert.equal(tokens, 6);
  await generate(model, [[1], [2, 3]], { maxNewTokens: 5 });
  assert.equal(liveTensors(), live, 'nothing is left behind');
  model.dispose();
});

test('prompts and options that do not fit are refused', async () => {
  const { model } = await loadEngineModel('a-group');
  const refused = async (message: RegExp, prompts: number[][], options: GenerateOptions = {}) =>
    assert.rejects(
      generate(model, prompts, options),
      (error) => error instanceof InputError && message.test(error.message),
    );
  await refused(/^prompt 1 is empty; give at least one token/, [[1], []]);
  await refused(/^prompt 0 has 20 tokens; the model's window of 20 leaves no room/, [Array(20).fill(1)]);
  await refused(/^prompt 0 holds 37; ids lie from 0 to 36$/, [[37]]);
  await refused(/^maxNewTokens must be a whole number from 1 up, got 0$/, [[1]], { maxNewTokens: 0 });
  await refused(/^batchSize must be a whole number from 1 up, got 0$/, [[1]], { batchSize: 0 });
  await refused(/^temperature must be a number from 0 up, got -1$/, [[1]], { temperature: -1 });
  await refused(/^topK must be a whole number from 1 up, got 0$/, [[1]], { topK: 0 });
  await refused(/^topP must be in \(0, 1\], got 0$/, [[1]], { topP: 0 });
  await refused(/^repetitionPenalty must be a number above 0, got 0$/, [[1]], { repetitionPenalty: 0 });
  model.dispose();
});
