/** The training commands as processes: complete, killed and interrupted runs, and wrong calls. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { root } from '../scripts/paths';
import { matching } from './matching';

const folder = mkdtempSync(join(tmpdir(), 'train-'));
after(() => rmSync(folder, { recursive: true }));

const pairs = readFileSync(join(root, 'data', 'preferences', 'validation.jsonl'), 'utf8')
  .split('\n')
  .slice(0, 12);
writeFileSync(join(folder, 'pairs.jsonl'), pairs.join('\n'));
const settings = {
  model: 'tiny',
  data: join(folder, 'pairs.jsonl'),
  steps: 10,
  batchSize: 2,
  lr: 1e-4,
  warmupSteps: 2,
  saveEvery: 3,
  beta: 0.1,
};
writeFileSync(join(folder, 'dpo.json'), JSON.stringify(settings));

const command = (output: string, ...more: string[]) => [
  join(root, 'lib', 'bin', 'alignbook.js'),
  'train-dpo',
  '--config',
  join(folder, 'dpo.json'),
  '--output',
  join(folder, output),
  ...more,
];
const run = (...args: string[]) => spawnSync(process.execPath, args, { encoding: 'utf8' });
const lines = (output: string) =>
  readFileSync(join(folder, output, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { step: number; loss: number });
const sha256 = (output: string) =>
  createHash('sha256')
    .update(readFileSync(join(folder, output, 'model', 'model.safetensors')))
    .digest('hex');

/** Starts a run and sends it a signal after `steps` steps. */
async function stopped(
  output: string,
  steps: number,
  signal: NodeJS.Signals,
): Promise<{ status: number | null; stdout: string }> {
  const child = spawn(process.execPath, command(output));
  let stdout = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  const ended = once(child, 'close') as Promise<[number | null]>;
  while (child.exitCode === null && !(existsSync(join(folder, output, 'metrics.jsonl')) && written(output) >= steps))
    await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill(signal);
  return { status: (await ended)[0], stdout };
}
const written = (output: string) => readFileSync(join(folder, output, 'metrics.jsonl'), 'utf8').split('\n').length - 1;

test('a complete run: metrics of every step, a model that the other commands open, two checkpoints', () => {
  const { status, stdout, stderr } = run(...command('whole'));
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  assert.match(stdout, /^step 1 of 10 {2}loss 0\.6931 {2}margin -?0\.000/m);
  assert.match(stdout, /^10 steps in .*; the model is in .*whole\/model$/m);
  assert.deepEqual(
    lines('whole').map(({ step }) => step),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  );
  assert.ok(lines('whole').at(-1)!.loss < 0.69, 'it learned something');
  assert.deepEqual(
    readdirSync(join(folder, 'whole'))
      .sort()
      .map((name) => name.replace(/-[0-9a-f]{16}/, '-…')),
    [
      'checkpoint-00000006',
      'checkpoint-00000009',
      'metrics.jsonl',
      'model',
      'reference-….safetensors',
      'run-settings.json',
      'samples.jsonl',
    ],
  );
  assert.match(
    run(join(root, 'lib', 'bin', 'alignbook.js'), 'weights', join(folder, 'whole', 'model')).stdout,
    /tensors, .* parameters$/m,
  );

  const again = run(...command('whole'));
  assert.equal(again.status, 1);
  assert.match(again.stderr, /whole\/model exists already: this run is complete; give another output folder/);
});

test('a run that is killed and restarted ends with the same metrics and the same bits', async () => {
  await stopped('killed', 5, 'SIGKILL');
  assert.ok(!existsSync(join(folder, 'killed', 'model')));
  const { status, stdout } = run(...command('killed'));
  assert.equal(status, 0);
  assert.match(stdout, /^going on after step 3 of 10$/m);
  assert.deepEqual(
    lines('killed').map(({ loss }) => loss),
    lines('whole').map(({ loss }) => loss),
  );
  assert.equal(sha256('killed'), sha256('whole'));
});

