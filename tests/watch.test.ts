/** What a reader sees of a training: here in a plain program, and in a notebook through the real kernel. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { SetupError, show, watch } from 'alignbook';

import { kernel, type Seen } from './kernel';

const printed: string[] = [];
const { log } = console;
before(() => (console.log = (text: string) => printed.push(text)));
after(() => (console.log = log));
const sincePrinted = () => printed.splice(0);

/** Steps that record their end in `ended`. */
async function* training(
  steps: number,
  each: (step: number) => void = () => undefined,
  ended = { times: 0 },
): AsyncGenerator<{ step: number; loss: number }> {
  try {
    for (let step = 1; step <= steps; step += 1) {
      await turn();
      each(step);
      yield { step, loss: 1 / step };
    }
  } finally {
    ended.times += 1;
  }
}

test('in a plain program: every step comes back, and the console has a line now and then', async () => {
  const history = await watch(training(30), {
    steps: 30,
    curves: { loss: ({ loss }) => loss, even: ({ step }) => (step % 2 ? undefined : step) },
  });
  assert.deepEqual(
    history.map(({ step }) => step),
    Array.from({ length: 30 }, (_, n) => n + 1),
  );
  assert.deepEqual(sincePrinted(), ['step 1 of 30 [                    ]  loss 1.0000', '30 of 30 steps']);
  assert.throws(() => show({ data: [] }, 'nothing'), SetupError);
});

test('answers that the steps bring are printed beside the prompt', async () => {
  const answer = { prompt: 'Say hello.', response: 'Hello!', before: 'Hi.', tokens: 3, ended: true };
  async function* answered() {
    for await (const event of training(3))
      yield { ...event, samples: event.step === 2 ? [{ step: 2, ...answer }] : [] };
  }
  const history = await watch(answered(), { steps: 3 });
  assert.equal(history[1]!.samples[0]!.before, 'Hi.');
  assert.deepEqual(sincePrinted(), [
    'step 1 of 3 [######              ]  loss 1.0000',
    'answer after step 2: "Say hello." -> "Hello!"',
    '3 of 3 steps',
  ]);
});

test('an error passes through, after the last line; SIGINT is as it was', async () => {
  const listeners = process.rawListeners('SIGINT');
  const failing = (step: number) => {
    if (step === 3) throw new RangeError('the loss is NaN');
  };
  await assert.rejects(
    watch(training(5, failing), { steps: 5 }),
    (error) => error instanceof RangeError && error.message === 'the loss is NaN',
  );
  assert.equal(sincePrinted().at(-1), 'failed after step 2 of 5');
  assert.deepEqual(process.rawListeners('SIGINT'), listeners);
});

test("SIGINT ends it after the running step; the training's finally has run, and SIGINT is as it was", async () => {
  const others: string[] = [];
  const other = () => others.push('SIGINT');
  process.on('SIGINT', other);
  const listeners = process.rawListeners('SIGINT');
  const ended = { times: 0 };
  const interrupting = (step: number) => {
    for (const _ of step === 4 ? [1, 2] : []) process.kill(process.pid, 'SIGINT'); // an impatient reader's presses
  };
  const history = await watch(training(1000, interrupting, ended), { steps: 1000 });
  assert.equal(history.length, 4);
  assert.equal(ended.times, 1);
  assert.equal(sincePrinted().at(-1), 'interrupted after step 4 of 1000');
  assert.deepEqual(process.rawListeners('SIGINT'), listeners);
  assert.deepEqual(others, []);
  process.off('SIGINT', other);
});

test('an interrupt during the last step changes nothing; nor do no steps at all', async () => {
  await watch(
    training(3, (step) => void (step === 3 && process.kill(process.pid, 'SIGINT'))),
    { steps: 3 },
  );
  assert.equal(sincePrinted().at(-1), '3 of 3 steps');
  assert.deepEqual(await watch(training(0), { steps: 0 }), []);
  assert.deepEqual(sincePrinted(), ['0 of 0 steps']);
});

