/**
 * The stop button, at moments and in loops that Node's own way to end a script does not reach; tests/long/stop.test.ts
 * tries each 20 times.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { kernel, type Reply, type Seen } from './kernel';
import { stoppedAfter } from './stopCells';

const loops: Readonly<Record<string, string>> = {
  'behind an await': "await null;\nconsole.log('busy');\nfor (;;);",
  'in a timer': "setTimeout(() => {\n  console.log('busy');\n  for (;;);\n}, 10);\nawait new Promise(() => undefined);",
  'in a function called by a promise':
    "const spin = () => { console.log('busy'); for (;;); };\nawait Promise.resolve().then(spin);",
  'that catches everything': "await null;\nconsole.log('busy');\nfor (;;) { try { for (;;); } catch {} }",
  'without an await': "console.log('busy');\nfor (;;);",
};

let seen: (Seen & Reply)[];
let alive: boolean;
before(() => {
  const stopped = Object.values(loops).flatMap((code) => [
    { code, interrupt: 'busy', stop_on_error: false },
    { code: 'console.log(kept);' },
  ]);
  ({ cells: seen, alive } = kernel([
    { code: 'const kept = 5;' },
    ...stopped,
    { press: 5 },
    { code: 'console.log(kept + 1);' },
    { code: 'await null; console.log(kept + 2);' },
  ]));
});

for (const [n, name] of Object.keys(loops).entries()) {
  test(`an endless loop ${name} is ended, and the kernel lives`, () => {
    const [cell, next] = [seen[2 * n + 1]!, seen[2 * n + 2]!];
    assert.deepEqual(
      [cell.status, cell.errors.map(({ ename }) => ename), cell.stdout, cell.stderr],
      ['error', ['Interrupted'], 'busy\n', ''],
    );
    assert.deepEqual([next.status, next.stdout, next.stderr], ['ok', '5\n', '']);
  });
}

test('five presses on an idle kernel end nothing, neither it nor its next cells', () => {
  assert.deepEqual(
    seen.slice(-2).map(({ status, stdout }) => [status, stdout]),
    [
      ['ok', '6\n'],
      ['ok', '7\n'],
    ],
  );
  assert.ok(alive);
});

test('pressed 0, 1 and 2 ms after an await', () => {
  for (const milliseconds of [0, 1, 2])
    assert.deepEqual(stoppedAfter(milliseconds, 3), Array(3).fill('Interrupted'), `${milliseconds} ms`);
});