test('an interrupted run saves its step and exits with 130; other settings cannot continue from there', async () => {
  const { status, stdout } = await stopped('interrupted', 2, 'SIGINT');
  assert.equal(status, 130);
  const step = Number(
    /^interrupted; step (\d+) is saved in .*, and the same command goes on from there$/m.exec(stdout)![1],
  );
  assert.ok(step >= 2 && step < 10);

  const other = run(...command('interrupted', '--beta', '0.2'));
  assert.equal(other.status, 1);
  assert.match(other.stderr, /training\.json: belongs to a run with other data or options/);

  const rest = run(...command('interrupted'));
  assert.match(rest.stdout, new RegExp(`^going on after step ${step} of 10$`, 'm'));
  assert.equal(rest.status, 0);
  assert.equal(sha256('interrupted'), sha256('whole'));
});

test('with validation, the best step is kept, and patience ends the run', () => {
  const rows = readFileSync(join(root, 'data', 'preferences', 'test.jsonl'), 'utf8')
    .split('\n')
    .slice(0, 8);
  writeFileSync(join(folder, 'held.jsonl'), rows.join('\n'));
  const more = [
    '--validation',
    join(folder, 'held.jsonl'),
    '--validate-every',
    '1',
    '--patience',
    '2',
    '--frozen',
    'wte,wpe',
    '--steps',
    '60',
    '--lr',
    '2e-3',
    '--schedule',
    'constant',
    '--group-by-length',
    '--token-metrics',
    '--tensor-board',
  ];
  const { status, stdout, stderr } = run(...command('best', ...more));
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  const [, steps, best] = /^(\d+) steps in .*; the model of step (\d+), the best, is in .*best\/model$/m
    .exec(stdout)!
    .map(Number) as [number, number, number];
  assert.ok(steps < 60 && steps === best + 2, stdout);
  assert.match(stdout, new RegExp(`^validation after step ${best} {2}loss .* the best so far$`, 'm'));
  const losses = lines('best').map((line) => (line as unknown as { validation: { loss: number } }).validation.loss);
  assert.equal(losses.indexOf(Math.min(...losses)), best - 1);
  assert.ok('entropy' in lines('best')[0]!);
  assert.ok(!existsSync(join(folder, 'best', 'best')));
  assert.equal(readdirSync(join(folder, 'best', 'tensorboard')).length, 1);
  assert.equal(
    run(
      ...command(
        'to-best',
        ...more.filter(
          (word, n) => ![word, more[n - 1]].some((option) => option === '--patience' || option === '--steps'),
        ),
        '--steps',
        `${best}`,
      ),
    ).status,
    0,
  );
  assert.equal(sha256('best'), sha256('to-best'), 'the weights are those of the best step');
});

