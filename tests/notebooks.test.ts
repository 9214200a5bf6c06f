/** The rules for the notebooks' files. tests/long/notebooks.test.ts executes them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { notebookNames } from '../scripts/notebooks/execute';
import { checkNotebook, readExpected } from '../scripts/notebooks/expected';
import { readNotebook, type Cell, type Notebook } from '../scripts/notebooks/notebook';
import { neededSource, repeats } from '../scripts/notebooks/repeats';
import * as rules from '../scripts/notebooks/rules';
import { root } from '../scripts/paths';

const none = (findings: readonly string[]) => assert.equal(findings.join('\n'), '');
const paths = notebookNames().map((name) => join(root, 'notebooks', name));
const notebooks = paths.map(readNotebook);

test('every source cell is mirrored once, in order', () => none(rules.coverage(notebooks)));
test('mirrored cells link their Python twins', () =>
  none(notebooks.flatMap((notebook) => rules.pythonLinks(notebook, root))));
test('repeated cells equal their originals', () => none(repeats(notebooks)));
test('the code is narrow, and takes values with item', () => none(notebooks.flatMap(rules.readableCells)));
test('names of the library lead to their sources', () =>
  none(notebooks.flatMap((notebook) => rules.sourceLinks(notebook, root))));
test('cells are thin', () => none(notebooks.flatMap(rules.thinCells)));
test('plain tslab compiles every cell correctly', () => none(notebooks.flatMap(rules.safeCells)));
test('few names of the library are needed', () => none(rules.fewNames(notebooks)));
test('committed notebooks show what is expected of their cells', () =>
  none(
    notebooks.flatMap((notebook) => {
      const expected = join(root, 'tests', 'expected', notebook.name.replace('.ipynb', '.json'));
      return checkNotebook(notebook, readExpected(expected), 'tiny').problems;
    }),
  ));
test('committed notebooks carry nothing of the run or the machine', () =>
  none(paths.flatMap((path, i) => rules.committed(notebooks[i]!, readFileSync(path, 'utf8'), root))));

// Each rule finds what it is meant to find: here in the real notebooks, changed in one place.

const copy = () => structuredClone(notebooks) as Mutable<Notebook>[];
type Mutable<T> = T extends object ? { -readonly [K in keyof T]: Mutable<T[K]> } : T;
function cell(books: Mutable<Notebook>[], id: string): Mutable<Cell> {
  return books.flatMap(({ cells }) => cells).find((candidate) => candidate.id === id)!;
}

test('coverage finds a missing, a doubled, an unknown and a misplaced source cell', () => {
  const missing = copy();
  delete cell(missing, 'in-7').metadata.alignbook;
  assert.deepEqual(rules.coverage(missing), ['In 7 is mirrored nowhere']);

  const doubled = copy();
  doubled[0]!.cells.push(structuredClone(cell(doubled, 'in-5')));
  assert.match(
    rules.coverage(doubled).join('\n'),
    /In 5 is mirrored more than once: 01-tokenize\.ipynb, 01-tokenize\.ipynb/,
  );

  const unknown = copy();
  cell(unknown, 'in-5').metadata.alignbook!.source = 'In 99';
  assert.match(rules.coverage(unknown).join('\n'), /the source has no cell "In 99"/);

  const swapped = copy();
  const [a, b] = ['in-6', 'in-7'].map((id) => swapped[1]!.cells.findIndex((candidate) => candidate.id === id)) as [
    number,
    number,
  ];
  [swapped[1]!.cells[a], swapped[1]!.cells[b]] = [swapped[1]!.cells[b]!, swapped[1]!.cells[a]!];
  assert.deepEqual(rules.coverage(swapped), ["In 6 comes after In 7, against the source's order"]);

  const moved = copy();
  const in13 = moved[3]!.cells.findIndex((candidate) => candidate.id === 'in-13');
  moved[2]!.cells.push(...moved[3]!.cells.splice(in13, 1));
  assert.deepEqual(rules.coverage(moved), ['03-logprobs.ipynb, cell in-13: In 13 belongs in 04-dpo-loss.ipynb']);
});

test("links to other lines than the twin's are found", () => {
  const books = copy();
  const marks = cell(books, 'in-6').metadata.alignbook!;
  marks.python = marks.python!.replace(/#L\d+/, '#L1');
  assert.match(rules.pythonLinks(books[1]!, root).join('\n'), /In 6 \(cell in-6\): its Python twin is .*, not /);
});

test('a link from a name to a file that does not export it is found', () => {
  const books = copy();
  const text = cell(books, 'gae-text');
  text.source += ' [`gae`](../lib/losses/ppo.ts)';
  assert.match(
    books.flatMap((book) => rules.sourceLinks(book, root)).join('\n'),
    /lib\/losses\/ppo\.ts does not export gae/,
  );
});

test('a repeating cell that departs from its originals is found', () => {
  const books = copy();
  const repeating = books[2]!.cells.find(({ metadata }) => metadata.tags?.includes('repeats'))!;
  repeating.source = repeating.source.replace(/;$/, ' ;');
  assert.match(repeats(books).join('\n'), /line \d+ differs from what it needs of the cells it repeats/);
  delete repeating.metadata.jupyter;
  assert.match(repeats(books).join('\n'), /fold it with metadata\.jupyter\.source_hidden and the tag "hide-input"/);
});

test('a cell that repeats others has what is used below it, and no more', () => {
  const cells = [
    "import { a, b } from 'alignbook';\n\n// Of a\nconst one: T = a(1);\n// Of b\nconst two = b(2);",
    'type T = number;\nconst three = { two: one, one: 3 };\nconst { four } = three;',
  ];
  const needed = (...later: string[]) => neededSource(cells, later);
  assert.equal(needed('console.log(x.two, { one: 1 });'), '');
  assert.equal(
    needed('four;'),
    "import { a } from 'alignbook';\n\n// Of a\nconst one: T = a(1);\n\ntype T = number;\n" +
      'const three = { two: one, one: 3 };\nconst { four } = three;',
  );
  assert.equal(needed('f(two)'), "import { b } from 'alignbook';\n// Of b\nconst two = b(2);");
  assert.equal(needed('const f = () => ({ two });'), needed('f(two)'));
  assert.equal(needed('const f = (one: number) => { const [two] = [one]; return two; };'), '');
  assert.equal(needed('for (const one of []) f(one, two);'), needed('f(two)'));
  assert.equal(needed('f((two: number) => two, two);'), needed('f(two)'));
});

test('long cells, excusing tags and unsafe constructs are found', () => {
  const books = copy();
  const plain = books[0]!.cells.find(({ cell_type, metadata }) => cell_type === 'code' && !metadata.alignbook)!;
  plain.source = 'console.log(1);\n'.repeat(16);
  assert.match(rules.thinCells(books[0]!).join('\n'), /16 lines, at most 15/);
  plain.metadata.tags = ['raises-exception'];
  plain.source = 'const { lr: rate } = config;';
  assert.match(rules.safeCells(books[0]!).join('\n'), /tag "raises-exception".*\n.*line 1: renames or opens "lr"/);
});

test('wide lines and values taken by hand are found', () => {
  const books = copy();
  const source = `${'x'.repeat(91)};\nloss.dataSync()[0];`;
  books[0]!.cells.find(({ cell_type, metadata }) => cell_type === 'code' && !metadata.alignbook)!.source = source;
  assert.deepEqual(books.flatMap(rules.readableCells), [
    '01-tokenize.ipynb, cell tokens, line 1: 92 columns, at most 90',
    '01-tokenize.ipynb, cell tokens: write item(x), not x.dataSync()[0]',
  ]);
});

test('too many names of the library are found, in the walkthrough only', () => {
  const books = copy();
  const source = `import { ${Array.from({ length: 16 }, (_, i) => `name${i}`).join(', ')} } from 'alignbook';`;
  books.find(({ name }) => name.startsWith('07-'))!.cells.find(({ cell_type }) => cell_type === 'code')!.source =
    source;
  assert.deepEqual(rules.fewNames(books), []);
  books[4]!.cells.find(({ cell_type }) => cell_type === 'code')!.source = source;
  assert.match(rules.fewNames(books).join('\n'), /notebooks 01 to 05 import \d+ names/);
});

test('execution counts, machine paths, stderr, errors, big outputs and figures without images are found', () => {
  const books = copy();
  const { outputs } = cell(books, 'in-5');
  outputs.push(
    { output_type: 'stream', name: 'stderr', text: join(root, 'lib') },
    { output_type: 'stream', name: 'stdout', text: 'x'.repeat(300_000) },
    { output_type: 'error' },
  );
  outputs.push({
    output_type: 'display_data',
    data: { 'application/vnd.plotly.v1+json': {}, 'text/plain': 'a figure' },
  });
  const findings = rules.committed(books[0]!, '', root).join('\n');
  for (const finding of [
    /not in the committed form/,
    /30\d KB of output/,
    /holds a path of this machine/,
    /holds stderr/,
    /holds an error/,
    /a figure without its image/,
  ])
    assert.match(findings, finding);
});

test("trained values may differ from a fresh run's within their cell's tolerance, and no more", () => {
  const n = notebooks.findIndex(({ name }) => name === '06-train-dpo.ipynb');
  const expected = readExpected(join(root, 'tests', 'expected', '06-train-dpo.json'));
  const changed = (by: number) => {
    const books = copy();
    const output = cell(books, 'losses').outputs[0]!;
    output.text = output.text!.replace(/0\.5\d+/, (loss) => (Number(loss) + by).toFixed(4));
    return rules.sameOutputs(books[n]!, notebooks[n]!, expected);
  };
  none(changed(0.009));
  assert.match(changed(0.011).join('\n'), /cell losses: the committed output is not a fresh run's/);
});

test('numbers for which bounds are expected may differ from a fresh run within these, and no more', () => {
  const n = notebooks.findIndex(({ name }) => name === '10-train-ppo.ipynb');
  const expected = readExpected(join(root, 'tests', 'expected', '10-train-ppo.json'));
  const changed = (to: string) => {
    const books = copy();
    const output = cell(books, 'phrase').outputs[0]!;
    output.text = output.text!.replace(/^\d+/, to);
    return rules.sameOutputs(books[n]!, notebooks[n]!, expected);
  };
  none(changed('60'));
  assert.match(changed('40').join('\n'), /cell phrase: the committed output is not a fresh run's/);
});

test('an output that no fresh run gives is found', () => {
  const books = copy();
  cell(books, 'in-5').outputs[0]!.text = 'id: 1\n';
  assert.match(
    rules.sameOutputs(books[0]!, notebooks[0]!).join('\n'),
    /In 5 \(cell in-5\): the committed output is not a fresh run's/,
  );
});
