/**
 * How commands are called: each option only once, numbers as people write them, and the nearest name if one is wrong;
 * the help, which fits a terminal; and the completion scripts. The expected values are written by hand.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { catalog } from 'alignbook/dist/commands/catalog';
import {
  flagOf,
  numberOf,
  optionsOf,
  requireWellFormed,
  StrictCommand,
  UsageError,
} from 'alignbook/dist/commands/commandLine';
import { completionScript } from 'alignbook/dist/commands/completion';
import { readCall } from 'alignbook/dist/commands/program';
import { plural } from 'alignbook/dist/errors';
import { nearest } from 'alignbook/dist/nearest';
import { flag, repeated, text, type Settings } from 'alignbook/dist/training/declare';

import { root } from '../scripts/paths';

const folder = mkdtempSync(join(tmpdir(), 'usage-'));
after(() => rmSync(folder, { recursive: true }));
const known: Settings = {
  data: text({ help: '' }),
  lr: text({ help: '' }),
  stop: repeated({ help: '' }),
  skipBad: flag({ help: '' }),
};
const flagOptions = Object.entries(known).flatMap(([name, setting]) => optionsOf(name, setting));
const parse = (args: string[], places = 0): Record<string, unknown> => {
  requireWellFormed(args, flagOptions, places);
  const command = new StrictCommand('x');
  for (const [name, setting] of Object.entries(known))
    for (const option of optionsOf(name, setting)) command.addOption(option);
  return command.parse(args, { from: 'user' }).opts();
};
const refused = (run: () => unknown, message: RegExp) =>
  assert.throws(
    run,
    (error) => error instanceof UsageError && message.test(error.message) && !error.message.includes('\n'),
    `${message}`,
  );
const alignbook = (...args: string[]) =>
  spawnSync(process.execPath, [join(root, 'lib', 'bin', 'alignbook.js'), ...args], { encoding: 'utf8' });

test('values stand after their option or after "=", also negative numbers, and "-" for the standard input', () => {
  assert.deepEqual(parse(['--data', '-', '--lr', '-1', '--skip-bad']), { data: '-', lr: '-1', skipBad: true });
  for (const value of ['-1', '-.5', '-1e-3', '-Infinity', 'a=b', '']) {
    assert.deepEqual(parse(['--lr', value]), { lr: value });
    assert.deepEqual(parse([`--lr=${value}`]), { lr: value });
  }
  assert.deepEqual(parse(['--data=--x']), { data: '--x' });
  assert.deepEqual(parse(['--no-skip-bad']), { skipBad: false });
  assert.deepEqual(parse(['--stop', 'a', '--stop=b']), { stop: ['a', 'b'] });
});

test('an option given twice is refused, whatever it takes; so is one without a value, or with one too many', () => {
  refused(() => parse(['--data', 'a', '--lr', '1', '--data=b']), /^--data is given twice, "a" and "b"; give it once$/);
  refused(() => parse(['--skip-bad', '--no-skip-bad']), /^--skip-bad is given twice; give it once$/);
  refused(() => parse(['--data']), /^--data has no value; give one after it$/);
  refused(
    () => parse(['--data', '--lr', '1']),
    /^--data has no value before "--lr"; write a value that begins with a dash as --data=--lr$/,
  );
  refused(() => parse(['--skip-bad=true']), /^--skip-bad takes no value, got "true"; give --skip-bad alone$/);
  for (const stray of ['rows.jsonl', '-d', '--', '--=x', ''])
    refused(() => parse([stray]), /^there is no place for ".*"; write each value after its option$/);
  refused(() => parse(['one', 'two'], 1), /^there is no place for "two"/);
});

test('every field of a training is refused when it is given twice', () => {
  for (const { name, config, settings } of catalog.filter((command) => command.config)) {
    assert.ok(config);
    for (const [field, { kind }] of [...Object.entries(settings), ['config', { kind: 'path' }] as const]) {
      if (kind === 'repeated') continue; // may be given several times
      const given = kind === 'flag' ? [flagOf(field)] : [flagOf(field), '1'];
      refused(() => readCall([name, ...given, ...given]), /is given twice/);
    }
  }
});

test('numbers are plain decimal ones', () => {
  const values = { '1e-4': 0.0001, '.5': 0.5, '1e+3': 1000, '-1': -1, '-.5': -0.5, '5.': 5, '+2': 2, '007': 7 };
  for (const [written, value] of Object.entries(values)) assert.equal(numberOf('--lr', written), value, written);
  for (const written of [
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
    refused(() => numberOf('--lr', written), /^--lr must be a number such as 5, 0\.5 or 1e-4, got "/);
  }
});

test('counts in messages: one step, more steps', () => {
  assert.deepEqual(
    [0, 1, 2].map((count) => plural(count, 'step')),
    ['0 steps', '1 step', '2 steps'],
  );
  assert.equal(plural(1, 'batch', 'batches'), '1 batch');
  assert.equal(plural(3, 'batch', 'batches'), '3 batches');
});

test('the nearest known name, or none', () => {
  const names = ['batch-size', 'max-new-tokens', 'model', 'data', 'lr'];
  assert.deepEqual(
    ['batchSize', 'batch_size', 'bacth-size', 'modle', 'date', 'max-new'].map((name) => nearest(name, names)),
    ['batch-size', 'batch-size', 'batch-size', 'model', 'data', 'max-new-tokens'],
  );
  for (const name of ['nonsense', 'x-y-z', 'temperature']) assert.equal(nearest(name, names), undefined, name);
  refused(() => parse(['--dta', 'x']), /^there is no option "--dta"; did you mean --data\?$/);
  refused(() => parse(['--nonsense']), /^there is no option "--nonsense"$/);
  refused(() => parse(['--toString']), /^there is no option "--toString"$/);
  refused(() => parse(['--final-share', '0.1']), /^--final-share is now --min-lr-ratio; give it under its new name$/);
  refused(() => parse(['--centring=1']), /^--centring is now --center-rewards; give it under its new name$/);
});

test('everything that is missing is named at once', () => {
  refused(() => readCall(['export']), /^export needs --model and --out$/);
  assert.throws(
    () => readCall(['train-dpo', '--lr', '-1', '--seed', '0.5', '--model', 'tiny', '--output', 'run', '--steps', '0']),
    (error) =>
      error instanceof UsageError &&
      error.message ===
        '4 problems:\n' +
          '  lr must be a number from 0 up, got -1\n' +
          '  seed must be a whole number from 0 to 4294967295, got 0.5\n' +
          '  steps must be a whole number from 1 up, got 0\n' +
          '  train-dpo needs --data',
  );
  assert.throws(
    () => readCall(['logps', '--model', 'tiny', '--data', 'a', '--batch-size', 'many', '--skip-bad', '--output', '']),
    /^Error: --batch-size must be a number such as 5, 0\.5 or 1e-4, got "many"$/,
  );
  assert.throws(
    () => readCall(['evaluate', '--model', 'tiny', '--prompts', 'x', '--samples', '0']),
    (error) =>
      error instanceof UsageError &&
      error.message ===
        '3 problems:\n' +
          '  --prompts must be a number such as 5, 0.5 or 1e-4, got "x"\n' +
          '  --samples must be a whole number from 1 up, got 0\n' +
          '  evaluate needs --data',
  );
  refused(
    () => readCall(['train-dpo', '--lr', '1']),
    /^train-dpo needs --model, --data, --output and --steps or --epochs$/,
  );
  const path = join(folder, 'some.json');
  writeFileSync(path, '{"model": "tiny", "epochs": 1}');
  refused(
    () => readCall(['train-grpo', '--config', path]),
    /^train-grpo needs --data, --output, --lr and --reward-model or --reward-function or --rewards$/,
  );
});

test('a wrong call: one line, last and alone on the standard error, exit 2, without TensorFlow', () => {
  const wrong = (args: readonly string[], message: string) => {
    const { status, stdout, stderr } = alignbook(...args);
    assert.deepEqual([status, stdout, stderr], [2, '', `alignbook: ${message}\n`]);
  };
  wrong(
    ['logps', '--model', 'tiny', '--data', 'a', '--data', 'b'],
    '--data is given twice, "a" and "b"; give it once; see npx alignbook logps --help',
  );
  wrong([], 'no command is given; see npx alignbook --help');
  wrong(['lgops'], 'there is no command "lgops"; did you mean logps? See npx alignbook --help');
  wrong(
    ['train-dpo', '--batchSize', '4'],
    'there is no option "--batchSize"; did you mean --batch-size? See npx alignbook train-dpo --help',
  );
  wrong(['download'], 'download needs MODEL; see npx alignbook download --help');
  wrong(['--nonsense'], "unknown option '--nonsense'; see npx alignbook --help");

  for (const lr of [['--lr', '-1'], ['--lr=-1']]) {
    const { status, stderr } = alignbook(
      'train-dpo',
      '--model',
      'tiny',
      '--data',
      join(root, 'data', 'preferences', 'test.jsonl'),
      '--output',
      folder,
      '--steps',
      '1',
      ...lr,
    );
    assert.equal(status, 1);
    assert.match(stderr, /^alignbook: lr must be .*, got -1\n$/);
  }
});

test('help, version and completion do not load TensorFlow', () => {
  const free = [['--help'], ['--version'], ['train-ppo', '--help'], ['completion', 'bash'], ['logps']];
  for (const args of [...free, ['doctor']]) {
    const code = `process.argv.splice(2, 0, ...${JSON.stringify(args)});
      process.on('exit', () => {
        if (Object.keys(require.cache).some((path) => /tfjs|dist.tf\\.js/.test(path))) process._rawDebug('loaded');
      });
      require(${JSON.stringify(join(root, 'lib', 'bin', 'alignbook.js'))});`;
    const { stderr } = spawnSync(process.execPath, ['-e', code, 'x'], { encoding: 'utf8' });
    assert.equal(/loaded/.test(stderr), !free.includes(args), args.join(' '));
  }
  const { version } = JSON.parse(readFileSync(join(root, 'lib', 'package.json'), 'utf8')) as { version: string };
  assert.deepEqual([alignbook('--version').stdout, alignbook('-V').stdout], [`${version}\n`, `${version}\n`]);
});

test('help is also a command, and --help may stand before the command that it is about', () => {
  const all = alignbook('--help');
  const one = alignbook('train-dpo', '--help');
  assert.deepEqual([all.status, one.status], [0, 0]);
  for (const [same, calls] of [
    [all, [['help'], ['-h']]],
    [
      one,
      [
        ['help', 'train-dpo'],
        ['-h', 'train-dpo'],
        ['--help', 'train-dpo'],
        ['train-dpo', '-h'],
      ],
    ],
  ] as const)
    for (const args of calls) {
      const { status, stdout, stderr } = alignbook(...args);
      assert.deepEqual([status, stdout, stderr], [0, same.stdout, ''], args.join(' '));
    }
  refused(() => readCall(['help', 'train-dop']), /^there is no command "train-dop"; did you mean train-dpo\?$/);
  refused(() => readCall(['hlep']), /^there is no command "hlep"; did you mean help\?$/);
});

test('the help fits: 24 lines of 80 columns for all commands, 80 columns for each', () => {
  const all = alignbook('--help');
  assert.equal(all.status, 0);
  const lines = all.stdout.trimEnd().split('\n');
  assert.ok(lines.length <= 24, `${lines.length} lines`);
  for (const { name, summary, settings, argument } of catalog) {
    const isListed = name.startsWith('train-')
      ? new RegExp(` ${name}\\b`).test(all.stdout) // all of them in one entry
      : lines.some((line) => line.startsWith(`  ${name} `) && line.includes(summary));
    assert.ok(isListed, name);
    const { status, stdout } = alignbook(name, '--help');
    assert.equal(status, 0, name);
    const shown = stdout.split('\n');
    assert.deepEqual(
      [...lines, ...shown].filter((line) => line.length > 80),
      [],
    );
    assert.match(stdout, new RegExp(`^Usage: npx alignbook ${name} `));
    assert.match(stdout, new RegExp(`^Example:\\n {2}npx alignbook ${name}`, 'm'));
    // every field is documented in its group, and no field of another command
    for (const [field, { help, hidden, group }] of Object.entries(settings)) {
      assert.match(help, /^[A-Z].*/, `${name} ${field}`);
      if (field === argument || hidden) continue;
      assert.match(stdout, new RegExp(`^ {2}${flagOf(field)}\\b`, 'm'), `${name} ${field}`);
      const heading = `${(group ?? 'data')[0]!.toUpperCase()}${(group ?? 'data').slice(1)}:`;
      const before = stdout.slice(0, stdout.search(new RegExp(`^ {2}${flagOf(field)}\\b`, 'm')));
      assert.equal(before.match(/^[A-Z][a-z]+:$/gm)!.at(-1), heading, `${name} ${field}`);
    }
    for (const other of catalog)
      if (other.name !== name) assert.doesNotMatch(stdout, new RegExp(`^ {2}${other.name} `, 'm'));
  }
});

