/**
 * The collection's kernel, asked through Jupyter's own client; what plain tslab makes of the same cells is in
 * lint.test.ts.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, test } from 'node:test';

import { repair } from '../scripts/kernel/repair';
import { committedMetadata } from '../scripts/notebooks/notebook';
import { root } from '../scripts/paths';
import { kernel, type Reply, type Seen } from './kernel';
import { matching } from './matching';

const request = (type: string, content: object) => ({ request: `${type}_request`, content });

const earlier = `
import { basename } from 'node:path';
const config = { lr: 3, adam: { beta: 0.9 } };
const configs = [config];
let total = 0;
const one = async () => 1;
async function* ones() { yield 1; }`;

/** A cell, and what it prints; all of them are miscompiled by plain tslab after `earlier`. */
const mended: [code: string, prints: string][] = [
  ['console.log(JSON.stringify({ total }));', '{"total":0}'],
  ['const f = () => ({ total });\nconsole.log(f().total);', '0'],
  ['console.log({ basename }.basename("/a/b"));', 'b'],
  ['({ total } = { total: 5 });\nconsole.log(total);', '5'],
  ['({ total = 7 } = {} as { total?: number });\nconsole.log(total);', '7'],
  ['({ lr: total } = config);\nconsole.log(total);', '3'],
  ['[{ lr: total }] = [{ lr: 8 }];\nconsole.log(total);', '8'],
  ['for ({ lr: total } of configs) console.log(total);', '3'],
  ['const { lr: rate } = config;\nconsole.log(rate);', '3'],
  ['const { adam: { beta } } = config;\nconsole.log(beta);', '0.9'],
  ['for (const { lr: rate } of configs) console.log(rate);', '3'],
  ['await (one());\nconsole.log("done");', 'done'],
  ['await (async () => console.log("done"))();', 'done'],
  ['for await (const x of ones()) console.log(x + 1);', '2'],
  ['const [first] = await [1];\nconsole.log(first);', '1'],
  ['console.log(`${await `a`}`);', 'a'],
  ['console.log({ [await (Promise.resolve("k"))]() { return 1; } }.k());', '1'],
  ['export const six = 6;\nconsole.log(six);', '6'],
  ['export interface Six { six: 6 }\nexport default function seven() { return 7; }\nconsole.log(seven());', '7'],
  ['const eight = 8;\nexport { eight };\nexport default eight;\nconsole.log(eight);', '8'],
];

test('cells that plain tslab miscompiles', () => {
  const {
    cells: [start, ...cells],
  } = kernel([{ code: earlier }, ...mended.map(([code]) => ({ code }))]);
  assert.equal(start!.status, 'ok');
  cells.forEach(({ status, stdout, stderr, errors }, n) =>
    assert.deepEqual(
      { status, stdout, stderr, errors },
      { status: 'ok', stdout: `${mended[n]![1]}\n`, stderr: '', errors: [] },
      mended[n]![0],
    ),
  );
});

test(
  'a flood is cut, and says so; the callback of a write is ' +
    'called; half a surrogate pair does not leave the kernel',
  () => {
    const { cells, alive: still } = kernel([
      { code: "void process.stdout.write('x'.repeat(50_000_000));" },
      { code: 'for (let n = 0; n < 1_000_000; n += 1) console.log(n);' },
      { code: "console.log('busy'); for (;;) console.log('more');", interrupt: 'busy', stop_on_error: false },
      { code: "await new Promise<void>((done) => process.stdout.write('written', () => done()));" },
      { code: "console.log('a\\ud83d.'); throw new Error('b\\ude00');", stop_on_error: false },
      {
        code: 'process.stdout.write(Buffer.from([0xf0, 0x9f])); void process.stdout.write(Buffer.from([0x98, 0x80]));',
      },
    ] as object[]);
    const [long, lines, endless, written, lone, parts] = cells as unknown as [Seen, Seen, Seen, Seen, Seen, Seen];
    const cut = (left: number) =>
      `\n… ${left} more characters of the cell were left out: its output is cut after 4000000 characters, or 50000 ` +
      'writes; write much to a file\n';
    assert.equal(
      long.stdout.replace(/x+/, (text) => `${text.length}`),
      `4000000${cut(46_000_000)}`,
    );
    const all = Array.from({ length: 1_000_000 }, (_, n) => `${n}\n`);
    assert.equal(
      lines.stdout.slice(-300),
      (all.slice(0, 50_000).join('') + cut(all.slice(50_000).join('').length)).slice(-300),
    );
    assert.equal(lines.stdout.split('\n').length, 50_003);
    assert.deepEqual([endless.status, endless.errors[0]?.ename], ['error', 'Interrupted']);
    assert.equal(written.stdout, 'written');
    assert.deepEqual([lone.stdout, lone.errors[0]?.evalue], ['a\ufffd.\n', 'b\ufffd']);
    assert.deepEqual([parts.stdout, still], ['😀', true]);
  },
);