test('in a notebook: the outputs change in place; an interrupt leaves kernel, variables and the steps so far', () => {
  const cells = [
    {
      code: `import { watch } from 'alignbook';
import { setImmediate as turn } from 'node:timers/promises';
let ended = 0;
async function* training(steps: number) {
  try {
    for (let step = 1; step <= steps; step += 1) {
      await turn();
      for (const end = Date.now() + 60; Date.now() < end; );
      const samples = step % 10 ? undefined : [
        { step: step, prompt: 'Say <b>.', before: 'Hi.', response: 'Hello ' + step, tokens: 2, ended: step === 20 },
      ];
      yield { step: step, loss: 1 / step, rewards: { chosen: step, rejected: -step }, samples: samples };
    }
  } finally {
    ended += 1;
  }
}`,
    },
    {
      code:
        `const whole = await watch(training(20), { steps: 20, curves: { loss: (s) => s.loss, rewards: { chosen: ` +
        `(s) => s.rewards.chosen, rejected: (s) => s.rewards.rejected } } });`,
    },
    { code: `const history = await watch(training(1000), { steps: 1000 });`, interrupt: 'step [5-9] of' },
    { code: `console.log(history.length, ended);` },
    { code: `const again = await watch(training(1000), { steps: 1000 });`, interrupt: 'step [5-9] of' },
    { code: `console.log(again.length, ended, whole.length);` },
    // It prints a line once it waits: between a cell's synchronous part and its waiting, tslab receives no interrupt.
    {
      code:
        `setTimeout(() => console.log('waits'), 300); await new Promise((resolve) => setTimeout(resolve, ` +
        `20000).unref());`,
      interrupt: 'waits',
    },
    { code: `console.log('alive');` },
  ];
  const { cells: seen, alive } = kernel(cells);
  const [definitions, whole, first, firstKept, second, secondKept, own, last] = seen as Seen[] as [
    Seen,
    Seen,
    Seen,
    Seen,
    Seen,
    Seen,
    Seen,
    Seen,
  ];
  for (const cell of [definitions, whole, first, firstKept, second, secondKept, last])
    assert.deepEqual([cell.status, cell.stderr], ['ok', '']);

  assert.deepEqual(
    whole.displays.map((data) => data['text/plain']),
    [
      '20 of 20 steps',
      'Curves of steps 1 to 20: loss; rewards (chosen, rejected).',
      'step | prompt | before | now\n10 | "Say <b>." | Hi. | Hello 10\n20 | "Say <b>." | Hi. | Hello 20 ⏹',
    ],
  );
  assert.deepEqual(
    whole.displays.map((data) => Object.keys(data).sort()),
    [['text/plain'], ['application/vnd.plotly.v1+json', 'image/png', 'text/plain'], ['text/html', 'text/plain']],
  );
  assert.match(whole.displays[2]!['text/html']!, /<td [^>]*>Hello 10<\/td><\/tr>\n<tr>.*&quot;Say &lt;b&gt;\.&quot;/);
  const drawn = (types: string) => whole.drawn.filter((some) => some.join() === types).length;
  assert.ok(drawn('text/plain') >= 5, 'the line changes');
  assert.ok(drawn('image/png,text/plain') >= 1, 'the curves grow');
  assert.equal(drawn('text/html,text/plain'), 2, 'the table grows');
  assert.equal(
    (whole.displays[1]!['application/vnd.plotly.v1+json'] as unknown as { data: { x: number[] }[] }).data[0]!.x.length,
    20,
  );

  const stopped = (cell: Seen) =>
    Number(/^interrupted after step (\d+) of 1000$/.exec(cell.displays[0]!['text/plain']!)![1]);
  assert.ok(stopped(first) >= 5 && stopped(first) <= 12, `it went on to step ${stopped(first)}`);
  assert.equal(firstKept.stdout, `${stopped(first)} 2\n`);
  assert.equal(secondKept.stdout, `${stopped(second)} 3 20\n`);

  assert.equal(own.status, 'error', 'tslab has its interrupt again');
  assert.deepEqual([last.stdout, alive], ['alive\n', true]);
});