test('with loraRank, adapters are trained and saved, and merged at the end; the base remains the reference', () => {
  const more = [
    '--lora-rank',
    '4',
    '--lora-alpha',
    '16',
    '--lora-targets',
    'attn.c_attn,mlp.c_fc',
    '--lr',
    '2e-3',
    '--steps',
    '6',
  ];
  const { status, stdout, stderr } = run(...command('lora', ...more));
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  assert.match(stdout, /^step 1 of 6 {2}loss 0\.6931 /m);
  assert.ok(lines('lora').at(-1)!.loss < 0.69, 'it learned something');
  const weights = (...path: string[]) =>
    run(join(root, 'lib', 'bin', 'alignbook.js'), 'weights', join(folder, 'lora', ...path)).stdout;
  assert.match(weights('checkpoint-00000003', 'model.safetensors'), /h\.0\.mlp\.c_fc\.lora_B/);
  assert.doesNotMatch(weights('checkpoint-00000003', 'model.safetensors'), /weight/);
  assert.equal(
    weights('model'),
    run(join(root, 'lib', 'bin', 'alignbook.js'), 'weights', join(folder, 'whole', 'model')).stdout.replaceAll(
      'whole',
      'lora',
    ),
    'a plain model of the same tensors',
  );

  const adapter = join(folder, 'lora', 'adapter');
  assert.match(stdout, /^the adapter alone, as PEFT reads it, is in .*adapter$/m);
  const sums = (...model: string[]) =>
    run(join(root, 'lib', 'bin', 'alignbook.js'), 'logps', '--model', join(folder, ...model), '--data', settings.data)
      .stdout.trim()
      .split('\n')
      .map((row) => (JSON.parse(row) as { chosen: { sum: number } }).chosen.sum);
  const merged = sums('lora', 'model');
  assert.equal(merged.length, pairs.length);
  sums('lora', 'adapter').forEach((sum, n) => assert.ok(Math.abs(sum - merged[n]!) < 1e-4, `row ${n}`));
  const further = run(...command('further', '--model', adapter, '--continue-adapter', '--steps', '2'));
  assert.deepEqual([further.status, further.stderr], [0, '']);
  assert.match(further.stdout, /^step 1 of 2 {2}loss 0\.6931 /m, 'the reference is the adapter as it was');
  const config = JSON.parse(readFileSync(join(folder, 'further', 'adapter', 'adapter_config.json'), 'utf8')) as object;
  assert.deepEqual(config, JSON.parse(readFileSync(join(adapter, 'adapter_config.json'), 'utf8')));

  rmSync(join(folder, 'lora', 'model'), { recursive: true }); // resumes after step 3
  const bits = () => lines('lora').map(({ loss }) => loss);
  const before = bits();
  assert.match(run(...command('lora', ...more)).stdout, /^going on after step 3 of 6$/m);
  assert.deepEqual(bits(), before);
  assert.equal(run(...command('lora-live', ...more, '--live-reference')).status, 0);
  assert.ok(!readdirSync(join(folder, 'lora-live')).some((name) => name.startsWith('reference')));
  lines('lora-live').forEach(({ loss }, n) => assert.ok(Math.abs(loss - lines('lora')[n]!.loss) < 1e-4));

  const refused = (...options: string[]) => run(...command('lora-refused', ...options)).stderr;
  assert.match(
    refused('--lora-rank', '4', '--frozen', 'wte'),
    /^alignbook: loraRank: with adapters all weights stay as they are; leave out frozen$/m,
  );
  assert.match(
    refused('--lora-alpha', '4'),
    /loraAlpha and loraTargets describe adapters, but there is no loraRank; give it, too/,
  );
  assert.match(
    refused('--lora-rank', '4', '--lora-targets', 'c_attn'),
    /^alignbook: loraTargets must be one of attn\.c_attn, .*, got "c_attn"/m,
  );
});

test('train-sft starts from random weights if asked to', () => {
  writeFileSync(
    join(folder, 'rows.jsonl'),
    '{"instruction":"Say hello.","output":"Hello."}\n{"prompt":"a","response":"b"}\n',
  );
  const { status, stdout } = run(
    join(root, 'lib', 'bin', 'alignbook.js'),
    'train-sft',
    '--model',
    'tiny',
    '--data',
    join(folder, 'rows.jsonl'),
    '--output',
    join(folder, 'sft'),
    '--steps',
    '2',
    '--lr',
    '1e-3',
    '--batch-size',
    '2',
    '--initial-seed',
    '7',
    '--dtype',
    'F16',
  );
  assert.equal(status, 0);
  assert.match(stdout, /^step 1 of 2 {2}loss 10\.\d+/m); // ln 50257 is 10.8
});

