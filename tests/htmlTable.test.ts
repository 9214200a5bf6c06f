/** A tensor's only value, tables of rows, and parts of a text in colors: by hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { InputError, item, table, tf, tokenParts } from 'alignbook';

const refused = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof InputError);
    assert.doesNotMatch(error.message, /\n/);
    return error.message;
  }
  return 'accepted';
};

test('item takes the only value of a tensor of any rank and dtype', () => {
  assert.equal(item(tf.scalar(0.5)), 0.5);
  assert.equal(item(tf.tensor3d([[[-3]]], undefined, 'int32')), -3);
  assert.equal(item(tf.tensor1d([true], 'bool')), 1);
  assert.match(
    refused(() => item(tf.zeros([2, 3]))),
    /has the shape \[2, 3\]; reduce it first/,
  );
  assert.match(
    refused(() => item(tf.zeros([0]))),
    /has the shape \[0\]/,
  );
});

test('a table has the columns of its first row; numbers stand on the right with their decimals', () => {
  assert.equal(table([{ x: -1e-9 }, { x: -0.00005001 }]).text, '      x\n 0.0000\n-0.0001');
  const { html, text } = table([
    { form: 'by <hand>', loss: 0.4374885, steps: 2 },
    { form: 'dpoLoss', loss: -10, steps: 12 },
  ]);
  assert.equal(text, ['form         loss  steps', 'by <hand>  0.4375      2', 'dpoLoss       -10     12'].join('\n'));
  assert.deepEqual(
    [...html.matchAll(/<t[hd] style="[^"]*text-align: (\w+)">([^<]*)</g)].map(
      ([, side, content]) => `${side} ${content}`,
    ),
    [
      ...['left form', 'right loss', 'right steps', 'left by &lt;hand&gt;', 'right 0.4375', 'right 2'],
      ...['left dpoLoss', 'right -10', 'right 12'],
    ],
  );
  assert.equal(table([{ x: 1 / 3 }], { digits: 2 }).text, '   x\n0.33');
  assert.equal(table([{ x: NaN }]).text, '  x\nNaN');
});

test('a table without rows, or with rows of different columns, is refused', () => {
  assert.match(
    refused(() => table([])),
    /at least one row/,
  );
  assert.match(
    refused(() => table([{}])),
    /at least one column/,
  );
  assert.equal(
    refused(() => table([{ a: 1 }, { b: 1 }])),
    'row 1 has the columns b; the first has a',
  );
  assert.equal(
    refused(() => table([{ a: 1, b: 2 }, { a: 1 }])),
    'row 1 has the columns a; the first has a, b',
  );
});

test('tokens have the color of their part, the same in each row and in the legend; the text counts them', () => {
  const { html, text } = tokenParts([
    { label: 'one', tokens: ['Say', ' <hi>', '\n', 'Hi'], parts: ['prompt', 'prompt', 'template', 'answer'] },
    { label: 'two', tokens: ['Yo', 'Say'], parts: ['answer', 'prompt'] },
  ]);
  assert.equal(
    text,
    'one: prompt 2 "Say <hi>" | template 1 "\\n" | answer 1 "Hi"\ntwo: answer 1 "Yo" | prompt 1 "Say"',
  );
  const [prompt, template, answer] = ['#0072B2', '#D55E00', '#009E73'];
  assert.deepEqual(
    [...html.matchAll(/background-color: (#\w{6})59" title="([^"]*)">([^<]*)</g)].map(([, color, tip, shown]) => [
      ...[color, tip, shown],
    ]),
    [
      ...[prompt, template, answer].map((color, n) => {
        const name = ['prompt', 'template', 'answer'][n];
        return [color, name, name];
      }),
      [prompt, '0: prompt', 'Say'],
      [prompt, '1: prompt', '·&lt;hi&gt;'],
      [template, '2: template', '↵'],
      [answer, '3: answer', 'Hi'],
      [answer, '0: answer', 'Yo'],
      [prompt, '1: prompt', 'Say'],
    ],
  );
});

test('parts that are named keep their colors, whether they appear or not', () => {
  const { html } = tokenParts([{ label: 'x', tokens: ['a'], parts: ['end'] }], { parts: ['answer', 'end'] });
  assert.deepEqual(
    [...html.matchAll(/background-color: (#\w{6})59" title="([^"]*)"/g)].map(([, color, tip]) => `${color} ${tip}`),
    ['#D55E00 end', '#D55E00 0: end'],
  );
});

test('a row without a part for each token, and more parts than colors, are refused', () => {
  const row = (...parts: string[]) => [{ label: 'x', tokens: parts.map(() => 'a'), parts }];
  assert.equal(
    refused(() => tokenParts([{ label: 'x', tokens: ['a', 'b'], parts: ['p'] }])),
    'row "x" has 2 tokens, but 1 part',
  );
  assert.match(
    refused(() => tokenParts(row('1', '2', '3', '4', '5', '6', '7'))),
    /6 parts, not for 7: 1, 2, 3/,
  );
  assert.equal(
    refused(() => tokenParts(row('1', '2', '3', '4', '5', '6'))),
    'accepted',
  );
});
