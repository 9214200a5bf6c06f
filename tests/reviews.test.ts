/** The reviews of data/reviews, their true reward, and the samples, pairs and estimates made with them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { GPT2, initialWeights, liveTensors, Random, Tokenizer, Weights } from 'alignbook';

import { estimate } from '../scripts/estimate';
import { root } from '../scripts/paths';
import { evaluation, sampleLogps } from '../scripts/reviews/evaluation';
import { MAX_RESPONSE, type Review } from '../scripts/reviews/reviews';
import { rewardPairs } from '../scripts/reviews/rewardPairs';
import { MAX_NEW_TOKENS, samples } from '../scripts/reviews/samples';
import { sentiment, valence, words } from '../scripts/reviews/sentiment';
import { details, opinions, things, type Part, type Polarity } from '../scripts/reviews/vocabulary';

const read = (part: string) =>
  readFileSync(join(root, 'data', 'reviews', `${part}.jsonl`), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Review);
const parts = { train: read('train'), validation: read('validation'), test: read('test') };
const all = Object.values(parts).flat();

test('sentiment by hand', () => {
  assert.deepEqual(['superb', 'Superb', 'boring', 'table', 'constructor', ''].map(valence), [5, 5, -3, 0, 0, 0]);
  assert.deepEqual(words("A well-developed plot; don't miss it!"), [
    'A',
    'well-developed',
    'plot',
    "don't",
    'miss',
    'it',
  ]);
  assert.equal(sentiment('A superb book, but a boring ending.'), 2 / Math.sqrt(2 * 2 + 15));
  assert.equal(sentiment('I hated it.'), -3 / Math.sqrt(9 + 15));
  assert.equal(sentiment('The table was wooden.'), 0);
  assert.equal(sentiment('good '.repeat(1000)), 3000 / Math.sqrt(3000 ** 2 + 15)); // never quite 1
  assert.ok(sentiment('good '.repeat(1000)) < 1);
});

test('the vocabulary is of the signs that it says, and the rest has no sentiment', () => {
  const signs: Record<Polarity, number> = { positive: 1, neutral: 0, negative: -1 };
  for (const part of Object.keys(opinions) as Part[]) {
    for (const [polarity, list] of Object.entries(opinions[part])) {
      for (const word of list)
        assert.equal(Math.sign(valence(word)), signs[polarity as Polarity], `${word} as a ${polarity} ${part}`);
      assert.equal(new Set(list).size, list.length);
    }
  }
  for (const text of [...details, ...things.flatMap(({ name, aspects }) => [name, ...aspects])])
    for (const word of words(text)) assert.equal(valence(word), 0, word);
});

test('prompts are neutral, of 3 to 8 tokens, and none comes twice; responses have at most 20 tokens', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  assert.deepEqual(
    Object.values(parts).map(({ length }) => length),
    [4000, 200, 256],
  );
  assert.equal(new Set(all.map(({ prompt }) => prompt)).size, all.length);
  for (const { prompt, response } of all) {
    assert.equal(sentiment(prompt), 0, prompt);
    const [before, after] = [tokenizer.encode(prompt), tokenizer.encode(response)];
    assert.ok(before.length >= 3 && before.length <= 8, prompt);
    assert.ok(after.length + 1 <= MAX_RESPONSE, response); // including the end-of-text token
    // GPT-2 would split the text at the same place
    assert.deepEqual(tokenizer.encode(prompt + response), [...before, ...after]);
  }
});

test('the reviews are as often positive as negative, of every strength, and say it in many words', () => {
  const rewards = parts.train.map(({ prompt, response }) => sentiment(prompt + response));
  const { mean, standardError } = estimate(rewards);
  assert.ok(Math.abs(mean) < 0.05, `mean ${mean}`);
  assert.ok(standardError * Math.sqrt(rewards.length) > 0.5);
  for (let low = -1; low < 1; low += 0.25)
    assert.ok(rewards.filter((reward) => reward >= low && reward < low + 0.25).length > 100, `from ${low}`);
  const used = new Set(parts.train.flatMap(({ response }) => words(response)).filter((word) => valence(word) > 0));
  assert.ok(used.size > 100, `${used.size} positive words`);
});

test('rewardPairs: every two of a prompt, the better one chosen, ties left out', () => {
  const of = (...rewards: number[]) => rewards.map((reward, n) => ({ reward, name: `${n}` }));
  const names = rewardPairs(of(0.5, -0.5, 0.5, 0, 1, 1), 3).map(({ chosen, rejected }) => chosen.name + rejected.name);
  assert.deepEqual(names, ['01', '21', '43', '53']);
});

test(
  'samples and their evaluation: the policy against itself has gone nowhere; against another, the log-ratios are ' +
    'those of score',
  async () => {
    const tokenizer = await Tokenizer.fromPretrained('tiny');
    const { config } = await GPT2.fromPretrained('tiny');
    const small = { ...config, nLayer: 1, nHead: 1, nEmbd: 8, blockSize: 64 };
    const [policy, reference] = [1, 2].map(
      (seed) => new GPT2(small, Weights.from(initialWeights(small, new Random(seed)), small)),
    ) as [GPT2, GPT2];
    const prompts = parts.test.slice(0, 5).map(({ prompt }) => prompt);
    const reward = (review: string) => review.length;

    const drawn = await samples(policy, tokenizer, prompts, { reward, each: 2, seed: 3 });
    assert.deepEqual(
      drawn.map(({ promptIds }) => tokenizer.decode(promptIds)),
      prompts.flatMap((prompt) => [prompt, prompt]),
    );
    assert.deepEqual(drawn, await samples(policy, tokenizer, prompts, { reward, each: 2, seed: 3 }));
    assert.notDeepEqual(drawn[0]!.ids, drawn[1]!.ids);
    for (const { ids, review, promptIds, reward: length } of drawn) {
      assert.ok(ids.length <= MAX_NEW_TOKENS);
      assert.equal(
        review,
        tokenizer.decode(promptIds) + tokenizer.decode(ids.filter((id) => id !== tokenizer.eosTokenId)),
      );
      assert.equal(length, review.length);
    }

    const itself = await evaluation(policy, policy, tokenizer, prompts, { reward, seed: 4 });
    assert.deepEqual([itself.kl, itself.klStandardError], [0, 0]);
    const other = await evaluation(policy, reference, tokenizer, prompts, { reward, seed: 4 });
    const live = liveTensors();
    const again = await samples(policy, tokenizer, prompts, { reward, seed: 4 });
    const [logps, refLogps] = [sampleLogps(policy, again), sampleLogps(reference, again)];
    assert.equal(other.kl, estimate(logps.map((logp, n) => logp - refLogps[n]!)).mean);
    assert.deepEqual(
      [other.reward, itself.reward],
      [itself.reward, estimate(again.map((sample) => sample.reward)).mean],
    );
    assert.equal(liveTensors(), live);
    for (const model of [policy, reference]) model.dispose();
  },
);

test('estimate: mean and standard error by hand', () => {
  assert.deepEqual(estimate([1, 2, 3, 6]), { mean: 3, standardError: Math.sqrt(14 / 3 / 4) });
});