test('an example in the help is a right call', () => {
  for (const { name, example } of catalog) {
    const args = example
      .replace(/ >> .*/, '')
      .match(/"[^"]*"|\S+/g)!
      .map((word) => word.replaceAll('"', ''));
    assert.equal(readCall(args)?.command.name, name);
  }
});

test('completion scripts name every command and option, and parse', () => {
  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    const script = alignbook('completion', shell).stdout;
    assert.equal(script, `${completionScript(shell, catalog)}\n`);
    for (const { name, settings, argument } of catalog) {
      assert.match(script, new RegExp(`\\b${name}\\b`));
      for (const [field, { hidden }] of Object.entries(settings)) {
        if (field === argument || hidden) continue;
        const option = shell === 'fish' ? `-l ${flagOf(field).slice(2)}` : flagOf(field);
        assert.ok(script.includes(option), `${shell}: ${name} ${option}`);
      }
    }
    const parses = spawnSync(shell, ['-n'], { input: script, encoding: 'utf8' });
    if (parses.error === undefined) assert.deepEqual([parses.status, parses.stderr], [0, ''], shell);
    else assert.notEqual(shell, 'bash'); // the others may not be installed
  }
  const complete = (line: string) => {
    const words = line.split(' ');
    const code = `${completionScript('bash', catalog)}
      COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
      _alignbook; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return spawnSync('bash', ['-c', code], { encoding: 'utf8' }).stdout.trim().split('\n');
  };
  assert.deepEqual(complete('npx alignbook train-d'), ['train-dpo']);
  assert.deepEqual(complete('alignbook train-dpo --sched'), ['--schedule']);
  assert.deepEqual(complete('alignbook train-dpo --schedule c'), ['cosine', 'constant']);
  assert.deepEqual(complete('npx alignbook completion f'), ['fish']);
  assert.deepEqual(complete('npx prettier --wr'), ['']);
});