test("cells are of the library's language: TypeScript 5.9 and ES2023", () => {
  // What they print is what Node prints of the same lines; tslab as it comes has TypeScript 5.0 and ES2022.
  const cells: [code: string, prints: string][] = [
    [
      'console.log([3, 1, 2].toSorted(), [1, 2, 3].with(1, 9), [1, 2, 3].findLast((x) => x < 3), [1, 2].toReversed());',
      '[ 1, 2, 3 ] [ 1, 9, 3 ] 2 [ 2, 1 ]',
    ],
    [
      "const made = { [Symbol.dispose]() { console.log('freed'); } }; { using held = made; console.log(held === " +
        'made); }',
      'true\nfreed',
    ],
    [
      "const later = { async [Symbol.asyncDispose]() { console.log('freed later'); } }; { await using held = " +
        "later; console.log('used'); } console.log('end');",
      'used\nfreed later\nend',
    ],
    [
      'const f = <const T,>(x: T) => x; const point = f({ a: 1 }) satisfies { readonly a: 1 }; console.log(point.a);',
      '1',
    ],
    [
      "const isText = (x: unknown) => typeof x === 'string'; console.log(['a', 1].filter(isText).map((text) => " +
        'text.length));',
      '[ 1 ]',
    ], // inferred type predicates: 5.5
  ];
  const seen = kernel(cells.map(([code]) => ({ code }))).cells;
  seen.forEach(({ stdout, errors }, n) => assert.deepEqual([stdout, errors], [`${cells[n]![1]}\n`, []], cells[n]![0]));
});

test("the value of a cell's last line is its result, with the cell's number; nothing is no result", () => {
  const { cells } = kernel([
    { code: "import { tf } from 'alignbook';\nconst x = tf.tensor1d([1, 2]);\nx" },
    { code: "'a text'" },
    { code: 'console.log(1); undefined' },
    { code: 'const y = 2;' },
    {
      code: "({ toString: 1, [Symbol.for('nodejs.util.inspect.custom')]() { throw new Error('cannot be shown'); } })",
      stop_on_error: false,
    },
    { code: 'x.dispose(); 7', silent: true },
  ] as object[]);
  const plain = (text: string) => ({ 'text/plain': text });
  assert.deepEqual(
    cells.map(({ result }) => result),
    [[1, plain('Tensor float32 [2]\n[1, 2]')], [2, plain("'a text'")], null, null, null, null],
  );
  assert.deepEqual([cells[2]!.stdout, cells[4]!.errors[0]?.evalue], ['1\n', 'cannot be shown']);
});

test(
  "an earlier cell's function is called by itself, and " + "named as it was written; decorators are the standard's",
  () => {
    const cells: [code: string, prints: string][] = [
      [
        'class Counter { count = 1; get() { return this?.count; } }\nconst get = new Counter().get, self = ' +
          'function (this: unknown) { return this; }, tag = (parts: TemplateStringsArray, ...values: unknown[]) => ' +
          'parts.join("|") + values.length; let count = 99, notFn: any = 3, maybe: any;',
        '',
      ],
      [
        'console.log(get(), (self as any)() === globalThis, tag`a${1}b`, get.call({ count: 7 } as never), ' +
          'self?.call(5) == 5);',
        'undefined true a|b1 7 true\n',
      ],
      ['try { notFn(); } catch (error) { console.log(error instanceof TypeError); }', 'true\n'],
      [
        'function twice(method: any, context: ClassMethodDecoratorContext) { return function (this: unknown, ' +
          '...given: unknown[]) { return 2 * method.apply(this, given); }; }\nclass D { @twice m(x: number) { return ' +
          'x + 1; } }\nconsole.log(new D().m(1));',
        '4\n',
      ],
      ['export default function () { return 1; }', ''],
      ['export default class {}\nconsole.log(count);', '99\n'],
    ];
    const failing = [
      'const first = tag`x`; notFn(first);',
      'new notFn()',
      '[...maybe]',
      'const { q } = maybe;',
      '() => 1',
    ];
    const seen = kernel(
      [...cells.map(([code]) => code), ...failing].map((code) => ({ code, stop_on_error: false })),
    ).cells;
    cells.forEach(([code, prints], n) => assert.deepEqual([seen[n]!.stdout, seen[n]!.errors], [prints, []], code));
    const [call, made, spread, opened, nameless] = seen.slice(cells.length);
    assert.deepEqual(
      [call, made, spread, opened].map((cell) => cell!.errors[0]?.evalue),
      [
        'notFn is not a function',
        'notFn is not a constructor',
        'maybe is not iterable',
        "Cannot destructure property 'q' of 'maybe' as it is undefined.",
      ],
    );
    assert.match(call!.errors[0]!.traceback.at(-1)!, /at In \[7\]:1:23$/);
    assert.deepEqual(nameless!.result, [11, { 'text/plain': '[Function (anonymous)]' }]);
  },
);

