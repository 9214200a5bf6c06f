/** What a training command shows of its model's answers: samples.jsonl, and answers before and after. */
import assert from 'node:assert/strict';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';

import { at, commands, greedy, interrupt, lines, metrics, samples, takeStatus, train } from './letterRuns';

for (const name of Object.keys(commands).filter((command) => command !== 'train-reward'))
  test(`${name}: samples before, between and after, greedy, without a change to the training`, async () => {
    const printed = await train(name, `${name}-sampled`, { steps: 5, sampleEvery: 2 });
    await train(name, `${name}-plain`, { steps: 5, sampleEvery: 0 });
    assert.deepEqual(metrics(`${name}-sampled`), metrics(`${name}-plain`), 'the same numbers, to the bit');
    assert.ok(!existsSync(at(`${name}-plain`, 'samples.jsonl')), '0 writes nothing');

    const all = samples(`${name}-sampled`);
    const prompts = ['abc', 'd', 'xyz0']; // the first three of the data
    assert.deepEqual(
      all.map(({ step, prompt }) => [step, prompt]),
      [0, 2, 4, 5].flatMap((step) => prompts.map((prompt) => [step, prompt])),
    );
    for (const [step, model] of [
      [0, at('letters')],
      [5, at(`${name}-sampled`, 'model')],
    ] as const)
      for (const prompt of prompts)
        assert.deepEqual(
          all.find((answer) => answer.step === step && answer.prompt === prompt),
          { step, prompt, ...(await greedy(model, prompt, 5)) },
        );
    assert.match(printed, /^answer after step 2 {2}"abc" -> "/m);
    const [first, last] = [all[0]!, all.at(-3)!];
    assert.ok(printed.endsWith(`prompt  "abc"\nbefore  "${first.response}"\nafter   "${last.response}"\n`), printed);
    const said = (step: number) => all.filter((answer) => answer.step === step).map(({ response }) => response);
    assert.notDeepEqual(said(0), said(5), 'it learned something');
  });

test('samples survive an interruption and a kill: no step twice, none missing', async () => {
  const settings = { steps: 6, sampleEvery: 1, saveEvery: 2, keep: 9 };
  await train('train-dpo', 'whole', settings);
  assert.deepEqual(
    samples('whole').map(({ step, prompt }) => [step, prompt]),
    [0, 1, 2, 3, 4, 5, 6].flatMap((step) => ['abc', 'd', 'xyz0'].map((prompt) => [step, prompt])),
  );
  const stopped = await train('train-dpo', 'resumed', settings, (line) => {
    if (line.startsWith('step 3 ')) interrupt();
  });
  assert.match(stopped, /^interrupted; step 3 is saved/m);
  assert.equal(takeStatus(), 130);
  // The interruption ends the answers after step 3; the same command gives them.
  assert.deepEqual([...new Set(samples('resumed').map(({ step }) => step))], [0, 1, 2]);
  assert.match(
    await train('train-dpo', 'resumed', settings),
    /^going on after step 3 of 6\nanswer after step 3 {2}"abc"/m,
  );
  assert.deepEqual([metrics('resumed'), samples('resumed')], [metrics('whole'), samples('whole')]);

  // As a kill leaves it: the newest checkpoint is older than the newest lines, of which the last is cut off.
  for (const lost of ['model', 'checkpoint-00000003', 'checkpoint-00000004', 'checkpoint-00000006'])
    rmSync(at('resumed', lost), { recursive: true, force: true });
  const kept = samples('resumed').map((line) => (line.step <= 2 ? line : { ...line, response: 'of a lost step' }));
  writeFileSync(at('resumed', 'samples.jsonl'), `${lines(kept)}\n{"step":7,"prom`);
  const again = await train('train-dpo', 'resumed', settings);
  assert.match(again, /^going on after step 2 of 6$/m);
  assert.deepEqual([metrics('resumed'), samples('resumed')], [metrics('whole'), samples('whole')]);
});

test('without sampleEvery there are answers before and after; prompts are those of the settings', async () => {
  writeFileSync(at('ask.jsonl'), '{"prompt":"q"}\n{"prompt":"abc","response":"z"}');
  const asked = { steps: 2, samplePrompts: at('ask.jsonl'), samplePrompt: ['o', 'p'] };
  // An interrupt after the last step stops neither the model from being written nor its answers.
  await train('train-sft', 'asked', asked, (line) => {
    if (line.startsWith('step 2 ')) interrupt();
  });
  assert.deepEqual(
    samples('asked').map(({ step, prompt }) => [step, prompt]),
    [0, 2].flatMap((step) => ['o', 'p', 'q', 'abc'].map((prompt) => [step, prompt])),
  );
  writeFileSync(at('ask2.jsonl'), '{"prompt":"n","response":"z"}');
  await train('train-sft', 'held-out', { steps: 1, validation: at('ask2.jsonl') });
  assert.deepEqual(
    samples('held-out').map(({ prompt }) => prompt),
    ['n', 'n'],
  );
});

test('a plain text has no prompt: it is not sampled, and no metric measures it', async () => {
  const texts = lines(['abcd', 'defg'].map((text) => ({ text })));
  writeFileSync(at('texts.jsonl'), texts);
  const data = { data: at('texts.jsonl'), steps: 1, batchSize: 2 };
  const note = /^note: plain texts have no prompts to answer, so there are no samples; --sample-prompt TEXT gives a/m;
  assert.match(await train('train-sft', 'texts', { ...data, sampleEvery: 1 }), note);
  assert.ok(!existsSync(at('texts', 'samples.jsonl')));
  assert.doesNotMatch(await train('train-sft', 'silent', { ...data, sampleEvery: 0 }), /^note: plain texts/m);

  const prompts = (run: string) => samples(run).map(({ prompt }) => prompt);
  assert.doesNotMatch(await train('train-sft', 'texts-asked', { ...data, samplePrompt: ['o'] }), /^note: plain texts/m);
  assert.deepEqual(prompts('texts-asked'), ['o', 'o']);
  writeFileSync(at('mixed.jsonl'), `${texts}\n${lines([{ prompt: 'hi', response: 'z' }])}`);
  await train('train-sft', 'mixed', { ...data, validation: at('mixed.jsonl') });
  assert.deepEqual(prompts('mixed'), ['hi', 'hi']);

  for (const name of ['texts.jsonl', 'mixed.jsonl'])
    await assert.rejects(
      train('train-sft', 'measured-texts', { ...data, validation: at(name), metrics: 'exactMatch' }),
      { name: 'InputError', message: `${at(name)}: plain texts have no prompts to answer; give rows with prompts` },
    );
  assert.ok(!existsSync(at('measured-texts')));
});
