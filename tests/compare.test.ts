import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { compareText } from '../scripts/notebooks/compare';
import { checkNotebook, readExpected, type Expected } from '../scripts/notebooks/expected';
import type { Cell, Notebook } from '../scripts/notebooks/notebook';

const tolerance = { absolute: 1e-6, relative: 1e-5 };
const equal = (expected: string, got: string) => compareText(expected, got, tolerance).difference === undefined;

const alike: [expected: string, got: string, why: string][] = [
  ['Shape: torch.Size([1, 36])', 'Shape: [1, 36]', 'the notation of shapes'],
  ['torch.Size([])', '[]', 'the shape of a scalar'],
  ['tensor([[21106,   318,\n         16594,   257]])', '[[21106, 318, 16594, 257]]', 'a tensor over several lines'],
  ['tensor([1., -2.])', 'tensor([ 1.0000, -2.0000])', 'PyTorch ends whole floats with a point'],
  ['tensor(3.)', '3', 'a scalar tensor'],
  ['f(tensor([1]), (2))', 'f([1], (2))', 'other parentheses stay'],
  ['loss 0.6931', 'loss 0.69310001', 'a float within the tolerance'],
  ['1.0', '1', 'Python prints 1.0 where JavaScript prints 1'],
  ['0.0', '-0', 'zero of either sign'],
  ['1e-05', '0.00001', 'exponents'],
  ['nan and inf and -inf', 'NaN and Infinity and -Infinity', 'not a number, and infinity'],
  ['It is 36.', 'It is 36.', 'a sentence that ends with a number'],
  ['a\n\n\nb', 'a b', 'white space'],
  ['{above 0.8} and {below 2}, {-1 to 12}', '0.81 and -3, 0', 'numbers within their bounds'],
  ['{above 0.8', '{above 0.8', 'a brace that begins no bounds'],
];
for (const [expected, got, why] of alike) test(`alike: ${why}`, () => assert.ok(equal(expected, got)));

const different: [expected: string, got: string, why: string][] = [
  ['loss 0.6931', 'loss 0.6932', 'a float in its fourth digit'],
  ['9.781366', '9.791366', 'a float in its second digit'],
  ['1e-05', '1e-03', 'an exponent'],
  ['36', '37', 'an integer'],
  ['50256', '50257', "an integer within a float's tolerance"],
  ['36', '36.0', 'an integer written as a float'],
  ['36.', '37.', 'an integer that ends a sentence'],
  ['9007199254740993', '9007199254740992', 'integers past the precision of a double'],
  ['-1.5', '1.5', 'a sign'],
  ['[0, -1]', '[0, 1]', "an integer's sign"],
  ['36-56', '36 -56', 'a dash between two numbers, and a minus'],
  ['nan', '0.5', 'not a number expected'],
  ['0.5', 'NaN', 'not a number got'],
  ['inf', '-Infinity', "infinity's sign"],
  ['None', 'null', 'None stays None'],
  ['True', 'true', "a word's case"],
  ['gpt2', 'gpt3', 'a digit in a word'],
  ['124M', '125M', 'a word that begins with digits'],
  ['2.21.0', '2.21.1', 'a version'],
  ['50,257', '50257', 'a thousands separator'],
  ['1 2', '12', 'white space between numbers'],
  ['[1, 2]', '[1, 2, 3]', 'more than expected'],
  ['[1, 2]\ndone', '[1, 2]', 'less than expected'],
  ['tensor([[1, 2]])', '[1, 2]', 'a dimension'],
  ['(1)', '1', "parentheses that are no tensor's"],
  ['Prompt: a', 'Prompt; a', 'punctuation'],
  ['{above 0.8}', '0.8', 'a number at its bound'],
  ['{below 2}', '2.1', 'a number above its bound'],
  ['{1 to 12}', '13', 'a number outside its bounds'],
  ['{above 0.8}', 'NaN', 'no number within bounds'],
  ['{above 0.8}', 'high', 'a word within bounds'],
];
for (const [expected, got, why] of different) test(`different: ${why}`, () => assert.ok(!equal(expected, got)));

test('a difference is the first one, with the text around it', () => {
  const { numbers, difference } = compareText(
    'Loss: 0.6931, Chosen rewards: 0.0000',
    'Loss: 0.6931, Chosen rewards: 0.5000',
    tolerance,
  );
  assert.equal(numbers, 2);
  assert.equal(difference!.expected, '0.0000   in "Loss: 0.6931, Chosen rewards: 0.0000"');
  assert.equal(difference!.got, '0.5000   in "Loss: 0.6931, Chosen rewards: 0.5000"');
});

const folder = mkdtempSync(join(tmpdir(), 'expected-'));
after(() => rmSync(folder, { recursive: true }));

function written(content: object): string {
  const path = join(folder, '01-a.json');
  writeFileSync(path, JSON.stringify(content));
  return path;
}

