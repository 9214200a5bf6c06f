/**
 * The notebooks' exercises: their check is run on the cell as it stands, on the solution, and on the wrong answer of
 * notebooks/solutions, all in this process; the types of all answers are checked as the kernel does.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import ts from 'typescript5';
import { exercise, tf } from 'alignbook';

import { notebookNames } from '../scripts/notebooks/execute';
import { printedAndShown, readNotebook, type Notebook } from '../scripts/notebooks/notebook';
import { neededSource } from '../scripts/notebooks/repeats';
import { root } from '../scripts/paths';

const paths = notebookNames().map((name) => join(root, 'notebooks', name));

/** What a check printed. */
function printedBy(t: TestContext, run: () => void): string {
  const log = t.mock.method(console, 'log', () => undefined);
  run();
  log.mock.restore();
  return log.mock.calls.map(({ arguments: [text] }) => String(text)).join('\n');
}

test('an answer passes if it gives what is wanted, in float32, as a tensor or a typed array', (t) => {
  const check = (value: unknown, wanted: unknown) =>
    printedBy(t, () => exercise('f', () => value, [{ args: [], wanted, because: 'it is' }]));
  for (const [value, wanted] of [
    [2, 2],
    [Math.fround(0.1), 0.1],
    [1e6 + 10, 1e6],
    [NaN, NaN],
    [tf.tensor2d([[1, 2]]), [[1, 2]]],
    [new Float32Array([0.5, 1]), [0.5, 1]],
    ['a', 'a'],
    [null, null],
  ] as const)
    assert.equal(check(value, wanted), 'passes');
  for (const [value, wanted, [is, shouldBe]] of [
    [2.001, 2, ['2.001', '2']],
    [1e6 + 1000, 1e6, ['1001000', '1000000']],
    [NaN, 0, ['NaN', '0']],
    [7, -Infinity, ['7', '-Infinity']],
    [[1], [1, 2], ['[1]', '[1, 2]']],
    [[1, 2], [1], ['[1, 2]', '[1]']],
    ['1', 1, ['"1"', '1']],
    [undefined, true, ['undefined', 'true']],
    [tf.tensor1d([1]), 1, ['[1]', '1']],
  ] as const)
    assert.equal(
      check(value, wanted),
      `not yet: f()\n  is         ${is}\n  should be  ${shouldBe}\n  because    it is`,
    );
});

test('an answer that throws is one that is not yet right; the first wrong case is told', (t) => {
  const answer = (x: number) => {
    if (x > 1) throw new RangeError('too far');
    return x;
  };
  const cases = [1, 2, 3].map((x) => ({ args: [x] as [number], wanted: x, because: 'it is x' }));
  assert.equal(
    printedBy(t, () => exercise('f', answer, cases)),
    'not yet: f(2)\n  throws     "too far"\n  should be  2\n  because    it is x',
  );
  const emptied = (list: number[]) => list.splice(0).length;
  assert.match(
    printedBy(t, () => exercise('f', emptied, [{ args: [[1, 2]], wanted: 3, because: '' }])),
    /^not yet: f\(\[1, 2\]\)\n  is         2\n/,
  );
  assert.throws(() => exercise('f', answer, []), /at least one case/);
});

interface Exercise {
  /** As in the heading: "1.2". */
  readonly number: string;
  readonly notebook: string;
  /** What the cells below need of those above. */
  readonly needed: string;
  readonly unsolved: string;
  readonly check: string;
  /** What the notebook shows below the check. */
  readonly shown: string;
  readonly solution: string;
  readonly wrong: string;
  /** What the page says that the check prints for the wrong answer. */
  readonly says: string;
}

