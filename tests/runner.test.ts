/** The runner, on small notebooks that are each wrong in one way, through the real kernel. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { executedCopy, executeNotebooks, type Execution, type Report } from '../scripts/notebooks/execute';
import { printed } from '../scripts/notebooks/notebook';
import { root } from '../scripts/paths';

const broken = join(root, 'tests', 'broken');
const out = mkdtempSync(join(tmpdir(), 'runner-'));
after(() => rmSync(out, { recursive: true, force: true }));

/**
 * Notebook -> the cell at which it is refused (counted from 0; null outside the cells), the reason, and what the detail
 * names.
 */
const refused: Record<string, [cell: number | null, reason: RegExp, detail: RegExp]> = {
  'a-list': [null, /not a sound notebook/, /^it is JSON, but has no list of cells$/],
  'byte-order-mark': [null, /not a sound notebook/, /^it begins with a byte order mark; save it as UTF-8 without one$/],
  'cells-are-no-list': [null, /not a sound notebook/, /has no list of cells/],
  'does-not-compile': [1, /threw or did not compile/, /not assignable to type 'number'/],
  'empty-file': [null, /not a sound notebook/, /^it is empty$/],
  'empty-cell': [1, /did not run to its end \(status "not run"\)/, /^it is empty: remove it$/],
  exits: [1, /the kernel died/, /^$/],
  'is-killed': [1, /the kernel died/, /^$/],
  'loops-forever': [1, /did not end within 3 s/, /^$/],
  'never-settles': [null, /after the last cell/, /^still running after the last cell: Timeout$/],
  'no-source': [null, /not a sound notebook/, /'source' is a required property/],
  'not-json': [null, /not a sound notebook/, /^it is not JSON: Expecting value: line 2 column 1/],
  'of-another-language': [null, /^the notebook is for the kernel "python3", and not for TypeScript \("tslab"\)$/, /^$/],
  'of-the-future': [null, /not a sound notebook/, /Unsupported nbformat version 5/],
  'prints-after-the-last-cell': [null, /printed after the last cell/, /printed late/],
  'raises-exception': [1, /threw or did not compile/, /excused by a tag/],
  'rejection-after-the-last-cell': [null, /after the last cell/, /rejected late/],
  'skipped-cell': [1, /did not run to its end \(status "not run"\)/, /^its tag "skip-execution" keeps it from running/],
  'throws-from-a-timer': [1, /threw or did not compile/, /thrown by a timer[^]*In \[1\]:1:/],
  'throws-then-goes-on': [0, /threw or did not compile/, /thrown in the first cell/],
  throws: [1, /threw or did not compile/, /thrown in a cell/],
  'unhandled-rejection': [0, /threw or did not compile/, /nobody awaits this/],
  'unknown-cell-type': [null, /not a sound notebook/, /'spreadsheet'/],
  'waits-forever': [1, /did not end within 3 s/, /^$/],
  'writes-past-the-notebook': [null, /native code wrote past the notebook/, /from native code/],
  'writes-to-stderr': [1, /wrote to stderr/, /a warning nobody wanted/],
};

let execution: Execution;
const report = (name: string): Report => execution.reports.find(({ notebook }) => notebook === `${name}.ipynb`)!;

before(async () => {
  const paths = readdirSync(broken).map((name) => join(broken, name));
  execution = await executeNotebooks(paths, { out, jobs: 2, timeout: 3 });
});

test('a clean notebook is accepted; timers may end after its last cell', () => {
  assert.equal(report('clean').refused, null);
  assert.deepEqual(
    report('clean').cells.map(({ status }) => status),
    ['ok', 'ok'],
  );
  assert.deepEqual(executedCopy(out, 'clean.ipynb').cells.map(printed), ['', '42\n']);
});

/** Files that JupyterLab repairs when it opens them. */
const opened = ['older-format', 'one-id-twice', 'without-ids'];

test('notebooks of an older format, without ids or with one id twice run', () => {
  for (const name of opened) {
    assert.equal(report(name).refused, null, name);
    assert.ok(
      report(name).cells.every(({ id, status }) => id !== '' && status === 'ok'),
      name,
    );
  }
  assert.equal(report('one-id-twice').cells.length, 2);
});

