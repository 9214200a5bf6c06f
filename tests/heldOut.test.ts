/** Metrics of answers to held-out prompts, beside the training's own reward or loss. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';

import {
  evaluateAnswers,
  exactMatch,
  FileError,
  GPT2,
  InputError,
  regexMatch,
  RewardModel,
  scoreResponses,
  Tokenizer,
  withAnswerMetrics,
  type HeldOutSample,
} from 'alignbook';
import { UsageError } from 'alignbook/dist/commands/commandLine';

import { at, commands, greedy, interrupt, lines, metrics, samples, takeStatus, train } from './letterRuns';

const sample = (text: string, expected?: string[]): HeldOutSample => ({
  prompt: 0,
  promptIds: [1],
  ids: [...text].map(() => 1),
  text,
  ended: true,
  expected,
});

test('exactMatch compares whole answers but for white space around them; regexMatch searches', async () => {
  const all = [sample('yes', ['no', ' yes\n']), sample('yes.', ['yes']), sample('Yes', ['yes']), sample('a', [])];
  assert.deepEqual(await exactMatch(all), [1, 0, 0, 0]);
  assert.deepEqual(await regexMatch('^yes')(all), [1, 1, 0, 0]);
  assert.throws(
    () => regexMatch('('),
    (error) =>
      error instanceof InputError && /^"\(" is not a regular expression \(.*\); write it as in J/.test(error.message),
  );
});

test('the metrics of a run are those of its greedy answers; a row is right if its response is the answer', async () => {
  const prompts = ['n', 'op', 'abc'];
  const answers = await Promise.all(prompts.map((prompt) => greedy(at('letters'), prompt, 4)));
  const held = prompts.map((prompt, n) => ({ prompt, response: n === 1 ? 'zzz' : answers[n]!.response }));
  writeFileSync(at('held.jsonl'), lines(held));
  await train('train-reward', 'judge', { steps: 1 });
  const first = answers[0]!.response[0]!;
  const settings = {
    ...{ steps: 1, lr: 0, maxNewTokens: 4, validation: at('held.jsonl') },
    ...{ metrics: 'exactMatch,length', metricRegex: first, metricRewardModel: at('judge', 'model') },
  };
  const printed = await train('train-sft', 'measured', settings);
  const { validation } = metrics('measured').at(-1)!;

  const judge = await RewardModel.fromPretrained(at('judge', 'model'));
  const tokenizer = await Tokenizer.fromPretrained(at('letters'));
  const scores = scoreResponses(
    judge,
    answers.map(({ response, ended }, n) => ({
      promptIds: tokenizer.encode(prompts[n]!),
      responses: [[...tokenizer.encode(response), ...(ended ? [tokenizer.eosTokenId] : [])]],
    })),
  ).flat();
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const { loss, score, exactMatch: right, length, regexMatch: found } = validation!;
  assert.ok(loss! > 0, "the trainer's own validation is still there");
  assert.ok(Math.abs(score! - mean(scores)) < 1e-5, 'float32 sums in batches of other shapes');
  assert.deepEqual(
    { exactMatch: right, length, regexMatch: found },
    {
      exactMatch: 2 / 3,
      length: mean(answers.map(({ tokens }) => tokens)),
      regexMatch: mean(answers.map(({ response }) => (response.includes(first) ? 1 : 0))),
    },
  );
  assert.match(printed, /^validation before the first step {2}exactMatch 0\.667 {2}length /m);
  assert.match(printed, /^validation after step 1 {2}loss .* {2}exactMatch 0\.667 {2}length /m);
});

/**
 * The reward is the fraction of `a` among a sampled answer's letters, the held-out metric the fraction of other letters
 * in greedy answers. What is paid for is what the metric forbids: a policy that learns it lowers the metric.
 */
const others = "module.exports = (all) => all.map(({ text }) => 1 - [...text].filter((c) => c === 'a').length / 6);";
const drifting = {
  ...{
    steps: 10,
    maxNewTokens: 6,
    groupSize: 8,
    lr: 2e-3,
    beta: 0,
    schedule: 'constant',
    sampleEvery: 0,
    saveEvery: 5,
  },
  ...{ validation: at('held-pairs.jsonl'), validateEvery: 2, metricFunction: at('others.cjs'), bestBy: 'metric' },
};
writeFileSync(at('others.cjs'), others);
writeFileSync(at('held-pairs.jsonl'), lines(['n', 'op', 'zz', 'b'].map((prompt) => ({ prompt }))));
const weights = (run: string) => readFileSync(at(run, 'model', 'model.safetensors'));