test("a stack is long enough for the reader's own line; a model that was disposed of says so", () => {
  const { cells } = kernel([
    {
      code:
        "import { GPT2, tf } from 'alignbook';\nfunction down(n: number): number { if (n === 0) throw new " +
        "Error('deep'); return down(n - 1); }\nconst model = await GPT2.fromPretrained('tiny'); model.dispose();",
    },
    { code: '[1].forEach(() => down(15));', stop_on_error: false },
    { code: "model.forward(tf.tensor2d([[1]], [1, 1], 'int32'));", stop_on_error: false },
  ] as object[]);
  assert.match(cells[1]!.errors[0]!.traceback.join('\n'), /at In \[2\]:1:5$/);
  assert.match(cells[2]!.errors[0]!.evalue, /^a model, or a part of it, is used after it was disposed of/);
  assert.match(cells[2]!.errors[0]!.traceback.join('\n'), /at In \[3\]:1:/);
});

test('show without its sentence says that it is missing', () => {
  const [shown] = kernel([{ code: "import { show } from 'alignbook';\nshow({ data: [{ y: [1, 2, 3] }] });" }]).cells;
  assert.equal(
    shown!.errors[0]?.evalue,
    "show's second argument is missing: a sentence that says what the figure shows, for whoever does not see it, " +
      "as in show(figure, 'The loss falls.')",
  );
});

test('names of cells that were not run, and packages that are not there: one line says what to do', () => {
  const { cells } = kernel([
    { code: "import { x } from 'left-padding';\nconsole.log(policy, tokenizer, policy);" },
  ] as object[]);
  const traceback = cells[0]!.errors[0]!.traceback;
  assert.deepEqual(traceback.slice(-2), [
    'No cell that has run declares policy, tokenizer: run the cells that do first.',
    "To install what is missing, for all notebooks: npm install left-padding, in the project's folder; then " +
      'restart the kernel.',
  ]);
});

test('a cell that prints 20,000 lines at once: all are seen, in order', () => {
  const {
    cells: [many, next],
  } = kernel([{ code: 'for (let i = 0; i < 20000; i += 1) console.log(i);' }, { code: 'console.log("next");' }]);
  assert.equal(many!.stdout, Array.from({ length: 20_000 }, (_, n) => `${n}\n`).join(''));
  assert.deepEqual([many!.stderr, next!.stdout], ['', 'next\n']);
});

test('no request is taken up before all sockets are open', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sockets-'));
  const early = join(folder, 'early');
  writeFileSync(
    join(folder, 'slow.cjs'),
    `
    const { Publisher } = require(${JSON.stringify(require.resolve('zeromq'))});
    const { bind, send } = Publisher.prototype;
    let open = false;
    // the binding's are not writable
    const instead = (name, value) => Object.defineProperty(Publisher.prototype, name, { value });
    instead('bind', async function (...to) {
      await new Promise((resolve) => setTimeout(resolve, 1000)); // the others are open by then, and the client asks
      await bind.apply(this, to);
      open = true;
    });
    instead('send', function (...frames) {
      if (!open) require('node:fs').writeFileSync(${JSON.stringify(early)}, '');
      return send.apply(this, frames);
    });`,
  );
  const { cells } = kernel(
    [{ code: 'console.log(1);' }],
    '--env',
    `NODE_OPTIONS=--require=${join(folder, 'slow.cjs')}`,
  );
  assert.deepEqual([cells[0]!.stdout, existsSync(early)], ['1\n', false]);
  rmSync(folder, { recursive: true });
});

