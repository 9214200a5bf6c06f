/**
 * `npx alignbook evaluate` and what it computes, against transformers and TRL in float64 (tests/oracles/evaluate.py).
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  answerKl,
  evaluatePairs,
  exportModel,
  GPT2,
  InputError,
  Random,
  readPairs,
  referenceLogps,
  RewardModel,
  rewardOf,
  SafetensorsFile,
  sampleLogps,
  sequenceKl,
  Tokenizer,
  writeSafetensors,
  type DpoLossOptions,
  type Sample,
} from 'alignbook';

import { root } from '../scripts/paths';

const fixture = <T>(name: string) => JSON.parse(readFileSync(join(root, 'tests', 'fixtures', name), 'utf8')) as T;
interface Rewards {
  chosen: number;
  rejected: number;
  margins: number;
  accuracies: number;
}
const expected = fixture<{
  halved: string;
  logps: Rewards;
  losses: { loss: NonNullable<DpoLossOptions['loss']>; beta: number; value: number; rewards: Rewards }[];
  samples: { prompt: number; promptIds: number[]; ids: number[] }[];
  kl: { temperature: number; ofSamples: number[]; mean: number; standardError: number; perToken: number };
}>('evaluate.json');
const { rows } = fixture<{ rows: object[] }>('logps.json');

const folder = mkdtempSync(join(tmpdir(), 'evaluate-'));
after(() => rmSync(folder, { recursive: true }));
const data = join(folder, 'pairs.jsonl');
writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));

/** `tiny` with one weight halved, as the oracle has it. */
const REFERENCE = join(folder, 'reference');
cpSync(join(root, 'data', 'models', 'tiny'), REFERENCE, { recursive: true });
{
  using file = new SafetensorsFile(join(root, 'data', 'models', 'tiny', 'model.safetensors'));
  const name = [...file.tensors.keys()].find((each) => expected.halved.endsWith(each))!;
  const tensors = [...file.tensors].map(([each, { shape }]) => ({
    name: each,
    shape,
    values: each === name ? file.float32(each).map((x) => x / 2) : file.float32(each),
  }));
  writeSafetensors(join(REFERENCE, 'model.safetensors'), tensors);
}

/**
 * Sums of some ten log-probs in float32 against float64, down to -150: greatest difference seen 7.2e-6; another
 * processor sums in another order: seven times that.
 */
const NEAR = 5e-5;
const near = (actual: number, value: number, what: string) =>
  assert.ok(Math.abs(actual - value) <= NEAR, `${what}: ${actual}, expected ${value}`);
const nearRewards = (actual: Rewards, value: Rewards, what: string) => {
  for (const name of ['chosen', 'rejected', 'margins', 'accuracies'] as const)
    near(actual[name], value[name], `${what} ${name}`);
};
const parts = async () => {
  const [tokenizer, model, reference] = await Promise.all([
    Tokenizer.fromPretrained('tiny'),
    GPT2.fromPretrained('tiny'),
    GPT2.fromPretrained(REFERENCE),
  ]);
  return { tokenizer, model, reference, pairs: await readPairs(data, tokenizer, { maxLength: 256 }) };
};

test(
  "loss, rewards and log-probs of any pairs are TRL's " + "and transformers'; without a reference what needs none",
  async () => {
    const { model, reference, pairs } = await parts();
    const held = referenceLogps(reference, pairs);
    for (const { loss, beta, value, rewards } of expected.losses) {
      const found = evaluatePairs(model, pairs, held, { loss, beta, batchSize: 2 });
      near(found.loss!, value, loss);
      nearRewards(found.rewards!, rewards, loss);
      nearRewards(found.logps, expected.logps, 'logps');
    }
    const alone = evaluatePairs(model, pairs, undefined);
    assert.deepEqual([alone.loss, alone.rewards], [null, null]);
    nearRewards(alone.logps, expected.logps, 'alone');
    assert.equal(typeof evaluatePairs(model, pairs, undefined, { loss: 'simpo' }).loss, 'number'); // which needs none
    assert.throws(() => evaluatePairs(model, [], undefined), InputError);
    assert.throws(() => evaluatePairs(model, pairs, held.slice(1)), InputError);
    for (const each of [model, reference]) each.dispose();
  },
);