test('train-grpo: the reward rises while the held-out metric falls, and the best step is kept', async () => {
  const printed = await train('train-grpo', 'drift', drifting);
  const all = metrics('drift');
  const reward = all.map(({ scores }) => scores!.mean);
  const held = all.flatMap(({ step, validation }) => (validation ? [{ step, metric: validation['metric']! }] : []));
  assert.deepEqual(
    held.map(({ step }) => step),
    [2, 4, 6, 8, 10],
  );
  const best = held.reduce((a, b) => (b.metric > a.metric ? b : a));
  const from = (step: number) => reward[step - 1]!;
  assert.ok(from(10) > from(best.step) + 0.2, `${reward.join()}`);
  assert.ok(held.at(-1)!.metric < best.metric - 0.3, JSON.stringify(held));
  assert.match(
    printed,
    new RegExp(`^validation after step ${best.step} {2}metric ${best.metric.toFixed(3)} .*best`, 'm'),
  );
  assert.match(printed, new RegExp(`^10 steps in .*; the model of step ${best.step}, the best, is in `, 'm'));
  await train('train-grpo', 'to-best', { ...drifting, steps: best.step });
  assert.ok(weights('drift').equals(weights('to-best')), 'the weights are those of the best step');

  // The opposite wish, and an early stop: lower is better, and the metric goes on falling.
  await train('train-grpo', 'lowest', { ...drifting, greaterIsBetter: false });
  assert.ok(!weights('lowest').equals(weights('drift')));
  const stopped = await train('train-grpo', 'patient', { ...drifting, patience: 2 });
  const last = metrics('patient').at(-1)!.step;
  assert.ok(last < 10 && last >= best.step + 4, `${last}`);
  assert.match(stopped, new RegExp(`; the model of step ${best.step}, the best, is in `));
});

test('train-ppo takes held-out prompts, too', async () => {
  const { validation, validateEvery, metricFunction, bestBy } = drifting;
  await train('train-ppo', 'ppo', { steps: 3, lr: 1e-3, validation, validateEvery, metricFunction, bestBy });
  assert.deepEqual(
    metrics('ppo').map((line) => Object.keys(line.validation ?? {})),
    [[], ['metric'], ['metric']],
  );
});