test('a repaired cell keeps its lines, and knows where each place was', () => {
  const written = 'const a = { total, lr: 1 };\nexport const { lr: rate } = a, b = await (one({ rate }));';
  const { source, awaits, original } = repair(written);
  assert.equal(
    source,
    'const a = { total: total, lr: 1 };\n       const { "lr": rate } = a, b = await (one({ rate: rate }));',
  );
  assert.equal(awaits, true);
  for (const [line, text] of [
    [0, 'lr'],
    [0, '1'],
    [1, 'rate'],
    [1, '= a'],
    [1, 'one'],
    [1, '));'],
  ] as const) {
    const column = (all: string) => all.split('\n')[line]!.indexOf(text);
    assert.deepEqual(original(line, column(source)), { line, column: column(written) }, text);
  }
  assert.equal(repair('const f = async () => await 1;').awaits, false);
});

let seen: (Seen & Reply)[];
let alive: boolean;
const requests = {
  thrower: { code: 'function thrower(x: any) {\n\n  return x.foo.bar;\n}\nlet { a, b } = { a: 1, b: 2 };' },
  throws: { code: 'const before = { a, b }; thrower({ before });' },
  awaited: { code: 'await null;\nawait thrower({ a });' },
  wrong: { code: 'const s: string = { a, b }.a, t: number = 1,\n  u: boolean = 3;' },
  syntax: { code: 'let q = ;' },
  number: { code: 'throw 3' },
  cause: { code: "throw new RangeError('outer', { cause: new Error('inner') });" },
  library: { code: "import { GPT2 } from 'alignbook';\nawait GPT2.fromPretrained('./nowhere');" },
  rejected: { code: "void Promise.reject(new Error('left alone'));\nconsole.log('goes on');" },
  fine: { code: 'console.log(a);' },
  during: {
    code:
      "setTimeout(() => { throw new Error('timely'); }, 20); await new Promise((done) => setTimeout(done, 200)); " +
      "console.log('goes on');",
  },
  timer: { code: "void setTimeout(() => { throw new Error('late'); }, 100);" },
  pause: { pause: 0.5 },
  refused: { code: "console.log('not run');" },
  after: { code: "console.log('reached');" },
  together: [{ code: 'a = 10; throw new Error("stop");' }, { code: 'a = 11;' }, { code: 'a = 12;' }],
  kept: { code: 'console.log(a);' },
  tolerant: [{ code: 'throw new Error("go on");', stop_on_error: false }, { code: 'console.log("went on");' }],
  silent: { code: 'console.log("nobody hears this"); a = 20;', silent: true },
  heard: { code: 'console.log(a);' },
  sync: { code: "setTimeout(() => undefined, 0); console.log('busy'); for (;;);", interrupt: 'busy' },
  handler: {
    code:
      "process.on('SIGINT', () => console.log('own handler')); setTimeout(() => console.log('listens'), 300); " +
      'await new Promise((resolve) => setTimeout(resolve, 20000).unref());',
    interrupt: 'listens',
  },
  waits: {
    code:
      "setTimeout(() => console.log('waits'), 300); await new Promise((resolve) => setTimeout(resolve, " +
      '20000).unref());',
    interrupt: 'waits',
  },
  loop: { code: "console.log('busy'); for (;;);", interrupt: 'busy' },
  alive: { code: "process.removeAllListeners('SIGINT'); console.log('alive');" },
  info: request('kernel_info', {}),
  comm: request('comm_info', { target_name: 'jupyter.widget' }),
  history: request('history', { output: false, raw: true, hist_access_type: 'tail', n: 5 }),
  complete: request('complete', {
    code: "import { trainDpo } from 'alignbook';\nconst smile = '😀'; trainD",
    cursor_pos: 63,
  }),
  braces: request('complete', { code: "import { GPT2, trainDp } from 'alignbook';", cursor_pos: 22 }),
  signature: request('inspect', {
    code: "import { trainDpo } from 'alignbook';\nconst x = trainDpo(",
    cursor_pos: 58,
    detail_level: 0,
  }),
  second: request('inspect', { code: 'thrower(a, ', cursor_pos: 11, detail_level: 0 }),
  outside: request('inspect', { code: '1 + ', cursor_pos: 4, detail_level: 0 }),
  inspect: request('inspect', { code: "'😀😀😀😀😀😀'; thrower(a)", cursor_pos: 11, detail_level: 0 }),
  ...Object.fromEntries(
    ['1 + 1', 'const f = () => {', 'const = 3;'].map((code, n) => [`complete${n}`, request('is_complete', { code })]),
  ),
};