test('the KL of given answers is that of float64, with its error over prompts', async () => {
  const { model, reference, tokenizer } = await parts();
  const samples = expected.samples.map((sample): Sample => ({
    ...sample,
    text: tokenizer.decode(sample.ids),
    ended: true,
  }));
  const { temperature, ofSamples, mean, standardError, perToken } = expected.kl;
  const found = answerKl(model, reference, samples, { temperature, batchSize: 3 });
  ofSamples.forEach((value, n) => near(found.ofSamples[n]!, value, `sample ${n}`));
  near(found.mean, mean, 'mean');
  near(found.standardError!, standardError, 'standard error');
  near(found.perToken, perToken, 'per token');
  assert.equal(answerKl(model, reference, samples.slice(0, 2), { temperature }).standardError, null); // one prompt
  for (const each of [model, reference]) each.dispose();
});

/** "a" + "b" is one token, "ab". */
const MERGES =
  /^1 of 5 rows \(line 3 is the first\): prompt and response would have other tokens as one text than apart, .*\n$/;
const alignbook = (...args: string[]) =>
  spawnSync(process.execPath, [join(root, 'lib', 'bin', 'alignbook.js'), ...args], { encoding: 'utf8' });

test(
  'the command: any pairs, with reference and reward ' + 'model; the JSON holds what was sampled and agrees with it',
  async () => {
    const scorer = join(folder, 'scorer');
    const { model, reference, tokenizer, pairs } = await parts();
    const made = RewardModel.begin(model, new Random(1), tokenizer.eosTokenId);
    await exportModel(made, scorer, { source: 'tiny' });
    const output = join(folder, 'report.json');
    const { status, stdout, stderr } = alignbook(
      'evaluate',
      '--model',
      'tiny',
      '--data',
      data,
      '--reference',
      REFERENCE,
      '--reward-model',
      scorer,
      '--beta',
      '0.5',
      '--prompts',
      '3',
      '--samples',
      '2',
      '--temperature',
      '0.7',
      '--max-new-tokens',
      '6',
      '--seed',
      '5',
      '--show',
      '2',
      '--batch-size',
      '3',
      '--output',
      output,
    );
    assert.equal(status, 0);
    assert.match(stderr, MERGES);
    const report = JSON.parse(readFileSync(output, 'utf8')) as {
      pairs: number;
      loss: number;
      rewards: Rewards;
      answers: { model: string; reference: string; prompt: string }[];
      sampled: {
        kl: { mean: number; perToken: number };
        scores: { model: { mean: number }; reference: { mean: number } };
        responses: { pair: number; ids: number[]; text: string; kl: number; score: number }[];
      };
    };
    const value = expected.losses.find(({ loss, beta }) => loss === 'sigmoid' && beta === 0.5)!;
    assert.equal(report.pairs, 5);
    near(report.loss, value.value, 'loss');
    nearRewards(report.rewards, value.rewards, 'rewards');

    const { responses, kl, scores } = report.sampled;
    assert.equal(responses.length, 6);
    assert.ok(responses.every(({ ids }) => ids.length >= 1 && ids.length <= 6));
    const samples = responses.map(({ pair, ids, text }): Sample => ({
      prompt: pair - 1,
      promptIds: pairs[pair - 1]!.promptIds,
      ids,
      text,
      ended: ids.at(-1) === tokenizer.eosTokenId,
    }));
    assert.equal(new Set(samples.map(({ prompt }) => prompt)).size, 3);
    const own = sequenceKl(
      ...([model, reference].map((each) => sampleLogps(each, samples, { temperature: 0.7 })) as [
        Float32Array[],
        Float32Array[],
      ]),
    );
    responses.forEach((response, n) => near(response.kl, own[n]!, `KL of sample ${n}`));
    near(kl.mean, own.reduce((sum, each) => sum + each, 0) / 6, 'mean KL');
    const scored = await rewardOf(made)(samples);
    responses.forEach(({ score }, n) => near(score, scored[n]!, `score of sample ${n}`));
    near(scores.model.mean, scored.reduce((sum, each) => sum + each, 0) / 6, 'mean score');
    assert.equal(report.answers.length, 2);
    assert.deepEqual(
      report.answers.map(({ prompt }) => prompt),
      pairs.slice(0, 2).map(({ promptIds }) => tokenizer.decode(promptIds)),
    );

    const says = (pattern: RegExp) => assert.match(stdout, pattern);
    says(/^5 pairs, tiny against .*reference$/m);
    says(new RegExp(`^ {2}loss \\(sigmoid\\) +${report.loss.toFixed(4)}$`, 'm'));
    says(/^ {2}reward accuracy +20\.0 %$/m);
    says(
      new RegExp(
        `^ {2}KL to the reference +${kl.mean.toFixed(3)} ± [\\d.]+ nats an answer, ${kl.perToken.toFixed(4)} a token$`,
        'm',
      ),
    );
    for (const each of [model, reference]) each.dispose();
  },
);