const malformed: [object, RegExp][] = [
  [{ notebook: '02-b.ipynb', cells: {} }, /is for "02-b.ipynb"/],
  [{ notebook: '01-a.ipynb', cells: {}, tolerence: {} }, /unknown key "tolerence"/],
  [{ notebook: '01-a.ipynb', cells: { a: { tiney: 'x' } } }, /cell a: unknown key "tiney"/],
  [{ notebook: '01-a.ipynb', cells: { a: {} } }, /cell a: no expected text/],
  [{ notebook: '01-a.ipynb', cells: { a: { any: ' \n' } } }, /cell a: no expected text/],
  [{ notebook: '01-a.ipynb', cells: { a: { any: 'x', tiny: 'y' } } }, /cell a: either "any" or models/],
];
for (const [content, message] of malformed) {
  test(`expected file refused: ${message.source}`, () => assert.throws(() => readExpected(written(content)), message));
}

function notebook(...cells: (Pick<Cell, 'id'> & { prints?: string; marks?: object })[]): Notebook {
  return {
    name: '01-a.ipynb',
    metadata: {},
    nbformat: 4,
    nbformat_minor: 5,
    cells: cells.map(({ id, prints, marks }) => ({
      id,
      cell_type: 'code',
      source: '',
      metadata: marks ? { alignbook: marks } : {},
      outputs: prints === undefined ? [] : [{ output_type: 'stream', name: 'stdout', text: prints }],
    })),
  };
}

const expecting = (cells: Expected['cells'], more: Partial<Expected> = {}): Expected => ({
  notebook: '01-a.ipynb',
  cells,
  ...more,
});
const problems = (book: Notebook, expected: Expected, model = 'tiny') => checkNotebook(book, expected, model).problems;

test('a notebook whose values match', () => {
  const book = notebook(
    { id: 'in-5', prints: 'id: 50256\n', marks: { source: 'In 5' } },
    { id: 'quiet' },
    { id: 'loss', prints: '0.5 and 0.25' },
  );
  const result = checkNotebook(
    book,
    expecting({ 'in-5': { any: 'id: 50256' }, loss: { tiny: '0.5 and 0.25' } }),
    'tiny',
  );
  assert.deepEqual(result, {
    notebook: '01-a.ipynb',
    sources: ['In 5'],
    cellsCompared: 2,
    numbersCompared: 3,
    notCompared: [],
    problems: [],
  });
});

test('a value that differs is reported with notebook, source cell, expected and got', () => {
  const [problem] = problems(
    notebook({ id: 'in-5', prints: 'id: 50255', marks: { source: 'In 5' } }),
    expecting({ 'in-5': { any: 'id: 50256' } }),
  );
  assert.equal(
    problem,
    '01-a.ipynb, In 5 (cell in-5): what it printed differs\n  expected  50256   in "id: 50256"\n  got       ' +
      '50255   in "id: 50255"',
  );
});

test('a cell that prints without an expected text is refused', () => {
  assert.match(
    problems(notebook({ id: 'a', prints: 'x' }), expecting({}))[0]!,
    /cell a: prints, but no text is expected/,
  );
});

test('a cell that should print and does not is refused', () => {
  assert.match(problems(notebook({ id: 'a' }), expecting({ a: { any: 'x' } }))[0]!, /cell a: printed nothing/);
});

test('an expected text for a cell that is gone is refused', () => {
  assert.match(
    problems(notebook(), expecting({ a: { any: 'x' } }))[0]!,
    /cell a: tests\/expected has a text for it, but there is no such cell/,
  );
});

test('an unchecked cell is left alone, but not with an expected text as well', () => {
  const book = notebook({ id: 'a', prints: '3 ms', marks: { unchecked: 'a duration' } });
  assert.deepEqual(problems(book, expecting({})), []);
  assert.match(problems(book, expecting({ a: { any: '3 ms' } }))[0]!, /marked "unchecked"/);
});

test('a model without an expected text is counted as not compared', () => {
  const book = notebook({ id: 'a', prints: '0.5' });
  const result = checkNotebook(book, expecting({ a: { tiny: '0.25' } }), '/some/folder');
  assert.deepEqual([result.problems, result.notCompared, result.cellsCompared], [[], ['a'], 0]);
  assert.equal(problems(book, expecting({ a: { tiny: '0.25' } }), 'tiny').length, 1);
});

test("the cell's tolerance wins over the file's", () => {
  const book = notebook({ id: 'a', prints: '0.52' });
  const wide = { absolute: 0.1, relative: 0 };
  const narrow = { absolute: 0.001, relative: 0 };
  assert.equal(problems(book, expecting({ a: { any: '0.5' } }, { tolerance: wide })).length, 0);
  assert.equal(problems(book, expecting({ a: { any: '0.5', tolerance: narrow } }, { tolerance: wide })).length, 1);
});

test('the published values of gpt2 are held to 1e-4', () => {
  const expected = expecting({ a: { tiny: '1.0', gpt2: '9.781366348266602' } });
  assert.equal(problems(notebook({ id: 'a', prints: '9.78144' }), expected, 'gpt2').length, 0);
  assert.equal(problems(notebook({ id: 'a', prints: '9.78148' }), expected, 'gpt2').length, 1);
});