before(() => {
  ({ cells: seen, alive } = kernel(Object.values(requests)));
});

/** A cell that was sent with others has a number. */
function of(name: keyof typeof requests, among = 0): Seen & Reply {
  const at = Object.entries(requests)
    .slice(0, Object.keys(requests).indexOf(name))
    .reduce((sum, [, sent]) => sum + (Array.isArray(sent) ? sent.length : 'pause' in sent ? 0 : 1), 0);
  return seen[at + among]!;
}
/** Without colours. */
const traceback = (name: keyof typeof requests, among = 0) =>
  of(name, among)
    .errors.map((error) => error.traceback.join('\n').replace(/\x1b\[\d+m/g, ''))
    .join('\n');

test('messages of a cell, in order, and its number', () => {
  assert.deepEqual(of('thrower').kinds, ['busy', 'execute_input', 'idle']);
  assert.deepEqual(of('throws').kinds, ['busy', 'execute_input', 'error', 'idle']);
  assert.deepEqual([of('thrower').count, of('throws').count, of('number').count], [1, 2, 6]);
});

test('a traceback has the lines as they were written, and none of the kernel', () => {
  const { ename, evalue } = of('throws').errors[0]!;
  assert.deepEqual(
    [of('throws').status, ename, evalue],
    ['error', 'TypeError', "Cannot read properties of undefined (reading 'bar')"],
  );
  assert.equal(
    traceback('throws'),
    `TypeError: Cannot read properties of undefined (reading 'bar')

  2 | 
> 3 |   return x.foo.bar;
    |                ^
  4 | }

    at thrower (In [1]:3:16)
    at In [2]:1:26`.replace('  2 | \n', '  2 |\n'),
  );
  assert.match(traceback('awaited'), /at thrower \(In \[1\]:3:16\)\n    at In \[3\]:2:7$/);
  assert.match(traceback('cause'), /^RangeError: outer\n[^]*\[cause\]: Error: inner/);
  assert.doesNotMatch(traceback('cause'), /node:|tslab/);
  assert.match(
    traceback('library'),
    matching(
      /InputError: .* is not there; give a model folder[^]*> 2 \| await GPT2[^]*at .*/,
      / \(lib\/model\/gpt2\.ts:\d+:\d+\)\n    at In \[8\]:2:12$/,
    ),
  );
  assert.deepEqual([of('number').errors[0]!.ename, of('number').errors[0]!.evalue], ['Thrown', '3']);
});

test('what does not compile is told where it was written', () => {
  const { ename, evalue } = of('wrong').errors[0]!;
  assert.deepEqual([ename, evalue], ['CompileError', "Type 'number' is not assignable to type 'string'."]);
  assert.match(
    traceback('wrong'),
    matching(
      /^In \[4\]:1:7 - Type 'number'[^]*\n    \|       \^\n[^]*In \[4\]:2:3 - Type 'number' is not/,
      / assignable to type 'boolean'/,
    ),
  );
  assert.match(traceback('syntax'), /^In \[5\]:1:9 - Expression expected\./);
});

test('what nobody handles is shown, and fails its cell or the next one', () => {
  assert.deepEqual([of('rejected').status, of('rejected').stdout], ['error', 'goes on\n']);
  assert.match(traceback('rejected'), /^Error: left alone/);
  assert.equal(of('fine').status, 'ok');
  assert.deepEqual([of('during').status, of('during').stdout], ['error', 'goes on\n']);
  assert.match(traceback('during'), /^Error: timely[^]*In \[11\]:1:/);
  assert.equal(of('timer').status, 'ok');
  assert.deepEqual(
    of('timer').late.map(([kind]) => kind),
    ['error'],
  );
  assert.deepEqual([of('refused').status, of('refused').stdout], ['error', '']);
  assert.match(traceback('refused'), /^Not run, because an earlier cell [^]*\nError: late[^]*In \[12\]:1:/);
  assert.deepEqual([of('after').status, of('after').stdout], ['ok', 'reached\n']);
});

test('cells that were sent together with a failing one are aborted, unless they were told to go on', () => {
  assert.deepEqual(
    [0, 1, 2].map((n) => of('together', n).status),
    ['error', 'aborted', 'aborted'],
  );
  assert.equal(of('kept').stdout, '10\n');
  assert.deepEqual(
    [0, 1].map((n) => [of('tolerant', n).status, of('tolerant', n).stdout]),
    [
      ['error', ''],
      ['ok', 'went on\n'],
    ],
  );
});

test('a silent cell says nothing and has no number', () => {
  assert.deepEqual(of('silent').kinds, ['busy', 'idle']);
  assert.equal(of('heard').stdout, '20\n');
  assert.equal(of('heard').count, of('silent').count + 1);
});

test('an interrupt ends the cell and never the kernel', () => {
  for (const name of ['sync', 'handler', 'waits', 'loop'] as const)
    assert.deepEqual([name, of(name).status, of(name).errors[0]?.ename], [name, 'error', 'Interrupted']);
  for (const name of ['handler', 'waits'] as const) assert.match(of(name).stdout, /own handler/);
  assert.deepEqual([of('alive').stdout, alive], ['alive\n', true]);
});

test('other requests', () => {
  const info = of('info') as Reply as Reply & { language_info: Reply };
  assert.deepEqual(info.language_info, committedMetadata.language_info); // else opening a notebook would change it
  assert.deepEqual(
    [
      info['status'],
      info['protocol_version'],
      info['implementation'],
      info['implementation_version'],
      info.language_info['version'],
    ],
    ['ok', '5.3', 'tslab', '1.0.22', '5.9.3'],
  );
  assert.deepEqual(of('comm'), { status: 'ok', comms: {} });
  assert.deepEqual(of('history'), { status: 'ok', history: [] });
  assert.deepEqual(
    [of('complete')['matches'], of('complete')['cursor_start'], of('complete')['cursor_end']],
    [['trainDpo'], 57, 63],
  );
  assert.deepEqual((of('braces')['matches'] as string[])[0], 'trainDpo');
  assert.match(JSON.stringify(of('inspect')['data']), /function thrower\(x: any\): any/);
  // Inside the parentheses of a call: what it takes, with its documentation.
  const signature = (of('signature')['data'] as Record<string, string>)['text/plain']!;
  assert.match(signature, /^trainDpo\(model: GPT2, pairs: readonly PairIds\[\], options: DpoTrainOptions, /);
  assert.match(signature, /@param pairs as `encodePair` gives them/);
  assert.match((of('second')['data'] as Record<string, string>)['text/plain']!, /^thrower\(x: any\): any/);
  assert.equal(of('outside')['found'], false);
  assert.deepEqual(
    [0, 1, 2].map((n) => of(`complete${n}` as 'info')['status']),
    ['complete', 'incomplete', 'invalid'],
  );
});

test('strict cells on request', () => {
  const code = 'const length = (text?: string) => text.length;';
  assert.equal(kernel([{ code }]).cells[0]!.status, 'ok');
  const [strict] = kernel([{ code }], '--env', 'ALIGNBOOK_STRICT=1').cells;
  assert.deepEqual([strict!.status, strict!.errors[0]!.evalue], ['error', "'text' is possibly 'undefined'."]);
});

test('it refuses another tslab, saying why', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tslab-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const other = join(folder, 'node_modules', 'tslab');
  mkdirSync(other, { recursive: true });
  cpSync(join(root, 'node_modules', 'tslab', 'dist'), join(other, 'dist'), { recursive: true });
  writeFileSync(
    join(other, 'package.json'),
    readFileSync(join(root, 'node_modules', 'tslab', 'package.json'), 'utf8').replace(
      '"version": "1.0.22"',
      '"version": "1.0.23"',
    ),
  );
  for (const name of ['@tslab', '@types', 'typescript5', 'semver', 'commander', 'zeromq'])
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
  for (const name of ['kernel', 'paths.js'])
    cpSync(join(root, '.alignbook', 'build', 'scripts', name), join(folder, name), { recursive: true });

  const { status, stderr } = spawnSync(
    process.execPath,
    [join(folder, 'kernel', 'main.js'), '--config-path', 'none.json'],
    { encoding: 'utf8' },
  );
  assert.equal(status, 1);
  assert.equal(
    stderr,
    'this kernel mends tslab 1.0.22, but 1.0.23 is installed; run "npm run setup", or set the kernelspec to ' +
      'tslab itself\n',
  );
});