const settings = {
  ...{ steps: 4, sampleEvery: 2, validation: at('pairs.jsonl'), validateEvery: 2, bestBy: 'metric' },
  ...{ metricFunction: at('own.cjs'), saveEvery: 3 },
};
const write = (code: string) => writeFileSync(at('own.cjs'), code);
const lengths = 'module.exports = (all) => all.map(({ ids, expected }) => ids.length + expected.length);';
async function failure(run: string): Promise<string> {
  const error = await train('train-dpo', run, settings).then(
    () => assert.fail('it did not fail'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof FileError, String(error));
  return error.message.replace(at('own.cjs'), 'FILE');
}

test('a metric function that is wrong is named before the first step', async () => {
  for (const [code, message] of [
    ['throw new Error("no judge")', /^FILE: the metric function failed in line 1, on sample 0, ".*": Error: no judge$/],
    ['return all.map(() => NaN)', /^FILE: metric gave NaN for sample 0, ".*"; it must give a finite number$/],
    ['return [1]', /^FILE: metric gave 1 score for 4 samples; it must give one for each$/],
  ] as const) {
    write(`module.exports = (all) => { ${code}; };`);
    assert.match(await failure('wrong'), message);
    assert.equal(readFileSync(at('wrong', 'metrics.jsonl'), 'utf8'), '');
  }
});

test('one that fails in the middle loses no step, and the repaired one completes what it left out', async () => {
  write(lengths);
  await train('train-dpo', 'undisturbed', settings);
  const fails = (call: number, how: string) =>
    write(`let n = 0; const f = ${lengths.slice('module.exports = '.length)}
      module.exports = (all) => { if ((n += 1) >= ${call}) ${how}; return f(all); };`);
  const repaired = async (run: string, saved: number) => {
    write(lengths);
    assert.match(await train('train-dpo', run, settings), new RegExp(`^going on after step ${saved} of 4$`, 'm'));
    assert.deepEqual([metrics(run), samples(run)], [metrics('undisturbed'), samples('undisturbed')]);
    assert.ok(weights(run).equals(weights('undisturbed')));
  };

  // An interrupt while the answers before the first step are measured
  const early = await train('train-dpo', 'early', settings, (line) => {
    if (line.startsWith('validation before')) interrupt();
  });
  assert.match(early, /^interrupted before the first step$/m);
  assert.equal(takeStatus(), 130);
  assert.match(await train('train-dpo', 'early', settings), /^step 1 of 4 /m);
  assert.deepEqual(metrics('early'), metrics('undisturbed'));

  fails(2, 'throw new Error("tired")');
  assert.match(await failure('tired'), /^FILE: step 2: the metric function failed in line \d, on sample 0, .*: tired$/);
  assert.ok(existsSync(at('tired', 'checkpoint-00000002')));
  // Its weights, the best so far, cannot be written at first: the line of the step stays as it is.
  const line = readFileSync(at('tired', 'metrics.jsonl'), 'utf8');
  assert.match(line, /"unmeasured":\{.*\}\n$/);
  write(lengths);
  writeFileSync(at('tired', 'best-00000002'), '');
  await assert.rejects(train('train-dpo', 'tired', settings), /best-00000002 is not a folder; give another name$/);
  assert.equal(readFileSync(at('tired', 'metrics.jsonl'), 'utf8'), line);
  rmSync(at('tired', 'best-00000002'));
  await repaired('tired', 2);

  // It never returns, in the last step, and is interrupted.
  fails(3, 'return new Promise(() => {})');
  const printed = train('train-dpo', 'stuck', settings, (line) => {
    if (line.startsWith('step 3 ')) setTimeout(interrupt, 700);
  });
  assert.match(await printed, /^interrupted; step 4 is saved in /m);
  assert.equal(takeStatus(), 130);
  assert.ok(!existsSync(at('stuck', 'model')));
  await repaired('stuck', 4);
});

test('settings that do not fit are refused before a model is read', async () => {
  const held = { validation: at('pairs.jsonl') };
  const refusals: readonly (readonly [command: string, settings: object, message: RegExp])[] = [
    ['train-sft', { metrics: 'length' }, /^metrics of answers need prompts; give a file of rows as --validation$/],
    ['train-ppo', held, /^a validation here needs a metric of its answers; give metrics, metricRegex, /],
    [
      'train-grpo',
      { ...held, metrics: 'length', patience: 1 },
      /^patience needs bestBy here, since the validation has/,
    ],
    ['train-dpo', { ...held, bestBy: 'score' }, /^bestBy: score is not measured; give metricRewardModel, or another/],
    ['train-dpo', { ...held, bestBy: 'length' }, /^bestBy: length is not measured; give metrics length, or another/],
    [
      'train-grpo',
      { ...held, bestBy: 'loss' },
      /^bestBy must be one of exactMatch, length, regexMatch, score, metric, /,
    ],
    ['train-sft', { metrics: 'bleu' }, /^metrics must be one of exactMatch, length, got "bleu"/],
  ];
  for (const [name, more, message] of refusals)
    await assert.rejects(
      train(name, 'refused', { steps: 1, ...more }),
      (error: Error) => (error instanceof UsageError || error instanceof InputError) && message.test(error.message),
      `${message}`,
    );
  assert.ok(!existsSync(at('refused')));
  assert.ok(commands['train-grpo']);
  await assert.rejects(
    train('train-grpo', 'refused', { ...held, steps: 1, validation: at('held-pairs.jsonl'), metrics: 'exactMatch' }),
    /^InputError: exactMatch: 4 held-out rows of 4 have no response to compare with; give rows with a response, or /,
  );
});

test('in a notebook: withAnswerMetrics adds them to the validation of any training', async () => {
  const model = await GPT2.fromPretrained(at('letters'));
  const tokenizer = await Tokenizer.fromPretrained(at('letters'));
  const rows = [{ promptIds: [1, 2, 3], expected: ['x'] }];
  const inputs = {
    model,
    tokenizer,
    rows,
    metrics: { ids: (all: readonly HeldOutSample[]) => all.map(({ ids }) => ids[0]!) },
  };
  async function* training() {
    yield await Promise.resolve({ step: 1, validation: { loss: 1 } });
    yield { step: 2, validation: { loss: 0.5 } };
    yield { step: 3, validation: { loss: 0.25 } };
  }
  const { ids } = await evaluateAnswers(inputs);
  const events: object[] = [];
  for await (const event of withAnswerMetrics(training(), { ...inputs, validateEvery: 2, steps: 3 }))
    events.push(event);
  assert.deepEqual(events, [
    { step: 1, validation: { loss: 1 } },
    { step: 2, validation: { loss: 0.5, ids } },
    { step: 3, validation: { loss: 0.25, ids } },
  ]);
  await assert.rejects(
    evaluateAnswers({ ...inputs, rows: [], step: 7 }),
    /^InputError: there are no held-out prompts to answer$/,
  );
  await assert.rejects(
    evaluateAnswers({ ...inputs, metrics: { mine: () => [] }, step: 7 }),
    /^InputError: step 7: mine gave 0 scores for 1 sample; it must give one for each$/,
  );
  const signal = AbortSignal.abort(new Error('enough'));
  await assert.rejects(evaluateAnswers({ ...inputs, signal }), /^Error: enough$/);
  model.dispose();
});
