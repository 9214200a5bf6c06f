/**
 * train-reward and score, as processes: a whole run, killed and interrupted ones, folders, normalization, and wrong
 * calls.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { readPairs, RewardModel, scoreNormalization, Tokenizer, type RewardStep } from 'alignbook';

import { root } from '../../scripts/paths';
import { matching } from '../matching';

const folder = mkdtempSync(join(tmpdir(), 'reward-'));
after(() => rmSync(folder, { recursive: true }));

const at = (...names: string[]) => join(folder, ...names);
const split = (name: string, count: number) =>
  readFileSync(join(root, 'data', 'preferences', `${name}.jsonl`), 'utf8')
    .split('\n')
    .slice(0, count)
    .join('\n');
writeFileSync(at('pairs.jsonl'), split('validation', 12));
writeFileSync(at('held.jsonl'), split('test', 8));
writeFileSync(
  at('reward.json'),
  JSON.stringify({
    model: 'tiny',
    data: at('pairs.jsonl'),
    steps: 10,
    batchSize: 2,
    lr: 1e-4,
    warmupSteps: 2,
    saveEvery: 3,
  }),
);

const alignbook = (...args: string[]) => [join(root, 'lib', 'bin', 'alignbook.js'), ...args];
const command = (output: string, ...more: string[]) =>
  alignbook('train-reward', '--config', at('reward.json'), '--output', at(output), ...more);
const run = (args: string[]) => spawnSync(process.execPath, args, { encoding: 'utf8' });
const lines = (output: string) =>
  readFileSync(at(output, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as RewardStep);
const bytes = (output: string) => readFileSync(at(output, 'model', 'model.safetensors'));

async function stopped(
  output: string,
  steps: number,
  signal: NodeJS.Signals,
): Promise<{ status: number | null; stdout: string }> {
  const child = spawn(process.execPath, command(output));
  let stdout = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  const ended = once(child, 'close') as Promise<[number | null]>;
  const written = () =>
    existsSync(at(output, 'metrics.jsonl'))
      ? readFileSync(at(output, 'metrics.jsonl'), 'utf8').split('\n').length - 1
      : 0;
  while (child.exitCode === null && written() < steps) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill(signal);
  return { status: (await ended)[0], stdout };
}

test(
  'a whole run: metrics of every step, and a reward ' + 'model that can be scored with, trained on and exported',
  async () => {
    const { status, stdout, stderr } = run(command('whole'));
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
    assert.match(stdout, /^step 1 of 10 {2}loss \d\.\d+ {2}margin -?\d\.\d+ {2}accuracy [01]\.\d0/m);
    assert.match(stdout, /^10 steps in .*; the model is in .*whole\/model$/m);
    assert.deepEqual(Object.keys(lines('whole')[9]!), [
      'step',
      'loss',
      'accuracy',
      'margin',
      'scores',
      'gradNorm',
      'lr',
      'tokens',
      'seconds',
    ]);
    assert.deepEqual(readdirSync(at('whole')).sort(), [
      'checkpoint-00000006',
      'checkpoint-00000009',
      'metrics.jsonl',
      'model',
      'run-settings.json',
    ]);
    assert.ok(!readdirSync(at('whole', 'model')).includes('generation_config.json'));

    const scored = run(
      alignbook('score', '--model', at('whole', 'model'), '--data', at('held.jsonl'), '--batch-size', '3'),
    );
    assert.equal(scored.status, 0);
    const scores = scored.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { chosen: number; rejected: number });
    assert.equal(scores.length, 8);
    const accuracy = scores.filter(({ chosen, rejected }) => chosen > rejected).length / 8;
    assert.match(
      scored.stderr,
      new RegExp(`^8 pairs: accuracy ${accuracy.toFixed(4)}, calibration error 0\\.\\d{4}, Brier score 0\\.\\d{4}\n$`),
    );

    const more = run(command('more', '--model', at('whole', 'model'), '--steps', '1', '--warmup-steps', '0'));
    assert.equal(more.status, 0, more.stderr);
    assert.equal(
      run(alignbook('export', '--model', at('whole', 'model'), '--out', at('half'), '--dtype', 'F16')).status,
      0,
    );
    await RewardModel.fromPretrained(at('half'));
    const refused = run(alignbook('generate', '--model', at('whole', 'model'), '--prompt', 'a'));
    assert.equal(refused.status, 1);
    assert.match(
      refused.stderr,
      /^alignbook: .*model\.safetensors: has a "score\.weight", so it is a reward model, which writes no text;/,
    );
  },
);

test('killed and started again, it ends with the same metrics and the same bits; interrupted, too', async () => {
  await stopped('killed', 5, 'SIGKILL');
  assert.match(run(command('killed')).stdout, /^going on after step 3 of 10$/m);
  assert.deepEqual(
    lines('killed').map(({ loss }) => loss),
    lines('whole').map(({ loss }) => loss),
  );
  assert.ok(bytes('killed').equals(bytes('whole')));

  const { status, stdout } = await stopped('interrupted', 2, 'SIGINT');
  assert.equal(status, 130);
  assert.match(stdout, /^interrupted; step \d is saved in .*, and the same command goes on from there$/m);
  assert.match(
    run(command('interrupted', '--center-rewards', '0.1')).stderr,
    /training\.json: belongs to a run with other data or options/,
  );
  assert.equal(run(command('interrupted')).status, 0);
  assert.ok(bytes('interrupted').equals(bytes('whole')));
});

test('the head is drawn from the seed, margins of rows count, and centerRewards holds the scores', () => {
  const first = (output: string, ...more: string[]) => {
    const { status, stderr } = run(command(output, '--steps', '1', ...more));
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
    return lines(output)[0]!;
  };
  const plain = first('plain');
  assert.notEqual(first('other', '--seed', '1').scores.chosen, plain.scores.chosen);
  writeFileSync(
    at('margins.jsonl'),
    split('validation', 12)
      .split('\n')
      .map((line, n) => JSON.stringify({ ...(JSON.parse(line) as object), ...(n > 0 && { margin: 3 }) }))
      .join('\n'),
  );
  const wide = first('margins', '--data', at('margins.jsonl'));
  assert.equal(wide.margin, plain.margin);
  assert.ok(wide.loss > plain.loss + 1, 'three more are asked for');
  assert.ok(first('centred', '--center-rewards', '0.5').loss > plain.loss);
});

test(
  'with normalizeOn, the scores of its rows have mean 0 ' + 'and deviation 1; with validation the best step is kept',
  async () => {
    const more = [
      '--validation',
      at('held.jsonl'),
      '--validate-every',
      '2',
      '--best-by',
      'brier',
      '--normalize-on',
      at('held.jsonl'),
      '--frozen',
      'wte,wpe',
      '--lr',
      '3e-4',
    ];
    const { status, stdout, stderr } = run(command('normalized', ...more));
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
    assert.match(
      stdout,
      /^normalized: the scores of .*held\.jsonl had mean -?\d+\.\d{3} and standard deviation \d+\.\d{3}$/m,
    );
    const looks = lines('normalized').flatMap(({ step, validation }) =>
      validation ? [{ step, brier: validation.brier }] : [],
    );
    const best = looks.reduce((least, look) => (look.brier < least.brier ? look : least));
    assert.match(stdout, new RegExp(`^10 steps in .*; the model of step ${best.step}, the best, is in`, 'm'));
    const tokenizer = await Tokenizer.fromPretrained('tiny');
    const pairs = await readPairs(at('held.jsonl'), tokenizer, { maxLength: 256 });
    const samples = pairs.map(({ promptIds, chosenIds, rejectedIds }) => ({
      promptIds,
      responses: [chosenIds, rejectedIds],
    }));
    const { mean, deviation } = scoreNormalization(
      await RewardModel.fromPretrained(at('normalized', 'model')),
      samples,
    );
    // other batches, float32
    assert.ok(Math.abs(mean) < 1e-4 && Math.abs(deviation - 1) < 1e-4, `${mean} and ${deviation}`);
  },
);

test('score takes single responses, too, and leaves out what is wrong on request', () => {
  writeFileSync(
    at('responses.jsonl'),
    '{"prompt":"a","response":"b"}\n{"instruction":"Say hello.","output":"Hello."}\n{"prompt":"a"}\n',
  );
  const score = (...more: string[]) =>
    run(alignbook('score', '--model', at('whole', 'model'), '--data', at('responses.jsonl'), ...more));
  assert.match(score().stderr, /^alignbook: .*responses\.jsonl: line 3: has no "response"$/m);
  const { status, stdout, stderr } = score('--skip-bad', '--output', at('scores.jsonl'));
  assert.deepEqual(
    { status, stdout, stderr: stderr.replaceAll(`${folder}/`, '') },
    { status: 0, stdout: '', stderr: 'left out: responses.jsonl: line 3: has no "response"\n1 of 3 rows left out\n' },
  );
  assert.match(readFileSync(at('scores.jsonl'), 'utf8'), /^\{"score":-?\d[\d.e-]*\}\n\{"score":-?\d[\d.e-]*\}\n$/);
  assert.match(
    run(alignbook('score', '--model', 'tiny', '--data', at('held.jsonl'))).stderr,
    /^alignbook: .*tiny: has no "score\.weight", so it is not a reward model; make one from it with train-reward$/m,
  );
});

test('wrong calls and fields', () => {
  const refused = (status: number, message: RegExp, ...more: string[]) => {
    const { status: got, stderr } = run(command('refused', ...more));
    assert.match(stderr, message);
    assert.equal(got, status);
  };
  refused(
    1,
    matching(
      /^alignbook: loraRank: a reward model is trained without adapters; leave it out, or keep weights/,
      / as they are with frozen$/m,
    ),
    '--lora-rank',
    '4',
  );
  refused(2, /^alignbook: there is no option "--beta"; did you mean --beta1\?/m, '--beta', '0.1');
  refused(2, /^alignbook: there is no option "--token-metrics"/m, '--token-metrics');
  refused(2, /bestBy and patience need a validation/, '--best-by', 'accuracy');
  refused(1, /^alignbook: centerRewards must be a number from 0 up, got -1$/m, '--center-rewards=-1');
  refused(
    1,
    /^alignbook: step 2: loss is NaN, on the rows \d+, \d+ \(counted from 1\); check them/m,
    '--lr',
    '1e30',
    '--warmup-steps',
    '0',
  );
  writeFileSync(at('wrong.jsonl'), `${split('validation', 1).slice(0, -1)},"margin":"much"}`);
  refused(1, /^alignbook: .*wrong\.jsonl: line 1: "margin" is not a number$/m, '--data', at('wrong.jsonl'));
  const usage = run(alignbook('score', '--model', 'tiny'));
  assert.deepEqual([usage.status, /^alignbook: score needs --data or --serve; see /m.test(usage.stderr)], [2, true]);
});