test('every broken notebook is listed here', () => {
  assert.deepEqual(
    readdirSync(broken).sort(),
    ['clean', ...opened, ...Object.keys(refused)].map((name) => `${name}.ipynb`).sort(),
  );
  assert.equal(execution.exitCode, 1);
});

for (const [name, [cell, reason, detail]] of Object.entries(refused)) {
  test(`refused: ${name}`, () => {
    const { refused: found, cells } = report(name);
    assert.ok(found, `${name} was accepted\n${execution.log}`);
    assert.equal(found.cell, cell === null ? null : cells[cell]!.id, JSON.stringify(found));
    assert.doesNotMatch(found.detail, /Traceback/);
    assert.match(found.reason, reason);
    assert.match(found.detail, detail);
    assert.match(execution.log, new RegExp(`${name}\\.ipynb .*REFUSED`));
  });
}

test('npm run tutorial: --help, and usage errors end with 2', () => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [join(root, '.alignbook/build/scripts/tutorial.js'), ...args], { encoding: 'utf8' });
  assert.match(run('--help').stdout, /--model </);
  assert.equal(run('--help').status, 0);
  for (const [args, message] of [
    [['99'], /there is no notebook "99"; there are 01-tokenize\.ipynb/],
    [['--jobs', '0'], /^--jobs must be a whole number from 1 up, got 0; see npm run tutorial -- --help\n$/],
    [['--nodel', 'x'], /^there is no option "--nodel"; did you mean --model\? See npm run tutorial -- --help\n$/],
  ] as const) {
    const { status, stderr } = run(...args);
    assert.match(stderr, message);
    assert.equal(status, 2);
  }
});

test(
  "npm run notebook: notebooks anywhere, with the collection's packages; a damaged one leaves the others their " +
    'reports',
  () => {
    const folder = join(out, 'mine');
    mkdirSync(folder);
    const notebook = readFileSync(join(broken, 'clean.ipynb'), 'utf8');
    const code = "import { tf } from 'alignbook'; console.log(tf.tensor1d([1, 2]).shape);";
    writeFileSync(join(folder, 'own.ipynb'), notebook.replace('const six = 6;', code + ' const six = 6;'));
    writeFileSync(join(folder, 'damaged.ipynb'), notebook.slice(0, 100));
    const run = (...args: string[]) =>
      spawnSync(process.execPath, [join(root, '.alignbook/build/scripts/notebook.js'), ...args], {
        encoding: 'utf8',
        env: { ...process.env, INIT_CWD: folder },
      });
    const { status, stdout, stderr } = run('own.ipynb', 'damaged.ipynb', '--out', 'results');
    assert.equal(status, 1, stderr);
    assert.match(stdout, /^own\.ipynb  2 code cells .* clean$/m);
    assert.match(stdout, /^damaged\.ipynb  0 code cells .* REFUSED: the file is not a sound notebook$/m);
    const results = join(folder, 'results');
    assert.deepEqual(readdirSync(results).sort(), ['damaged.json', 'own.html', 'own.ipynb', 'own.json']);
    assert.deepEqual(executedCopy(results, 'own.ipynb').cells.map(printed), ['[ 2 ]\n', '42\n']);
    assert.ok(stdout.endsWith('results/\n'), stdout);

    mkdirSync(join(folder, 'other'));
    writeFileSync(join(folder, 'other', 'own.ipynb'), notebook);
    for (const [args, message] of [
      [[], /^no notebook is named; give at least one; see npm run notebook -- --help\n$/],
      [['none.ipynb'], /none\.ipynb does not exist, or is not a file/],
      [['own.ipynb', '--out', '.'], /is the folder of own\.ipynb itself, whose executed copy would replace it/],
      [['own.ipynb', '--out', 'own.ipynb'], /--out .*own\.ipynb cannot be made: File exists/],
      [['own.ipynb', 'other/own.ipynb'], /have one name, and so would their results/],
      [['own.ipynb', '--timeout', '0'], /^--timeout must be a whole number from 1 up, got 0; /],
    ] as const) {
      const { status, stderr } = run(...args);
      assert.match(stderr, message);
      assert.equal(status, 2);
    }
  },
);
