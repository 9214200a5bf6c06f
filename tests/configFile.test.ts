/**
 * Config files of the training commands: fields of the wrong type, unknown fields, duplicate fields, and numbers out of
 * range.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { FileError, InputError } from 'alignbook';
import { catalog } from 'alignbook/dist/commands/catalog';
import { valuesOf } from 'alignbook/dist/commands/command';
import { optionsOf, StrictCommand, UsageError } from 'alignbook/dist/commands/commandLine';

const folder = mkdtempSync(join(tmpdir(), 'config-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'run.json');

const dpo = catalog.find(({ name }) => name === 'train-dpo')!;
/** Its settings, none of which is required. */
const OPTIONAL = Object.fromEntries(
  Object.entries(dpo.settings).map(([name, setting]) => [name, { ...setting, required: false }]),
);

function read(text: string, ...args: string[]): Record<string, unknown> {
  writeFileSync(path, text);
  const command = new StrictCommand('x');
  for (const [name, setting] of Object.entries(dpo.settings))
    for (const option of optionsOf(name, setting)) command.addOption(option);
  const given = command.parse(args, { from: 'user' }).opts();
  return valuesOf({ ...dpo, settings: OPTIONAL, oneOf: [] }, { config: path, ...given });
}
const refused = (text: string, message: string | RegExp) =>
  assert.throws(
    () => read(text),
    (error) =>
      error instanceof FileError &&
      (typeof message === 'string' ? error.message === `${path}: ${message}` : message.test(error.message)),
    `${text}: ${message}`,
  );

test('values of each type are read, and options win over the file', () => {
  assert.deepEqual(read('{"model": "tiny", "lr": 1e-4, "steps": 3, "liveReference": false}', '--lr', '0.5'), {
    model: 'tiny',
    lr: 0.5,
    steps: 3,
    liveReference: false,
  });
  assert.deepEqual(read(' {} '), {});
  // no shell expands a ~ in a file, or after =
  const [data, output, cache] = ['rows.jsonl', 'run', 'cache'].map((name) => join(homedir(), name));
  assert.deepEqual(read('{"data": "~/rows.jsonl", "output": "~/x", "referenceCache": "~/cache"}', '--output=~/run'), {
    data,
    output,
    referenceCache: cache,
  });
  assert.deepEqual(read('{"data": "a~/b", "output": "~c"}'), { data: 'a~/b', output: '~c' });
});

const NUMBER = '"lr" is not a number; give a number from 0 up';
const FLAG = '"skipBad" is not true or false';
const TEXT = '"model" is not a text';

test('a value of another type is refused, with what to write instead', () => {
  refused('{"lr": "1e-4"}', '"lr" is not a number; write it without quotes, 0.0001');
  for (const wrong of ['"NaN"', '""', 'true', '[1e-4]', '{"value": 1e-4}']) refused(`{"lr": ${wrong}}`, NUMBER);
  refused('{"minLrRatio": "x"}', '"minLrRatio" is not a number; give a number in [0, 1]');
  refused('{"skipBad": "true"}', `${FLAG}; write it without quotes, true`);
  refused('{"skipBad": "False"}', `${FLAG}; write it without quotes, false`);
  for (const wrong of ['"yes"', '1']) refused(`{"skipBad": ${wrong}}`, `${FLAG}; give true or false`);
  refused('{"frozen": ["wte", "h.0"]}', '"frozen" is not a text; write "wte,h.0"');
  refused('{"frozen": {}}', '"frozen" is not a text; give a text of names with commas between them');
  refused('{"model": 7}', `${TEXT}; write it in quotes, "7"`);
  refused('{"model": {"name": "tiny"}}', `${TEXT}; give a text`);
  refused('{"schedule": [1]}', '"schedule" is not a text; give one of linear, cosine, constant');
});

test('null is refused with the default, if there is one, and with what to give instead', () => {
  refused('{"seed": null}', '"seed" is null; omit it for the default (0), or give a whole number from 0 to 4294967295');
  refused('{"steps": null}', '"steps" is null; omit it, or give a whole number from 1 up');
  refused('{"skipBad": null}', '"skipBad" is null; omit it for the default (false), or give true or false');
  refused(
    '{"maxLength": null}',
    '"maxLength" is null; omit it for the default (the model\'s window), or give a whole number from 2 to the ' +
      "model's window",
  );
  // required, but not in this test's declaration
  for (const [name, setting] of Object.entries(dpo.settings)) {
    writeFileSync(path, `{"${name}": null}`);
    assert.throws(
      () => valuesOf({ ...dpo, settings: { [name]: setting }, oneOf: [], exclusive: [] }, { config: path }),
      ({ message }: Error) =>
        message.startsWith(`${path}: "${name}" is null; ${setting.required ? 'give ' : 'omit it'}`),
      name,
    );
  }
});