test('without a reference: log-probs alone, as JSON on the standard output; what does not fit is refused', () => {
  const { status, stdout, stderr } = alignbook(
    'evaluate',
    '--model',
    'tiny',
    '--data',
    data,
    '--prompts',
    '0',
    '--show',
    '0',
    '--json',
  );
  assert.equal(status, 0);
  assert.match(stderr, MERGES);
  const { logps, ...others } = JSON.parse(stdout) as { logps: Rewards };
  nearRewards(logps, expected.logps, 'logps');
  assert.deepEqual(others, {
    model: 'tiny',
    reference: null,
    data,
    pairs: 5,
    lossName: 'sigmoid',
    loss: null,
    rewards: null,
    sampled: null,
    answers: [],
  });

  for (const [code, message, ...args] of [
    [2, /^alignbook: evaluate needs --data; see npx alignbook evaluate --help$/m, '--model', 'tiny'],
    [
      2,
      /^alignbook: --samples must be a whole number from 1 up, got 0; see npx alignbook evaluate --help$/m,
      '--model',
      'tiny',
      '--data',
      data,
      '--samples',
      '0',
    ],
    [
      2,
      /^alignbook: --temperature must be a number above 0, got 0: greedy answers are no samples; see npx alignbook/m,
      '--model',
      'tiny',
      '--data',
      data,
      '--temperature',
      '0',
    ],
    [
      1,
      /^alignbook: temperature must be at least 0\.01, got 0\.001/m,
      '--model',
      'tiny',
      '--data',
      data,
      '--temperature',
      '0.001',
    ],
    [
      1,
      /^alignbook: seed must be a whole number from 0 to 4294967295, got 4294967296/m,
      '--model',
      'tiny',
      '--data',
      data,
      '--seed',
      '4294967296',
    ],
    [
      1,
      /^alignbook: .*nowhere\/x\.json: cannot be written: .*nowhere does not exist; make that folder first$/m,
      '--model',
      'tiny',
      '--data',
      data,
      '--output',
      join(folder, 'nowhere', 'x.json'),
    ],
    [
      1,
      /^alignbook: .*: is a folder; give the name of a file$/m,
      '--model',
      'tiny',
      '--data',
      data,
      '--output',
      folder,
    ],
    [
      1,
      /^alignbook: loss must be one of sigmoid, .*, got "x"/m,
      '--model',
      'tiny',
      '--data',
      data,
      '--loss',
      'x',
      '--output',
      join(folder, 'none.json'),
    ],
  ] as const) {
    const refused = alignbook('evaluate', ...args);
    assert.deepEqual([refused.status, refused.stdout], [code, ''], message.source);
    assert.match(refused.stderr, message);
  }
  assert.ok(!existsSync(join(folder, 'none.json')));
});

test("npm run evaluate judges the project's own questions, and says so of others", () => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, '.alignbook', 'build', 'scripts', 'evaluate.js'), '--model', 'tiny', '--data', data],
    { encoding: 'utf8' },
  );
  assert.deepEqual([status, stdout], [1, '']);
  assert.equal(
    stderr,
    `${data}: line 1: has no "instruction": npm run evaluate judges the questions of data/ alone; for any other ` +
      `pairs: npx alignbook evaluate --model tiny --data ${data}\n`,
  );
});
