/**
 * Cells that end in every way that we could think of, one after the other in one kernel: it answers each, and the next
 * cell runs.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { kernel } from '../kernel';

/** What is thrown, awaited, or returned. */
const THROWN = [
  'undefined',
  'null',
  '0',
  'NaN',
  '1n',
  "'a text'",
  "''",
  'Symbol("s")',
  '[]',
  '{}',
  '() => 1',
  'new Error()',
  "new Error('x')",
  'new TypeError("x")',
  'new AggregateError([new Error("a"), 1], "many")',
  'new Error("x", { cause: new Error("y") })',
  'Object.create(null)',
  'Object.freeze(new Error("x"))',
  'new Proxy({}, {})',
  'new Map([[1, 2]])',
  'new Date(NaN)',
  'Promise.resolve(1)',
  'globalThis',
  'Object.assign(new Error("x"), { stack: undefined })',
  'Object.assign(new Error("x"), { stack: 5 })',
  'Object.assign(new Error("x"), { name: undefined })',
  'Object.assign(new Error("x"), { name: 7 })',
  'Object.assign(new Error("x"), { message: {} })',
  'Object.defineProperty(new Error("x"), "stack", { get() { throw new Error("stack"); } })',
  'Object.defineProperty(new Error("x"), "message", { get() { throw new Error("message"); } })',
  '({ toString() { throw new Error("s"); } })',
  'new (class Own extends Error { get name() { return "Own"; } })("x")',
  'new Error("line 1\\nline 2")',
  'new Error("\\u001b[31mred")',
  'new Error("x".repeat(100000))',
  'new Error("\\ud800")',
];

const thrown: [name: string, code: string][] = THROWN.flatMap((value): [string, string][] => [
  [`throws ${value}`, `throw ${value};`],
  [`rejects with ${value}`, `await Promise.reject(${value});`],
  [`shows ${value}`, `(${value});`],
]);

const others: [name: string, code: string][] = [
  ['nothing', ''],
  ['a comment', '// nothing'],
  ['white space', ' \n\n '],
  ['an open bracket', 'const a = ('],
  ['an open text', "const a = 'x"],
  ['an open template', 'const a = `x'],
  ['an open comment', '/* x'],
  ['a word that is reserved', 'const class = 1;'],
  ['return outside of a function', 'return 1;'],
  ['break outside of a loop', 'break;'],
  ['a name twice', 'let twice = 1; let twice = 2;'],
  ['a recursion without an end', 'const down = (): number => down() + 1; down();'],
  ['an array too long', 'new Array(-1);'],
  [
    'an error in a timer',
    'setTimeout(() => { throw new Error("timer"); }, 1); await new Promise((done) => setTimeout(done, 50));',
  ],
  [
    'an error in a microtask',
    'queueMicrotask(() => { throw new Error("micro"); }); await new Promise((done) => setTimeout(done, 50));',
  ],
  [
    'an error in an event',
    "const { EventEmitter } = await import('node:events'); new EventEmitter().emit('error', new Error('event'));",
  ],
  [
    'a dispose that throws',
    '{ using held = { [Symbol.dispose]() { throw new Error("dispose"); } }; throw new Error("before"); }',
  ],
  [
    'console.log taken away',
    'const { log } = console; console.log = undefined as never; try { console.log(1); } finally { console.log = log; }',
  ],
  ['stdout closed', 'process.stdout.end("x");'],
  [
    'a global replaced',
    'const { JSON: kept } = globalThis; try { (globalThis as any).JSON = undefined; throw new Error("no JSON"); ' +
      '} finally { globalThis.JSON = kept; }',
  ],
  [
    'Error.prepareStackTrace',
    'const { prepareStackTrace } = Error; Error.prepareStackTrace = () => 5; try { throw new Error("x"); } ' +
      'finally { Error.prepareStackTrace = prepareStackTrace; }',
  ],
  [
    'Error.stackTraceLimit',
    'const limit = Error.stackTraceLimit; Error.stackTraceLimit = 0; try { throw new Error("no stack"); } ' +
      'finally { Error.stackTraceLimit = limit; }',
  ],
  ['a module that is not there', "await import('no-such-package' as string);"],
  ['a getter on a namespace', "import * as all from 'alignbook'; (all as any).tf = 1;"],
  [
    "a name of an object's own",
    'const constructor = 1, hasOwnProperty = 2, __proto__ = 3; console.log(constructor, hasOwnProperty, __proto__);',
  ],
  ['a cell that reads exports', 'console.log(typeof exports, typeof require);'],
];

test('cells', { timeout: 300_000 }, () => {
  const tries = [...thrown, ...others];
  assert.ok(tries.length >= 105, `${tries.length}`);
  const probe = { code: 'console.log("alive");', stop_on_error: false };
  const { cells, alive } = kernel(tries.flatMap(([, code]) => [{ code, stop_on_error: false }, probe]));
  const faults: string[] = [];
  for (const [n, [name, code]] of tries.entries()) {
    const [seen, next] = [cells[2 * n]!, cells[2 * n + 1]!];
    if (!['ok', 'error'].includes(seen.status)) faults.push(`${name}: ${seen.status}`);
    if (next.stdout !== 'alive\n' || next.status !== 'ok')
      faults.push(
        `${name}: the next cell: ${next.status} ${JSON.stringify(next.stdout)} ` +
          `${JSON.stringify(next.errors[0]?.traceback ?? '').slice(0, 300)}`,
      );
    if (/^(throw|await Promise\.reject)/.test(code) && seen.status !== 'error') faults.push(`${name}: passed`);
    if (
      seen.status === 'error' &&
      (seen.errors.length !== 1 ||
        typeof seen.errors[0]!.ename !== 'string' ||
        typeof seen.errors[0]!.evalue !== 'string' ||
        !seen.errors[0]!.traceback.every((line) => typeof line === 'string'))
    )
      faults.push(`${name}: ${JSON.stringify(seen.errors).slice(0, 300)}`);
  }
  console.log(
    `${'cells'.padEnd(12)}${String(tries.length).padStart(5)} tries ${String(faults.length).padStart(4)} faults`,
  );
  assert.deepEqual([faults.join('\n'), alive], ['', true]);
});