/** "Exercise 1.2" of a page of solutions: two answers, and at its end what the check prints for the second. */
function solved(page: string, number: string): Pick<Exercise, 'solution' | 'wrong' | 'says'> {
  const section = page.split(/^## Exercise /m).find((text) => text.startsWith(`${number} · `));
  assert.ok(section, `the solutions have no exercise ${number}`);
  const answers = [...section.matchAll(/^```ts\n([^]*?)^```/gm)].map(([, code]) => code!);
  const [, says] = /^Its check prints:\n\n```text\n([^]*?)\n```/m.exec(section) ?? [];
  assert.ok(answers.length === 2 && says !== undefined, `exercise ${number} needs two answers and what the check says`);
  return { solution: answers[0]!, wrong: answers[1]!, says };
}

function exercisesOf({ name, cells }: Notebook): Exercise[] {
  const code = cells.filter(({ cell_type }) => cell_type === 'code');
  const page = join(root, 'notebooks', 'solutions', name.replace('.ipynb', '.md'));
  return code.flatMap(({ id, source: unsolved }, n) => {
    const [, number] = /^exercise-(\d+-\d)$/.exec(id) ?? [];
    if (number === undefined) return [];
    assert.equal(code[n + 1]?.id, `${id}-check`, `${name}: the check follows exercise ${number}`);
    assert.ok(existsSync(page), `${name} has an exercise and no page of solutions`);
    const [check, shown] = [code[n + 1]!.source, printedAndShown(code[n + 1]!).trimEnd()];
    const above = code.slice(0, n).map(({ source }) => source);
    const answers = solved(readFileSync(page, 'utf8'), number.replace('-', '.'));
    return {
      ...{ number: number.replace('-', '.'), notebook: name, unsolved, check, shown, ...answers },
      needed: neededSource(above, [unsolved, check, answers.solution, answers.wrong]),
    };
  });
}

const NOT_YET = /^not yet: \w+\(.*\)\n  is +.*\n  should be  .*\n  because    .*$/;
const exercises = paths.map(readNotebook).flatMap(exercisesOf);
const program = ({ needed, check }: Exercise, answer: string) => `${needed}\n${answer}\n${check}\n`;
const AsyncFunction = (async () => undefined).constructor as new (
  ...source: string[]
) => (require: NodeRequire, exports: object) => Promise<void>;

const hasExercises = (name: string) => !/^1[23]-/.test(name);

test('each notebook with exercises has two to four, under headings of their numbers', () => {
  for (const notebook of paths.map(readNotebook).filter(({ name }) => hasExercises(name))) {
    const own = exercises.filter((one) => one.notebook === notebook.name);
    assert.ok(own.length >= 2 && own.length <= 4, notebook.name);
    for (const { number } of own)
      assert.ok(
        notebook.cells.some(({ source }) => source.startsWith(`### Exercise ${number} · `)),
        number,
      );
  }
});

for (const one of exercises) {
  test(`exercise ${one.number}: not yet, passes, and not yet for the wrong answer, with what is wrong`, async (t) => {
    const printed = async (answer: string) => {
      const log = t.mock.method(console, 'log', () => undefined);
      const { outputText } = ts.transpileModule(program(one, answer), {
        compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.CommonJS },
      });
      await new AsyncFunction('require', 'exports', outputText)(createRequire(__filename), {});
      log.mock.restore();
      return String(log.mock.calls.at(-1)?.arguments[0]);
    };
    assert.match(one.shown, NOT_YET);
    assert.equal(await printed(one.unsolved), one.shown);
    assert.equal(await printed(one.solution), 'passes');
    const wrong = await printed(one.wrong);
    assert.match(wrong, NOT_YET);
    assert.equal(one.says, wrong);
  });
}

test('all answers have the right types', () => {
  const sources = new Map(
    exercises.flatMap((one) =>
      (['solution', 'wrong'] as const).map((kind) => [
        join(root, 'notebooks', `exercise-${one.number}-${kind}.ts`),
        `export {};\n${program(one, one[kind])}`,
      ]),
    ),
  );
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Node10,
    strict: false,
    skipLibCheck: true,
    noEmit: true,
    types: ['node'],
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.fileExists = (path) => sources.has(path) || fileExists(path);
  host.readFile = (path) => sources.get(path) ?? readFile(path);
  const checked = ts.createProgram([...sources.keys()], options, host);
  const found = ts
    .getPreEmitDiagnostics(checked)
    .map(({ file, messageText }) => `${file?.fileName ?? ''}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`);
  assert.deepEqual(found, []);
});