test('everything that is wrong is named in one error, one line each', () => {
  const message = (text: string, ...args: string[]): [string, string] => {
    try {
      read(text, ...args);
    } catch (error) {
      return [(error as Error).constructor.name, (error as Error).message];
    }
    return assert.fail(text);
  };
  assert.deepEqual(message('{"lr": -1, "steps": 0, "seed": 0.5, "beta": 1}'), [
    'InputError',
    '3 problems:\n' +
      '  lr must be a number from 0 up, got -1\n' +
      '  steps must be a whole number from 1 up, got 0\n' +
      '  seed must be a whole number from 0 to 4294967295, got 0.5',
  ]);
  assert.deepEqual(message('{"lr": "1", "stepz": 1}'), [
    'FileError',
    `${path}: 2 problems:\n` +
      '  "lr" is not a number; write it without quotes, 1\n' +
      '  has an unknown field "stepz"; did you mean steps? See npx alignbook train-dpo --help',
  ]);
  assert.deepEqual(message('{"lr": "1", "steps": 0}', '--schedule', 'x'), [
    'InputError',
    '3 problems:\n' +
      `  ${path}: "lr" is not a number; write it without quotes, 1\n` +
      '  steps must be a whole number from 1 up, got 0\n' +
      '  schedule must be one of linear, cosine, constant, got "x"',
  ]);
});

test('of steps and epochs, the one on the command line replaces the one in the file', () => {
  assert.deepEqual(read('{"steps": 5}', '--epochs', '2'), { epochs: 2 });
  assert.deepEqual(read('{"epochs": 2}', '--steps=5'), { steps: 5 });
  assert.deepEqual(read('{"epochs": 2, "steps": 3}', '--steps=5'), { steps: 5 });
  assert.deepEqual(read('{"steps": 3}', '--steps=5'), { steps: 5 });
  refused('{"epochs": 2, "steps": 3}', '"steps" and "epochs" exclude each other; keep one of them');
  assert.throws(
    () => read('{}', '--steps=5', '--epochs=1'),
    (error) =>
      error instanceof UsageError && error.message === '--steps and --epochs exclude each other; give one of them',
  );
});

test('what is no JSON object, or holds numbers that JSON has not, is refused', () => {
  refused('{"lr": NaN}', /run\.json: cannot be read as JSON \(/);
  refused('[{"lr": 1}]', 'is not a JSON object');
  refused('{"lr": 1e999}', /run\.json: a number is out of range.*; write each field once, as plain JSON$/);
});

test('a field that comes twice is refused: the last would win', () => {
  refused(
    '{"lr": 1e-4, "steps": 3, "lr": 1e-2}',
    /run\.json: the key "lr" comes twice.*; write each field once, as plain JSON$/,
  );
  refused('{"lr": 1e-4, "l\\u0072": 1e-2}', /the key "lr" comes twice/);
});

test('an unknown field is told with the one that it is nearest to', () => {
  const see = 'npx alignbook train-dpo --help';
  for (const [wrong, meant] of [
    ['stepz', 'steps'],
    ['batch_size', 'batchSize'],
    ['batch-size', 'batchSize'],
    ['labelSmooting', 'labelSmoothing'],
    ['LR', 'lr'],
    ['max_grad_norm', 'maxGradNorm'],
    ['gama', 'gamma'],
    ['warmpStep', 'warmupSteps'],
  ]) {
    refused(`{"${wrong}": 1}`, `has an unknown field "${wrong}"; did you mean ${meant}? See ${see}`);
  }
  for (const wrong of ['groupSize', 'toString', '__proto__', 'q'])
    refused(`{"${wrong}": 1}`, new RegExp(`has an unknown field "${wrong}"(; did you mean \\w+\\? See|; see) ${see}$`));
  refused(`{"${'x'.repeat(10_000)}": 1}`, /has an unknown field "x{100}…"; /);
});

test('a field that was renamed is told with its new name', () => {
  refused('{"finalShare": 0.1}', 'the field "finalShare" is now "minLrRatio"; rename it');
  refused('{"centring": 0.1}', 'the field "centring" is now "centerRewards"; rename it');
});

test('a name that is not one of those allowed is told with the nearest', () => {
  assert.throws(
    () => read('{"schedule": "cosin"}'),
    /^InputError: schedule must be one of linear, cosine, constant, got "cosin"; did you mean cosine\?$/,
  );
  assert.deepEqual(read('{"frozen": "wte, h.0", "loraTargets": "attn.c_attn"}'), {
    frozen: ['wte', 'h.0'],
    loraTargets: ['attn.c_attn'],
  });
});

test('a number out of its range is told with it, from a file and from an option', () => {
  const range = (text: string, message: string, ...args: string[]) =>
    assert.throws(
      () => read(text, ...args),
      (error) => error instanceof InputError && error.message === message,
      message,
    );
  range('{"lr": -1}', 'lr must be a number from 0 up, got -1');
  range('{"lr": 1e-3}', 'lr must be a number from 0 up, got -1', '--lr=-1');
  range('{"steps": 2.5}', 'steps must be a whole number from 1 up, got 2.5');
  range('{"labelSmoothing": 0.5}', 'labelSmoothing must be in [0, 0.5), got 0.5: from 0.5 on, rejected is preferred');
  range('{"seed": 4294967296}', 'seed must be a whole number from 0 to 4294967295, got 4294967296');
});