test('skipBad, truncation and maxLength say which rows are trained on', () => {
  const data = join(folder, 'some-bad.jsonl');
  writeFileSync(
    data,
    '{"prompt":"a","response":"b"}\n{"prompt":"a"}\n' +
      '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n',
  );
  const sft = (output: string, settings: object, ...more: string[]) => {
    writeFileSync(
      join(folder, 'sft.json'),
      JSON.stringify({ model: 'tiny', data, output: join(folder, output), steps: 1, lr: 1e-3, ...settings }),
    );
    const { status, stderr } = run(
      join(root, 'lib', 'bin', 'alignbook.js'),
      'train-sft',
      '--config',
      join(folder, 'sft.json'),
      ...more,
    );
    // "a" and "b" are one token
    return { status, stderr: stderr.replace(/^\d+ of \d+ rows? .*encoded apart"\)\n/m, '') };
  };
  const told = `left out: ${data}: line 2: has no "response"\n`;
  const written = 'messages are written as the Alpaca prompt: the model has no chat template\n';
  assert.deepEqual(sft('skipped', { skipBad: true }), { status: 0, stderr: `${told}${written}1 of 3 rows left out\n` });
  assert.deepEqual(sft('refused', { skipBad: false }), {
    status: 1,
    stderr: `alignbook: ${data}: line 2: has no "response"\n`,
  });
  const long = `left out: ${data}: line 3: 34 tokens, the limit is 4; shorten its texts or leave it out\n`;
  assert.deepEqual(sft('long', { maxLength: 4 }, '--skip-bad'), {
    status: 0,
    stderr: `${told}${written}${long}2 of 3 rows left out\n`,
  });
  assert.deepEqual(sft('cut', { maxLength: 4, truncation: 'prompt-start' }, '--skip-bad'), {
    status: 0,
    stderr: `${told}${written}1 of 3 rows left out\n`,
  });

  assert.match(sft('x', { skipBad: 'yes' }).stderr, /sft\.json: "skipBad" is not true or false; give true or false$/m);
  assert.match(
    sft('x', { truncation: 'keep_end' }).stderr,
    /^alignbook: truncation must be one of refuse, prompt-start, response-end, got "keep_end"$/m,
  );
  for (const maxLength of [1, 257, 2.5])
    assert.equal(
      sft('x', { maxLength }).stderr,
      `alignbook: maxLength must be a whole number from 2 to 256, the model's window, got ${maxLength}\n`,
    );

  writeFileSync(
    join(folder, 'messages.jsonl'),
    '{"chosen":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],' +
      '"rejected":[{"role":"user","content":"a"},{"role":"assistant","content":"c d e"}]}\nnone',
  );
  const dpo = run(
    ...command(
      'dpo-cut',
      '--data',
      join(folder, 'messages.jsonl'),
      '--steps',
      '1',
      '--max-length',
      '8',
      '--truncation',
      'prompt-start',
      '--skip-bad',
    ),
  );
  assert.equal(dpo.status, 0);
  assert.match(
    dpo.stderr,
    matching(
      /^messages are written as the Alpaca prompt: the model has no chat template\nleft out:/,
      / .*messages\.jsonl: line 2: is not JSON .*\n1 of 2 rows left out\n$/,
    ),
  );
});

test('wrong calls and settings are refused by name', () => {
  const alignbook = (...args: string[]) => run(join(root, 'lib', 'bin', 'alignbook.js'), ...args);
  const missing = alignbook('train-dpo', '--model', 'tiny', '--data', 'x');
  assert.equal(missing.status, 2);
  assert.match(
    missing.stderr,
    /^alignbook: train-dpo needs --output, --lr and --steps or --epochs; see npx alignbook train-dpo --help\n$/,
  );
  assert.equal(run(...command('x', '--steps', 'many')).status, 2);
  writeFileSync(join(folder, 'bad.json'), '{"model":"tiny","stepz":3}');
  const unknown = alignbook('train-sft', '--config', join(folder, 'bad.json'));
  assert.equal(unknown.status, 1);
  assert.match(
    unknown.stderr,
    /bad\.json: has an unknown field "stepz"; did you mean steps\? See npx alignbook train-sft --help\n$/,
  );
  assert.match(
    run(...command('dtype', '--dtype', 'F8')).stderr,
    /^alignbook: dtype must be one of F32, F16, BF16, got "F8"\n$/,
  );
  assert.match(
    run(...command('keep', '--keep', '0')).stderr,
    /^alignbook: keep must be a whole number from 1 up, got 0\n$/,
  );
  const negative = run(...command('negative', '--beta=-1'));
  assert.equal(negative.status, 1);
  assert.match(negative.stderr, /^alignbook: beta must be a number above 0, got -1$/m);
});
