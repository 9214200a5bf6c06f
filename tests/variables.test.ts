/**
 * Names that several cells share: each is one variable, as in one script, and it exists however its cell ended.
 *
 * The expected output of each form is what Node prints if the cells are one script, determined by hand; beside it is
 * what unmodified tslab does with them.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';

import { kernel, type Reply, type Seen } from './kernel';
import { plainTslab } from './plainTslab';

interface Form {
  readonly name: string;
  readonly cells: readonly [declares: string, assigns: string];
  /** What the second cell prints. */
  readonly prints: string;
  /** What it prints in unmodified tslab; undefined if it fails there. */
  readonly tslab: string | undefined;
}

const forms: readonly Form[] = [
  {
    name: 'let, arrow function',
    cells: ['let lr = 1; const f = () => lr;', 'lr = 2; console.log(lr, f());'],
    prints: '2 2',
    tslab: '2 1',
  },
  {
    name: 'var, function, ++',
    cells: ['var n = 0; function g() { return n; }', 'n++; console.log(n, g());'],
    prints: '1 1',
    tslab: '1 0',
  },
  {
    name: 'a pattern of an object',
    cells: ['let a = 1; const o = { get: () => a };', '({ a } = { a: 7 }); console.log(a, o.get());'],
    prints: '7 7',
    tslab: '1 1',
  },
  {
    name: 'a pattern of an array',
    cells: ['let b = 1, c = 2; const both = () => [b, c].join();', '[b, c] = [c, b]; console.log(b, c, both());'],
    prints: '2 1 2,1',
    tslab: '2 1 1,2',
  },
  {
    name: "a class's method",
    cells: ['let d = 1; class D { d() { return d; } }', 'd = 2; console.log(d, new D().d());'],
    prints: '2 2',
    tslab: '2 1',
  },
  {
    name: 'a method and a getter of an object',
    cells: [
      'let e = 1; const of = { m() { return e; }, get g() { return e; } };',
      'e = 2; console.log(e, of.m(), of.g);',
    ],
    prints: '2 2 2',
    tslab: '2 1 1',
  },
  {
    name: 'a cast',
    cells: ['let h = 1; const ofH = () => h;', '(h as any) = 2; h! += 1; console.log(h, ofH());'],
    prints: '3 3',
    tslab: '3 1',
  },
  {
    name: 'compound assignments',
    cells: ['let i = 2; const ofI = () => i;', 'i ||= 9; i &&= 8; i ??= 1; i **= 2; console.log(i, ofI());'],
    prints: '64 64',
    tslab: '64 2',
  },
  {
    name: 'the head of for (… of …)',
    cells: ['let j = 0; const ofJ = () => j;', 'for (j of [4, 5]); console.log(j, ofJ());'],
    prints: '5 5',
    tslab: '5 0',
  },
  {
    name: 'the head of for (;;)',
    cells: ['let k = 0; const ofK = () => k;', 'for (k = 0; k < 3; k += 1); console.log(k, ofK());'],
    prints: '3 3',
    tslab: '3 0',
  },
  {
    name: 'top-level await',
    cells: [
      'let l = await Promise.resolve(1); const ofL = async () => l;',
      'l = await Promise.resolve(2); console.log(l, await ofL());',
    ],
    prints: '2 2',
    tslab: '2 1',
  },
  {
    name: "the first cell's function assigns, too",
    cells: ['let p = 3; const inc = () => { p += 1; return p; };', 'inc(); p = 10; console.log(inc(), p);'],
    prints: '11 11',
    tslab: '5 5',
  },
  {
    name: "the second cell's function assigns",
    cells: ['let q = 1; const ofQ = () => q;', 'const set = () => { q = 5; }; set(); console.log(q, ofQ());'],
    prints: '5 5',
    tslab: '5 1',
  },
  {
    name: 'a variable without a value',
    cells: ['let r: number | undefined; const ofR = () => r;', 'r = 4; console.log(r, ofR());'],
    prints: '4 4',
    tslab: '4 undefined',
  },
  {
    name: 'a default parameter',
    cells: ['let s = 1; const ofS = (x = s) => x;', 's = 2; console.log(s, ofS());'],
    prints: '2 2',
    tslab: '2 1',
  },
  {
    name: 'a generator',
    cells: ['let t = 1; function* ofT() { yield t; }', 't = 2; console.log(t, [...ofT()][0]);'],
    prints: '2 2',
    tslab: '2 1',
  },
  {
    name: 'a timer',
    cells: [
      'let u = 0; const timer = setInterval(() => { u += 1; }, 20);',
      'u = 1000; await new Promise((done) => setTimeout(done, 500)); clearInterval(timer); console.log(u > 1002);',
    ],
    prints: 'true',
    tslab: 'false',
  },
  {
    name: 'a new declaration is a new variable',
    cells: ['let v = 1; const ofV = () => v;', 'let v = 2; v = 3; console.log(v, ofV());'],
    prints: '3 1',
    tslab: '3 1',
  },
  {
    name: 'var in a loop',
    cells: ['for (let w = 0; w < 2; w += 1) { var last = w; }', 'last += 1; console.log(last);'],
    prints: '2',
    tslab: undefined,
  },
  {
    name: 'var in other blocks',
    cells: [
      '{ var x = "a", [y] = [1]; } try { var z: number[] = [1]; } finally {}',
      'console.log(x.length + y, z.length);',
    ],
    prints: '2 1',
    tslab: undefined,
  },
];

