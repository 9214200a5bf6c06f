/**
 * The notebooks: the rules for their files, and one execution of those that tests/long/notebooks.test.ts does not run.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { readExpected } from '../scripts/notebooks/expected';
import { readNotebook, type Cell, type Notebook } from '../scripts/notebooks/notebook';
import * as rules from '../scripts/notebooks/rules';
import { root } from '../scripts/paths';
import { isLong, none, paths, testExecution } from './execution';

const notebooks = paths.map(readNotebook);

test('every source cell is mirrored once, in order', () => none(rules.coverage(notebooks)));
test('mirrored cells link their Python twins', () =>
  none(notebooks.flatMap((notebook) => rules.pythonLinks(notebook, root))));
test('repeated cells equal their originals', () => none(rules.repeats(notebooks)));
test('cells are thin', () => none(notebooks.flatMap(rules.thinCells)));
test('plain tslab compiles every cell correctly', () => none(notebooks.flatMap(rules.safeCells)));
test('few names of the library are needed', () => none(rules.fewNames(notebooks)));
test('committed notebooks carry nothing of the run or the machine', () =>
  none(paths.flatMap((path, i) => rules.committed(notebooks[i]!, readFileSync(path, 'utf8'), root))));

testExecution(paths.filter((path) => !isLong(path)));

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

test('a repeating cell that departs from its originals is found', () => {
  const books = copy();
  const repeating = books[2]!.cells.find(({ metadata }) => metadata.tags?.includes('repeats'))!;
  repeating.source = repeating.source.replace(/;$/, ' ;');
  assert.match(rules.repeats(books).join('\n'), /line \d+ differs from the cells it repeats/);
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

test('an output that no fresh run gives is found', () => {
  const books = copy();
  cell(books, 'in-5').outputs[0]!.text = 'id: 1\n';
  assert.match(
    rules.sameOutputs(books[0]!, notebooks[0]!).join('\n'),
    /In 5 \(cell in-5\): the committed output is not a fresh run's/,
  );
});
