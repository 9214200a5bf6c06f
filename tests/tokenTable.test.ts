/** Tokens on their colors: the same numbers in the HTML, its tooltips and the text. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { InputError, tokenTable } from 'alignbook';

const change = {
  label: 'chosen',
  tokens: [' it', '\n', 'is', '<b>"', '\t', ' '],
  values: [1.234, -2, -0.001, 0.5, NaN, 4],
};
const backgrounds = (html: string) =>
  [...html.matchAll(/background-color: (rgba\([^)]*\))" title/g)].map(([, colour]) => colour);

test('the text has a line for each row, with two decimals and white space to be seen', () => {
  const { text } = tokenTable([change, { label: 'rejected', tokens: ['no'], values: [-1] }], {
    title: 'change (nats)',
  });
  assert.equal(
    text,
    'change (nats)\nchosen: ·it 1.23 | ↵ -2.00 | is 0.00 | <b>" 0.50 | → NaN | · 4.00\nrejected: no -1.00',
  );
});

test('whole numbers stay whole', () => {
  const { text, html } = tokenTable([{ label: 'mask', tokens: ['a', 'b'], values: [0, 1] }]);
  assert.equal(text, 'mask: a 0 | b 1');
  assert.match(html, />0<\/span>.*>1<\/span>/);
});

test('blue above 0, orange below, as deep as the value is large in the whole table', () => {
  const other = { label: 'rejected', tokens: ['no'], values: [-4] };
  assert.deepEqual(backgrounds(tokenTable([change, other]).html), [
    'rgba(0, 114, 178, 0.185)',
    'rgba(230, 159, 0, 0.300)',
    'rgba(230, 159, 0, 0.000)',
    'rgba(0, 114, 178, 0.075)',
    'rgba(0, 114, 178, 0.000)',
    'rgba(0, 114, 178, 0.600)',
    'rgba(230, 159, 0, 0.600)',
  ]);
  assert.deepEqual(backgrounds(tokenTable([change], { max: 1 }).html).slice(0, 2), [
    'rgba(0, 114, 178, 0.600)',
    'rgba(230, 159, 0, 0.600)',
  ]);
});

test('each token has its number below and its text, as it is, in the tooltip; nothing of it is taken for HTML', () => {
  const { html } = tokenTable([change]);
  assert.match(html, /title="0: &quot; it&quot;, 1\.234">.*>·it<.*>1\.23</);
  assert.match(html, /title="1: &quot;\\n&quot;, -2"/);
  assert.match(html, />&lt;b&gt;&quot;</);
  assert.doesNotMatch(html, /<b>|<script|<style|class=/);
});

test('the scale goes from the smallest to the largest', () => {
  const scale = (values: number[]) =>
    [
      ...tokenTable([{ label: '', tokens: values.map(String), values }])
        .html.split('\n')[0]!
        .matchAll(/>([^<]+)<\/span>/g),
    ]
      .map(([, written]) => written)
      .filter((written) => written !== '&nbsp;');
  assert.deepEqual(scale([-1.5, 3]), ['-3.00', '0.00', '3.00']);
  assert.deepEqual(scale([-1.5, -0.5]), ['-1.50', '0.00']);
  assert.deepEqual(scale([0, 1]), ['0', '1']);
  assert.deepEqual(scale([-1, 1]), ['-1', '0', '1']);
  assert.deepEqual(scale([0, 0]), []);
});

test('a row needs one value for each token', () => {
  assert.throws(
    () => tokenTable([{ label: 'chosen', tokens: ['a', 'b'], values: [1] }]),
    (error) => error instanceof InputError && /row "chosen" has 2 tokens, but 1 value/.test(error.message),
  );
});
