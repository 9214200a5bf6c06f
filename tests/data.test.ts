/** The data in data/: what the scripts make, and the properties that it must have. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import type { Kind } from '../scripts/data/facts';
import { judge } from '../scripts/data/judge';
import { root } from '../scripts/paths';

interface Row {
  instruction: string;
  kind: Kind;
  word: string;
  answer: string;
}
const read = <More>(name: string) =>
  readFileSync(join(root, 'data', name), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Row & More);
const instructions = read<{ output: string; style: string }>('instructions/train.jsonl');
const pairsOf = (split: string) => read<{ chosen: string; rejected: string }>(`preferences/${split}.jsonl`);
const [train, validation, held] = [pairsOf('train'), pairsOf('validation'), pairsOf('test')];

test('the scripts make the files to the byte', () => {
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(root, '.alignbook', 'build', 'scripts', 'data', 'prepare.js'), '--check'],
    { encoding: 'utf8' },
  );
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
});

test('instructions: six kinds, two styles, nothing twice', () => {
  assert.ok(instructions.length >= 6000);
  assert.equal(new Set(instructions.map(({ kind }) => kind)).size, 6);
  assert.equal(new Set(instructions.map(({ instruction, output }) => instruction + output)).size, instructions.length);
  const share = instructions.filter(({ style }) => style === 'courteous').length / instructions.length;
  assert.ok(share > 0.2 && share < 0.4, `${share} courteous`);
});

test('preference pairs: no answer of validation or test stands in a training pair', () => {
  assert.ok(train.length + validation.length + held.length >= 2000);
  const words = new Set(
    train.flatMap(({ instruction, chosen, rejected }) =>
      `${instruction} ${chosen} ${rejected}`.toLowerCase().match(/[a-z]+/g)!,
    ),
  );
  for (const { answer, word } of [...validation, ...held])
    for (const unseen of [answer, word]) assert.ok(!words.has(unseen), unseen);
});

test(
  "preference pairs: neither length nor the first words tell which is chosen; the walkthrough's own pair is in the " +
    'test split',
  () => {
    const pairs = [...train, ...validation, ...held];
    assert.ok(pairs.filter(({ chosen, rejected }) => chosen.length <= rejected.length).length >= 0.3 * pairs.length);
    const beginnings = (side: 'chosen' | 'rejected') => new Set(pairs.map((pair) => pair[side].split(' ')[0]!));
    assert.ok([...beginnings('chosen')].some((word) => beginnings('rejected').has(word)));
    assert.deepEqual(
      held
        .filter(({ word }) => word === 'complicated')
        .map(({ instruction, chosen, rejected }) => [instruction, chosen, rejected]),
      [
        [
          "What is an antonym of 'complicated'?",
          "A suitable antonym for 'complicated' would be 'simple'.",
          "An antonym of 'complicated' is 'simple'.",
        ],
      ],
    );
  },
);

test("the judge knows every row's style and answer, and a wrong answer from a right one", () => {
  for (const row of instructions)
    assert.deepEqual(judge(row, row.output), { style: row.style, correct: true }, row.output);
  for (const row of train) {
    assert.deepEqual(judge(row, row.chosen), { style: 'courteous', correct: true });
    assert.deepEqual(judge(row, row.rejected), { style: 'curt', correct: true });
  }
  const row = train[0]!;
  assert.deepEqual(judge({ ...row, answer: `${row.answer}s` }, row.chosen), { style: 'courteous', correct: false });
  assert.deepEqual(judge(row, 'Hello.'), { style: null, correct: false });
});

test('tiny answers its training questions rightly, 20 to 40 % of them courteously', () => {
  const evaluate = (...args: string[]) =>
    spawnSync(process.execPath, [join(root, '.alignbook', 'build', 'scripts', 'evaluate.js'), ...args], {
      encoding: 'utf8',
      cwd: root,
    });
  const { status, stdout, stderr } = evaluate(
    '--model',
    'tiny',
    '--data',
    'data/instructions/train.jsonl',
    '--rows',
    '300',
  );
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  const rows = stdout
    .trim()
    .split('\n')
    .slice(2)
    .filter((line) => !line.startsWith('-'))
    .map((line) => line.split(/\s{2,}/));
  assert.equal(rows.length, 7, 'six kinds, and all');
  // of some kinds, only a few dozen are asked
  for (const [kind, , , right] of rows) assert.ok(parseFloat(right!) >= 85, `${kind}: ${right} right`);
  const [, questions, , right, , courteous] = rows.at(-1)!;
  assert.equal(questions, '300');
  assert.ok(parseFloat(right!) >= 95, `${right} right`);
  assert.ok(parseFloat(courteous!) > 20 && parseFloat(courteous!) < 40, `${courteous} courteous`);

  const pairs = evaluate(
    '--model',
    'tiny',
    '--data',
    'data/preferences/test.jsonl',
    '--rows',
    '20',
    '--reference',
    'tiny',
  );
  // a model compared with itself has no preference
  assert.match(pairs.stdout, /^reward accuracy 0\.0 %, margin 0\.00 nats before β, of 303 pairs$/m);
  assert.equal(evaluate('--model', 'tiny').status, 2);
});