/** A first cell that does not reach its end, and what a second one then prints. */
const ends: readonly { name: string; first: string; second: string; prints: string; interrupt?: string }[] = [
  {
    name: 'throws',
    first: "const history = [1, 2]; throw new Error('x');",
    second: 'console.log(history.length);',
    prints: '2',
  },
  {
    name: 'throws something else',
    first: "import { basename } from 'node:path'; const kept = basename('/a/b'); throw 1;",
    second: "console.log(kept, basename('/c/d'));",
    prints: 'b d',
  },
  {
    name: 'rejects',
    first: "const one = { a: 1 }; await null; const two = 2; await Promise.reject(new Error('x')); const three = 3;",
    second: 'console.log(one.a + two);',
    prints: '3',
  },
  {
    name: 'a function declared behind the error',
    first: "throw new Error('x'); function behind() { return 5; }",
    second: 'console.log(behind());',
    prints: '5',
  },
  {
    name: 'an earlier value of a name that was not reached',
    first: "const kept: number = (() => { throw new Error('x'); })(); var history = [1];",
    second: 'console.log(kept, history.length);',
    prints: 'b 2',
  },
  {
    name: 'types and classes',
    first:
      'interface Row { id: number } class Rows { rows: Row[] = []; } enum Kind { A, B } const rows = new Rows(); ' +
      "throw new Error('x');",
    second: 'const row: Row = { id: Kind.B }; rows.rows.push(row); console.log(rows instanceof Rows, rows.rows[0].id);',
    prints: 'true 1',
  },
  {
    name: 'a variable that later cells go on assigning',
    first: "let lr = 1; const ofLr = () => lr; throw new Error('x');",
    second: 'lr = 2; console.log(lr, ofLr());',
    prints: '2 2',
  },
  {
    name: 'stopped in a loop',
    first: "const before = 7; console.log('runs'); for (;;);",
    second: 'console.log(before);',
    prints: '7',
    interrupt: 'runs',
  },
  {
    name: 'stopped at an await',
    first:
      "const earlier = 8; setTimeout(() => console.log('waits'), 300); await new Promise((done) => " +
      'setTimeout(done, 20_000).unref());',
    second: 'console.log(earlier);',
    prints: '8',
    interrupt: 'waits',
  },
];

let seen: (Seen & Reply)[];
before(() => {
  const ended = ends.flatMap(({ first, second, interrupt }) => [
    { code: first, stop_on_error: false, ...(interrupt && { interrupt }) },
    { code: second, stop_on_error: false },
  ]);
  const after = { code: 'console.log(typeof three);', stop_on_error: false }; // on the error of the cell before it
  seen = kernel([
    ...forms.flatMap(({ cells }) => cells.map((code) => ({ code, stop_on_error: false }))),
    ...ended,
    after,
  ]).cells;
});

const outcome = ({ status, stdout, stderr, errors }: Seen) => ({
  status,
  stdout,
  stderr,
  errors: errors.map(({ evalue }) => evalue),
});

describe('one variable, whichever cell assigns it', () => {
  for (const [n, { name, cells, prints, tslab }] of forms.entries()) {
    test(name, async () => {
      assert.equal(seen[2 * n]!.status, 'ok', JSON.stringify(seen[2 * n]!.errors));
      assert.deepEqual(outcome(seen[2 * n + 1]!), { status: 'ok', stdout: `${prints}\n`, stderr: '', errors: [] });
      assert.equal(await plainTslab(...cells), tslab, 'tslab as it comes');
    });
  }
});

describe('what a cell came to is there, however it ended', () => {
  for (const [n, { name, prints }] of ends.entries()) {
    test(name, () => {
      const at = 2 * (forms.length + n);
      assert.equal(seen[at]!.status, 'error');
      assert.deepEqual(outcome(seen[at + 1]!), { status: 'ok', stdout: `${prints}\n`, stderr: '', errors: [] });
    });
  }
  test('what it did not come to is not', () => {
    const { status, errors } = seen.at(-1)!;
    assert.deepEqual([status, errors.map(({ evalue }) => evalue)], ['error', ["Cannot find name 'three'."]]);
  });
});
