/** The progress of a training in words, at times that a clock by hand gives; and the table of answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { answerTable, withSamples } from 'alignbook';
import { statusLine, stepLines } from 'alignbook/dist/commands/terminal';
import { stepProgress } from 'alignbook/dist/training/stepProgress';

import { loadEngineModel } from './engineFixtures';
import { letterTokenizer } from './rollouts';

test('the rate is that of the steps made here, from the end of the first on, also after a resume', () => {
  let time = 0;
  const progress = stepProgress(200, () => time);
  const after = (step: number, seconds: number) => {
    time = 1000 * seconds;
    const { head, rate } = progress(step);
    return `${head}  ${rate}`;
  };
  // Steps 101, 102 and 111 of 200 after 60, 62 and 80 s: the first took a minute, then each took 2 s.
  assert.equal(after(101, 60), 'step 101 of 200 [##########          ]  ');
  assert.equal(after(102, 62), 'step 102 of 200 [##########          ]  2.0 s/step  3:16 left'); // 98 steps
  assert.equal(after(111, 80), 'step 111 of 200 [###########         ]  2.0 s/step  2:58 left'); // 89 steps
  // 40 more steps in 5 s: 49 steps in 25 s since the first, and 50 steps left.
  assert.equal(after(150, 85), 'step 150 of 200 [###############     ]  2.0 steps/s  0:26 left'); // 25.5 s
  assert.equal(after(200, 110), 'step 200 of 200 [####################]  2.0 steps/s  0:00 left');
});

test('on a terminal a bar is redrawn; elsewhere there is the first step of this process, and every twentieth', () => {
  const { log } = console;
  const { isTTY } = process.stderr;
  const write = process.stderr.write.bind(process.stderr);
  const seen: string[] = [];
  const rateless = () => seen.splice(0).map((text) => text.replace(/ {2}[\d.]+ steps\/s {2}\d+:\d\d left/, ' RATE'));
  console.log = (text: string) => seen.push(text);
  try {
    process.stderr.isTTY = false;
    const line = stepLines(100, 40);
    for (let step = 41; step <= 51; step += 1) line(step, `loss ${step}`);
    assert.deepEqual(rateless(), [
      'step 41 of 100  loss 41',
      'step 45 of 100  loss 45 RATE',
      'step 50 of 100  loss 50 RATE',
    ]);
    process.stderr.isTTY = true;
    process.stderr.write = (text: string | Uint8Array) => seen.push(String(text)) > 0;
    const redrawn = stepLines(4, 2);
    redrawn(3, 'loss 3');
    redrawn(4, 'loss 4');
  } finally {
    console.log = log;
    process.stderr.isTTY = isTTY;
    process.stderr.write = write;
  }
  assert.deepEqual(rateless(), [
    '\r\x1b[Kstep 3 of 4 [###############     ]  loss 3',
    '\r\x1b[Kstep 4 of 4 [####################] RATE  loss 4',
  ]);
});

test('a status line stays in one row of the terminal, whose width may be unknown', (t) => {
  const { isTTY, columns } = process.stderr;
  const written: string[] = [];
  t.mock.method(process.stderr, 'write', (text: string) => written.push(text) > 0);
  try {
    process.stderr.isTTY = true;
    for (const width of [40, 0]) {
      process.stderr.columns = width;
      statusLine('0123456789'.repeat(10));
    }
  } finally {
    Object.assign(process.stderr, { isTTY, columns });
    t.mock.reset();
  }
  assert.deepEqual(
    written.map((text) => [text.slice(0, 4), text.slice(4).length]),
    [39, 79].map((length) => ['\r\x1b[K', length]),
  );
});

test('withSamples answers after every n-th step, beside the answers before; the table shows the newest', async () => {
  const { model } = await loadEngineModel('a-group');
  const tokenizer = await letterTokenizer(model.config.vocabSize);
  async function* training() {
    for (let step = 1; step <= 5; step += 1) yield await Promise.resolve({ step });
  }
  const inputs = { model, tokenizer, prompts: [[1, 2], [3]], maxNewTokens: 3 };
  const answers = [];
  for await (const { step, samples = [] } of withSamples(training(), { ...inputs, sampleEvery: 2 })) {
    assert.equal(samples.length, step % 2 === 0 ? 2 : 0);
    answers.push(...samples);
  }
  // Nothing is trained here, so an answer is the one before.
  assert.deepEqual(
    answers.map(({ step, prompt, before, response }) => [step, prompt, before === response]),
    [
      [2, 'ab', true],
      [2, 'c', true],
      [4, 'ab', true],
      [4, 'c', true],
    ],
  );
  await assert.rejects(
    withSamples(training(), { ...inputs, sampleEvery: 0 }).next(),
    /^InputError: sampleEvery must be a whole number from 1 up, got 0$/,
  );
  const [answer] = answers;
  const many = Array.from({ length: 14 }, (_, n) => ({ ...answer!, step: n + 1 }));
  const { text, html } = answerTable(many);
  assert.match(text, /^2 earlier steps are not shown\nstep \| prompt \| before \| now\n3 \| "ab" \| /);
  assert.equal(html.match(/<tr>/g)!.length, 13);
  model.dispose();
});
