/** A look at a file of rows: what is counted, by hand, and what the command prints. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { dataReport, FileError, Tokenizer } from 'alignbook';

import { root } from '../scripts/paths';

const folder = mkdtempSync(join(tmpdir(), 'data-'));
after(() => rmSync(folder, { recursive: true }));
const file = (name: string, rows: readonly unknown[]): string => {
  const path = join(folder, name);
  writeFileSync(path, rows.map((row) => `${typeof row === 'string' ? row : JSON.stringify(row)}\n`).join(''));
  return path;
};
const data = (...args: string[]) =>
  spawnSync(process.execPath, [join(root, 'lib', 'bin', 'alignbook.js'), 'data', ...args], {
    encoding: 'utf8',
    cwd: folder,
  });

// "One", " two" and so on are one token each, and every response ends with one more
const PAIRS = [
  { prompt: 'One two', chosen: ' three four', rejected: ' three' },
  { prompt: 'One two', chosen: ' four', rejected: ' three four five' },
  { prompt: 'One', chosen: ' two', rejected: ' three' },
  { prompt: 'One two', chosen: ' three four', rejected: ' three' }, // again
  { prompt: 'One ', chosen: 'two', rejected: 'three' }, // " two" would be one token
  { prompt: 'One', chosen: ' two', rejected: ' two' },
  { prompt: 'One', chosen: ' two' },
  { prompt: 'Two', chosen: ' two', rejected: ' two' },
  'no JSON',
];

test('pairs: lengths, longer answers, repetitions, merges, and rows that are wrong by their reason', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const report = await dataReport(file('pairs.jsonl', PAIRS), tokenizer, { blockSize: 4, examples: 2 });
  assert.deepEqual(report.kinds, { pair: 5, labeled: 0, response: 0, prompt: 0, text: 0 });
  assert.deepEqual(report.promptLengths, [2, 2, 1, 2, 2]);
  assert.deepEqual(report.chosenLengths, [3, 2, 2, 3, 2]);
  assert.deepEqual(report.rejectedLengths, [2, 4, 2, 2, 2]);
  assert.deepEqual([report.longerChosen, report.equallyLong], [2, 2]);
  assert.deepEqual([report.duplicates, report.repeatedPrompts], [1, 1]);
  assert.equal(report.tooLong, 3, '2 + 3, 2 + 4 and 2 + 3 tokens, in a window of 4');
  assert.deepEqual(report.merges, { rows: 1, of: 5, first: 'line 5' });
  assert.deepEqual(
    report.wrong.map(({ rows, first }) => [rows, first]),
    [
      [2, 'line 6'],
      [1, 'line 7'],
      [1, 'line 9'],
    ],
  );
  assert.match(report.wrong[1]!.message, /^has no "rejected"/);
  assert.deepEqual(
    report.examples.map(({ promptIds, responses }) => [promptIds.length, responses.length]),
    [
      [2, 2],
      [2, 2],
    ],
  );
});

test('the command: kinds and what they are for, a histogram, the rows as the model sees them', () => {
  const { status, stdout, stderr } = data('pairs.jsonl', '--examples', '1');
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(stdout, /^5 pairs, for train-dpo, train-reward, train-kto$/m);
  assert.match(stdout, /^not understood: 2 rows, the first is line 6: chosen and rejected are the same/m);
  assert.match(stdout, /^ {2}rejected: median 2, 95 % up to 4, longest 4$/m);
  assert.match(stdout, /^ {4}2 {2}█{40} 4\n {4}3 {2}0\n {4}4 {2}█{10} 1$/m);
  assert.match(stdout, /^chosen is longer than rejected in 2 of 5 \(40\.0 %\), equally long in 2 of 5 \(40\.0 %\)$/m);
  assert.match(stdout, /^prompt {10}2 {2}"One two"\nchosen {10}3 {2}" three four<\|endoftext\|>"$/m);
  assert.ok(stdout.split('\n').every((line) => line.length <= 140));

  const turns = [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Hello' },
  ];
  const mixed = file('mixed.jsonl', [
    { prompt: 'Hi', completion: ' there', label: true },
    { prompt: 'Hi', completion: ' you', label: false },
    { messages: turns },
    { instruction: 'Say hi' },
  ]);
  const several = data(mixed).stdout;
  const kinds = '2 labeled responses, for train-kto\n1 response, for train-sft\n1 prompt, for train-ppo, train-grpo\n';
  assert.ok(several.startsWith(kinds), several);
  assert.match(several, /^the rows are of several kinds; a training command takes one kind: split the file$/m);
  assert.match(several, /^desirable: 1 of 2 \(50\.0 %\)$/m);
});

test('a file in which nothing is understood, and one that is none', async () => {
  const bad = file('bad.jsonl', [{ ask: 'Why?' }, { ask: 'How?' }]);
  const { status, stdout } = data(bad);
  assert.equal(status, 1);
  assert.match(stdout, /^not understood: 2 rows, the first is line 1: has no "prompt"; it has ask; a row needs /);
  const gone = data('gone.jsonl');
  assert.deepEqual([gone.status, gone.stdout], [1, '']);
  assert.match(gone.stderr, /^alignbook: gone\.jsonl: cannot be read/);
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  await assert.rejects(dataReport(file('empty.jsonl', []), tokenizer, { blockSize: 4 }), FileError);
});

test('docs/first-run.md has what the command prints', () => {
  const command = 'npx alignbook data data/preferences/pairs.json --examples 1';
  const page = readFileSync(join(root, 'docs', 'first-run.md'), 'utf8');
  const [, shown] = page.split(`$ ${command}\n`);
  const args = ['data/preferences/pairs.json', '--examples', '1'];
  const { stdout } = spawnSync(process.execPath, [join(root, 'lib', 'bin', 'alignbook.js'), 'data', ...args], {
    encoding: 'utf8',
    cwd: root,
  });
  assert.equal(shown!.split('```')[0], stdout);
});
