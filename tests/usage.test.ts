/**
 * How commands are called: each option once, numbers as people write them, and the nearest name where one is wrong.
 * Right values by hand.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { nearest, readArguments, UsageError } from 'alignbook/dist/commands/arguments';
import { readConfig } from 'alignbook/dist/commands/trainConfig';
import { number } from 'alignbook/dist/commands/usage';

const ROOT = join(__dirname, '..', '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'usage-'));
after(() => rmSync(folder, { recursive: true }));
const known = { data: 'text', lr: 'text', stop: 'texts', 'skip-bad': 'flag', 'no-cache': 'flag' } as const;
const refused = (run: () => unknown, message: RegExp) =>
  assert.throws(
    run,
    (error) => error instanceof UsageError && message.test(error.message) && !error.message.includes('\n'),
    `${message}`,
  );

test('values stand behind their option or after "=", also negative numbers, and "-" for the standard input', () => {
  assert.deepEqual(readArguments(['--data', '-', '--lr', '-1', '--skip-bad'], known), {
    data: '-',
    lr: '-1',
    'skip-bad': true,
  });
  for (const value of ['-1', '-.5', '-1e-3', '-Infinity', 'a=b', '']) {
    assert.deepEqual(readArguments(['--lr', value], known), { lr: value });
    assert.deepEqual(readArguments([`--lr=${value}`], known), { lr: value });
  }
  assert.deepEqual(readArguments(['--data=--x'], known), { data: '--x' });
  assert.deepEqual(readArguments(['--no-skip-bad', '--no-cache'], known, { negatable: true }), {
    'skip-bad': false,
    'no-cache': true,
  });
  assert.deepEqual(readArguments(['--stop', 'a', '--stop=b'], known), { stop: ['a', 'b'] });
});

test('an option given twice is refused, whatever it takes; so is one without a value, or with one too many', () => {
  refused(
    () => readArguments(['--data', 'a', '--lr', '1', '--data=b'], known),
    /^--data is given twice, "a" and "b"; give it once$/,
  );
  refused(
    () => readArguments(['--skip-bad', '--no-skip-bad'], known, { negatable: true }),
    /^--skip-bad is given twice; give it once$/,
  );
  refused(() => readArguments(['--data'], known), /^--data has no value; give one behind it$/);
  refused(
    () => readArguments(['--data', '--lr', '1'], known),
    /^--data has no value before "--lr"; a value that begins with a dash is written --data=--lr$/,
  );
  refused(
    () => readArguments(['--skip-bad=true'], known),
    /^--skip-bad takes no value, got "true"; give --skip-bad alone$/,
  );
  for (const stray of ['rows.jsonl', '-d', '--', '--=x', ''])
    refused(() => readArguments([stray], known), /^takes no ".*" where an option is due/);
});

test('every field of a training is refused when it is given twice', () => {
  const fields = { learningRate: 'number', data: 'text', skipBad: 'flag' } as const;
  const ranges = { learningRate: { words: 'any', holds: () => true } };
  for (const args of [
    ['--learning-rate', '1', '--learning-rate', '2'],
    ['--data', 'a', '--data', 'b'],
    ['--skip-bad', '--skip-bad'],
    ['--config', 'a', '--config', 'b'],
  ]) {
    refused(() => readConfig(args, fields, ranges), /is given twice/);
  }
  assert.deepEqual(readConfig(['--learning-rate', '-1', '--no-skip-bad'], fields, ranges), {
    learningRate: -1,
    skipBad: false,
  });
});

test('numbers are plain decimal ones', () => {
  const values = { '1e-4': 0.0001, '.5': 0.5, '1e+3': 1000, '-1': -1, '-.5': -0.5, '5.': 5, '+2': 2, '007': 7 };
  for (const [text, value] of Object.entries(values)) assert.equal(number('lr', text), value, text);
  for (const text of [
    '',
    ' 5',
    '5 ',
    'Infinity',
    '-Infinity',
    'NaN',
    '0x10',
    '1e999',
    '1_000',
    '1,5',
    '.',
    'e5',
    '5n',
    'hot',
  ]) {
    refused(() => number('lr', text), /^--lr must be a number such as 5, 0\.5 or 1e-4, got "/);
  }
  assert.equal(number('lr', undefined), undefined);
});

test('the nearest known name, or none', () => {
  const names = ['batch-size', 'max-new-tokens', 'model', 'data', 'lr'];
  assert.deepEqual(
    ['batchSize', 'batch_size', 'bacth-size', 'modle', 'date', 'max-new'].map((name) => nearest(name, names)),
    ['batch-size', 'batch-size', 'batch-size', 'model', 'data', 'max-new-tokens'],
  );
  for (const name of ['nonsense', 'x-y-z', 'temperature']) assert.equal(nearest(name, names), undefined, name);
  refused(() => readArguments(['--dta', 'x'], known), /^Unknown option '--dta'; did you mean --data\?$/);
  refused(() => readArguments(['--nonsense'], known), /^Unknown option '--nonsense'$/);
  refused(() => readArguments(['--toString'], known), /^Unknown option '--toString'$/);
});

test("the commands: one line and the usage of that command alone, exit 2; the range of a number is the range check's", () => {
  const alignbook = (...args: string[]) =>
    spawnSync(process.execPath, [join(ROOT, 'lib', 'bin', 'alignbook.js'), ...args], { encoding: 'utf8' });
  const wrong = (args: readonly string[], message: string) => {
    const { status, stdout, stderr } = alignbook(...args);
    assert.deepEqual([status, stdout, stderr.split('\n')[0]], [2, '', `alignbook: ${message}`]);
    return stderr;
  };
  const usage = wrong(
    ['logps', '--model', 'tiny', '--data', 'a', '--data', 'b'],
    '--data is given twice, "a" and "b"; give it once',
  );
  assert.match(usage, /^ {2}logps --model M/m);
  assert.doesNotMatch(usage, /^ {2}train-sft/m);
  wrong(['lgops'], 'unknown command "lgops"; did you mean logps?');
  wrong(['train-dpo', '--batchSize', '4'], "Unknown option '--batchSize'; did you mean --batch-size?");

  for (const lr of [['--lr', '-1'], ['--lr=-1']]) {
    const { status, stderr } = alignbook(
      'train-dpo',
      '--model',
      'tiny',
      '--data',
      join(ROOT, 'data', 'preferences', 'test.jsonl'),
      '--output',
      folder,
      '--steps',
      '1',
      ...lr,
    );
    assert.equal(status, 1);
    assert.match(stderr, /^alignbook: lr must be .*, got -1\n$/);
  }
  const help = alignbook('score', '--help');
  assert.deepEqual(
    [help.status, /^ {2}score --model M/m.test(help.stdout), /^ {2}logps/m.test(help.stdout)],
    [0, true, false],
  );
});
