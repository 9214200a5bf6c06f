/** Answers of several models in one table, their differences marked in HTML, in text and in color. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { alpacaPrompt, chatPrompt, compare, comparisonTable, generate, GPT2, Tokenizer } from 'alignbook';
import { textColumns } from 'alignbook/dist/notebook/textColumns';
import { markDifferences } from 'alignbook/dist/text/wordDiff';

const bracketed = (...texts: string[]) =>
  markDifferences(texts).map((parts) => parts.map(({ text, differs }) => (differs ? `[${text}]` : text)).join(''));

test('words that differ are marked, not the white space and punctuation around them', () => {
  assert.deepEqual(bracketed("It is 'simple'.", "It is 'easy', I think."), [
    "It is '[simple]'.",
    "It is '[easy]'[, I think].",
  ]);
  assert.deepEqual(bracketed('a b c', 'a x y c'), ['a [b] c', 'a [x y] c']);
  assert.deepEqual(bracketed('same', 'same'), ['same', 'same']);
  assert.deepEqual(bracketed('', 'new'), ['', '[new]']);
  assert.deepEqual(bracketed('a\n\nb', 'a b'), ['a\n\nb', 'a b']);
  assert.deepEqual(bracketed('one'), ['one']);
  assert.deepEqual(markDifferences([]), []);
  // the first against all others: a word is marked if any of them lacks it
  assert.deepEqual(bracketed('a b c', 'a b', 'b c d'), ['[a] b [c]', 'a b', 'b c [d]']);
  const odd = ['naïve 🎉👩‍🚀 日本語\t x', ' naïve 日本\r\n語'];
  assert.deepEqual(
    markDifferences(odd).map((parts) => parts.map(({ text }) => text).join('')),
    odd,
  );
});

const plain = (text: string) => [{ text, differs: false }];

test('columns of text: at most the width, words whole where they fit, wide characters counted twice', () => {
  const columns = (...texts: string[]) =>
    textColumns(
      texts.map((text, n) => ({ heading: `m${n}`, parts: plain(text) })),
      { width: 43, color: false }, // 20, a separator of 3, 20
    );
  const row = (left: string, right = '') => `${left.padEnd(20)} | ${right}`.trimEnd();
  assert.deepEqual(columns('one two three four five', 'six'), [
    row('m0', 'm1'),
    row('--', '--'),
    row('one two three four', 'six'),
    row('five'),
  ]);
  assert.deepEqual(columns('a\n\n  b', '').slice(2), [row('a'), row(''), row('  b')]);
  assert.deepEqual(columns('abcdefghijklmnopqrstuvwxyz', '日本語'.repeat(4)).slice(2), [
    row('abcdefghijklmnopqrst', '日本語日本語日本語日'),
    row('uvwxyz', '本語'),
  ]);
  assert.deepEqual(columns('日本語', 'right').slice(2), [`日本語${' '.repeat(14)} | right`]);
  // control characters must not move the cursor
  assert.deepEqual(columns('a\x1b[2Jb', 'c\td').slice(2), [row('a\ufffd[2Jb', 'c  d')]);
});

test('differences stand in brackets, or in color that no other column gets', () => {
  const columns = markDifferences(['x one two three four five six y', 'x y']).map((parts, n) => ({
    heading: `m${n}`,
    parts,
  }));
  // in 20 columns, where each bracket takes one
  assert.deepEqual(textColumns(columns, { width: 43, color: false }).slice(2), [
    'x [one two three     | x y',
    'four five six] y     |',
  ]);
  const colored = textColumns(columns, { width: 43, color: true }).slice(2);
  assert.deepEqual(colored, ['x \x1b[1;35mone two three four\x1b[0m | x y', '\x1b[1;35mfive six\x1b[0m y           |']);
  const four = ['a', 'b', 'c', 'd'].map((heading) => ({ heading, parts: plain('text') }));
  assert.deepEqual(textColumns(four, { width: 80, color: false }).slice(0, 5), ['a', '-', 'text', '', 'b']);
});

test('the table has a row for each prompt and a column for each name; nothing in it is taken for HTML', () => {
  const { html, text, answers } = comparisonTable(['Say <b>hi</b>.', 'Why?'], {
    before: ['<i>Hi.', 'So.'],
    after: ['Gladly: hi.', 'So.'],
  });
  assert.equal(html.match(/<tr>/g)!.length, 3);
  assert.equal(html.match(/<td /g)!.length, 9);
  assert.match(html, />Say &lt;b&gt;hi&lt;\/b&gt;\.<\/td>/);
  assert.match(html, /border-radius: 2px">Gladly: hi<\/span>\.<\/td>/);
  assert.doesNotMatch(html, /<b>|<i>|<script|<style|class=/);
  assert.deepEqual(text.split('\n').slice(0, 4), [
    'Say <b>hi</b>.',
    'before                                 | after',
    '------                                 | -----',
    '[<i>Hi].                               | [Gladly: hi].',
  ]);
  assert.deepEqual(answers, { before: ['<i>Hi.', 'So.'], after: ['Gladly: hi.', 'So.'] });
});

test('a table needs prompts, names, and an answer for each', () => {
  assert.throws(() => comparisonTable([], { a: [] }), { name: 'InputError', message: /nothing to compare/ });
  assert.throws(() => comparisonTable(['x'], {}), { name: 'InputError', message: /nothing to compare/ });
  assert.throws(() => comparisonTable(['x'], { a: ['y'], b: [] }), {
    name: 'InputError',
    message: '"b" has 0 answers for 1 prompt; give one for each',
  });
});

test('compare asks each model as generate does: questions, conversations, and texts to continue', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const tiny = await GPT2.fromPretrained('tiny');
  const other = await GPT2.fromPretrained('tiny');
  other.weights.assign('h.3.mlp.c_proj.weight', other.weights.values('h.3.mlp.c_proj.weight').toReversed());
  const talk = [
    { role: 'user', content: "What is a synonym of 'big'?" },
    { role: 'assistant', content: "'large'." },
    { role: 'user', content: 'Say hello.' },
  ] as const;
  const generated = async (model: GPT2, text: string, temperature: number, row: number) => {
    // a row's draws depend on the seed and its index: the same prompts stand before it
    const made = await generate(model, Array<number[]>(row + 1).fill(tokenizer.encode(text)), {
      maxNewTokens: 12,
      temperature,
      seed: 5,
      eosTokenId: tokenizer.eosTokenId,
    });
    return tokenizer.decode(made.at(-1)!.ids.filter((id) => id !== tokenizer.eosTokenId));
  };
  const prompts = ['Say hello.', talk];
  const texts = [alpacaPrompt({ instruction: 'Say hello.' }), chatPrompt(talk)];
  for (const temperature of [0, 1]) {
    const { answers, text } = await compare({ tiny, other }, prompts, {
      tokenizer,
      maxNewTokens: 12,
      temperature,
      seed: 5,
    });
    for (const [name, model] of Object.entries({ tiny, other }))
      for (const [row, prompt] of texts.entries())
        assert.equal(answers[name]![row], await generated(model, prompt, temperature, row), `${name} ${row}`);
    assert.notDeepEqual(answers.tiny, answers.other);
    assert.match(text, /^Say hello\.\ntiny +\| other\n/);
  }
  const raw = await compare({ tiny }, ['Once upon'], { tokenizer, maxNewTokens: 12, instruct: false });
  assert.equal(raw.answers.tiny![0], await generated(tiny, 'Once upon', 0, 0));
});
