/** train-ppo and train-grpo, as processes: whole runs, interrupted ones, every kind of reward, and wrong calls. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import {
  exportModel,
  GPT2,
  Random,
  RewardModel,
  SafetensorsFile,
  writeSafetensors,
  type GrpoStep,
  type PpoStep,
} from 'alignbook';

import { root } from '../../scripts/paths';
import { matching } from '../matching';
import { writeLetterModel } from '../rollouts';

const folder = mkdtempSync(join(tmpdir(), 'sampling-'));
const [model, scorer, data] = [join(folder, 'letters'), join(folder, 'scorer'), join(folder, 'prompts.jsonl')];
after(() => rmSync(folder, { recursive: true }));
before(async () => {
  await writeLetterModel(model);
  const base = await GPT2.fromPretrained(model);
  const reward = RewardModel.begin(base, new Random(1));
  await exportModel(reward, scorer, { source: model });
  for (const each of [reward, base]) each.dispose();
});
writeFileSync(
  data,
  ['abc', 'd', 'xyz0', 'hello', 'p', 'qr']
    .map((prompt) => JSON.stringify({ prompt, chosen: 'not looked at' }))
    .join('\n'),
);

/** A module in the folder, by its name. */
function module(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}
const lengths = module('lengths.js', 'module.exports = (samples) => samples.map(({ ids }) => ids.length);');
/** Slow, so that a signal comes in time. */
const slow = module(
  'slow.mjs',
  `
  import { setTimeout } from 'node:timers/promises';
  export default async (samples) => {
    await setTimeout(60);
    const early = (text) => [...text].filter((letter) => letter < 'm').length;
    return samples.map(({ text, ended, prompt }) => early(text) / 4 + (ended ? 0.5 : 0) - prompt / 10);
  };`,
);

const settings = { model, data, lr: 1e-3, maxNewTokens: 8, batchSize: 4, steps: 8, saveEvery: 100 };
const COMMANDS = {
  'train-ppo': { ppoEpochs: 2, minibatches: 2, klTarget: 1, klHorizon: 50 },
  'train-grpo': { groupSize: 3, iterations: 2 },
} as const;
type Command = keyof typeof COMMANDS;

function command(name: Command, output: string, more: object, ...words: string[]): string[] {
  const config = module(
    `${output}.json`,
    JSON.stringify({ ...settings, ...COMMANDS[name], output: join(folder, output), ...more }),
  );
  return [join(root, 'lib', 'bin', 'alignbook.js'), name, '--config', config, ...words];
}
const run = (args: readonly string[]) => spawnSync(process.execPath, args, { encoding: 'utf8' });
const lines = <Step>(output: string) =>
  readFileSync(join(folder, output, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Step);
const timeless = (output: string) => lines<{ seconds: number }>(output).map(({ seconds, ...others }) => others);
const sha256 = (output: string) =>
  createHash('sha256')
    .update(readFileSync(join(folder, output, 'model', 'model.safetensors')))
    .digest('hex');

/** Runs it until it has taken so many steps, and interrupts it. */
async function interrupted(
  args: readonly string[],
  output: string,
  steps: number,
): Promise<{ status: number | null; stdout: string }> {
  const child = spawn(process.execPath, args);
  let stdout = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  const ended = once(child, 'close') as Promise<[number | null]>;
  const metrics = join(folder, output, 'metrics.jsonl');
  const written = () => (existsSync(metrics) ? readFileSync(metrics, 'utf8').split('\n').length - 1 : 0);
  while (child.exitCode === null && written() < steps) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill('SIGINT');
  return { status: (await ended)[0], stdout };
}

const SHOWN: Readonly<Record<Command, RegExp>> = {
  'train-ppo':
    /^step 1 of 8 {2}loss -?\d\.\d{4} {2}score -?\d\.\d{3} {2}KL -?0\.00 {2}klCoef 0\.150 {2}clipped \d\.\d{3}$/m,
  'train-grpo': /^step 1 of 8 {2}loss -?\d\.\d{4} {2}score -?\d\.\d{3} {2}KL -?0\.00 {2}ended \d+$/m,
};

test('a reference or a reward model whose window is too short is refused before the first step', async () => {
  const short = (from: string, name: string): string => {
    const out = join(folder, name);
    cpSync(from, out, { recursive: true });
    const config = JSON.parse(readFileSync(join(from, 'config.json'), 'utf8')) as { n_embd: number };
    writeFileSync(join(out, 'config.json'), JSON.stringify({ ...config, n_positions: 9 }));
    using file = new SafetensorsFile(join(from, 'model.safetensors'));
    const tensors = [...file.tensors].map(([key, { shape }]) => ({ name: key, shape, values: file.float32(key) }));
    const cut = tensors.map((tensor) =>
      tensor.name.endsWith('wpe.weight')
        ? { ...tensor, shape: [9, config.n_embd], values: tensor.values.slice(0, 9 * config.n_embd) }
        : tensor,
    );
    writeSafetensors(join(out, 'model.safetensors'), cut);
    return out;
  };
  const [judge, reference] = [short(scorer, 'short-scorer'), short(model, 'short-model')];
  // The longest prompt, hello, has 5 tokens, and 8 come to it.
  for (const [name, more, said] of [
    ['train-ppo', { rewardModel: judge }, `rewardModel ${judge}`],
    ['train-grpo', { rewardModel: scorer, reference }, `reference ${reference}`],
  ] as const) {
    const { status, stderr } = run(command(name, `${name}-short`, more));
    assert.deepEqual(
      { status, stderr },
      {
        status: 1,
        stderr:
          `alignbook: ${said} has a window of 9 tokens, and the longest text has 13; lower maxNewTokens, leave ` +
          'long prompts out (maxLength), or give another model\n',
      },
    );
    assert.ok(!existsSync(join(folder, `${name}-short`, 'metrics.jsonl')));
  }
  const pairs = join(folder, 'long-pairs.jsonl');
  writeFileSync(
    pairs,
    '{"prompt":"abcdef","chosen":"ghijkl","rejected":"m"}\n{"prompt":"a","chosen":"b","rejected":"c"}\n',
  );
  const dpo = run([
    join(root, 'lib', 'bin', 'alignbook.js'),
    'train-dpo',
    '--model',
    model,
    '--reference',
    reference,
    '--data',
    pairs,
    '--output',
    join(folder, 'dpo-short'),
    '--steps',
    '1',
    '--batch-size',
    '2',
    '--lr',
    '1e-3',
  ]);
  assert.equal(dpo.status, 1);
  assert.match(
    dpo.stderr,
    matching(
      /^alignbook: reference .*short-model has a window of 9 tokens, and the longest text has 13; give/,
      / maxLength, or another reference$/m,
    ),
  );
});

for (const name of Object.keys(COMMANDS) as Command[]) {
  test(`${name}: a whole run, and one that is interrupted and goes on to the same metrics and bits`, async () => {
    const whole = `${name}-whole`;
    const { status, stdout, stderr } = run(command(name, whole, { rewardFunction: slow }));
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
    assert.match(stdout, SHOWN[name]);
    assert.match(stdout, /^8 steps in .*; the model is in .*whole\/model$/m);
    assert.deepEqual(
      lines<{ step: number }>(whole).map(({ step }) => step),
      [1, 2, 3, 4, 5, 6, 7, 8],
    );
    assert.deepEqual(readdirSync(join(folder, whole)).sort(), [
      'metrics.jsonl',
      'model',
      'run-settings.json',
      'samples.jsonl',
    ]);
    assert.equal((await GPT2.fromPretrained(join(folder, whole, 'model'))).weights.hasValueHead, false);

    const cut = `${name}-cut`;
    const first = await interrupted(command(name, cut, { rewardFunction: slow }), cut, 2);
    assert.equal(first.status, 130);
    const step = Number(
      /^interrupted; step (\d+) is saved in .*, and the same command goes on from there$/m.exec(first.stdout)![1],
    );
    assert.ok(step >= 2 && step < 8);

    const other = run(command(name, cut, { rewardFunction: lengths }));
    assert.equal(other.status, 1);
    assert.match(other.stderr, /training\.json: belongs to a run with other data or options/);
    const rest = run(command(name, cut, { rewardFunction: slow }));
    assert.deepEqual({ status: rest.status, stderr: rest.stderr }, { status: 0, stderr: '' });
    assert.match(rest.stdout, new RegExp(`^going on after step ${step} of 8$`, 'm'));
    assert.deepEqual(timeless(cut), timeless(whole));
    assert.equal(sha256(cut), sha256(whole));
  });
}

test('a reward function of another text is another run, of whatever kind its module is', async () => {
  const changing = module('changing.cjs', 'module.exports = () => { throw new Error("not this one"); };');
  const failed = run(command('train-grpo', 'changed', { rewardFunction: changing, steps: 2 }));
  assert.notEqual(failed.status, 0);
  assert.match(
    failed.stderr,
    matching(
      /^alignbook: .*changing\.cjs: step 1: the reward function failed in line 1, on sample 0, ".*":/,
      / Error: not this one\n$/,
    ),
  ); // one line, with the place in it
  module(
    'changing.cjs',
    'Object.defineProperty(exports, "__esModule", { value: true });\nexports.default = (samples) => ' +
      'samples.map(({ ids }) => ids.length);',
  );
  const args = command('train-grpo', 'changed', { rewardFunction: changing, steps: 2, saveEvery: 1 });
  assert.equal(run(args).status, 0);
  rmSync(join(folder, 'changed', 'model'), { recursive: true }); // a checkpoint of step 1 is there
  module('changing.cjs', 'module.exports = (samples) => samples.map(({ ids }) => -ids.length);');
  assert.match(run(args).stderr, /training\.json: belongs to a run with other data or options/);
});

test('a reward model, a function, and both, whose scores are added', () => {
  const scores = (output: string, more: object) => {
    const { status, stderr } = run(command('train-ppo', output, { steps: 1, lr: 0, ...more }));
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
    return lines<PpoStep>(output)[0]!.objective.scores;
  };
  const ofModel = scores('of-model', { rewardModel: scorer });
  const ofFunction = scores('of-function', { rewardFunction: lengths });
  assert.notEqual(ofModel, ofFunction);
  assert.ok(
    Math.abs(scores('of-both', { rewardModel: scorer, rewardFunction: lengths }) - ofModel - ofFunction) < 1e-9,
  );
  const [{ tokens }] = lines<PpoStep>('of-function') as [PpoStep];
  assert.equal(ofFunction, tokens / 4, 'the mean length of four samples');

  // Penalties, by hand: each sample's length once more, and one for each that did not end.
  const [{ eosCount }] = lines<PpoStep>('of-function') as [PpoStep];
  const penalized = scores('penalized', { rewardFunction: lengths, lengthPenalty: 1, missingEosPenalty: 1 });
  assert.ok(Math.abs(penalized + (4 - eosCount) / 4) < 1e-9, `${penalized}`);
});

test('several rewards by name: their sum is the score, a run goes on if only paths change, mistakes are named', () => {
  const halves = module('halves.js', 'module.exports = (samples) => samples.map(({ ended }) => (ended ? 0.5 : 0));');
  const named = (rewards: readonly string[], steps: number, output = 'named', lr = 0) =>
    run(command('train-grpo', output, { lr, steps, rewards }));
  const made = named([`size=${lengths}:0.1`, `ended=${halves}`, `judge=${scorer}:0`], 1);
  assert.deepEqual([made.status, made.stderr], [0, '']);
  const [first] = lines<GrpoStep>('named') as [GrpoStep];
  const of = first.rewards!;
  assert.deepEqual(Object.keys(of), ['size', 'ended', 'judge']);
  assert.equal(of['size']!.mean, first.tokens / 12, 'the mean length of twelve samples');
  assert.ok(Math.abs(of['ended']!.mean - first.eosCount / 24) < 1e-12);
  assert.ok(Math.abs(first.scores.mean - of['size']!.mean / 10 - of['ended']!.mean) < 1e-9, 'the judge only watches');

  // A run that failed goes on if a module has moved, but not with another weight.
  const late = module(
    'late.js',
    `let calls = 0; module.exports = (samples) => {
      const mended = require('node:fs').existsSync(${JSON.stringify(join(folder, 'mended'))});
      if (++calls === 2 && !mended) throw Error('late');
      return samples.map(({ ended }) => (ended ? 0.5 : 0));
    };`,
  );
  const failed = named([`size=${lengths}`, `late=${late}:2`], 2, 'going');
  assert.match(`${failed.status} ${failed.stderr}`, /^1 alignbook: .*late\.js: step 2: the reward function failed/);
  cpSync(late, join(folder, 'moved.js'));
  module('mended', '');
  const other = named([`size=${lengths}`, `late=${late}:3`], 2, 'going');
  assert.match(`${other.status} ${other.stderr}`, /^1 alignbook: .*rewards/);
  const going = named([`size=${lengths}`, `late=${join(folder, 'moved.js')}:2`], 2, 'going');
  assert.match(going.stdout, /^going on after step 1 of 2$/m);

  for (const [rewards, message] of [
    [
      ['lengths.js'],
      '1 alignbook: rewards: "lengths.js" must be NAME=SOURCE or NAME=SOURCE:WEIGHT, such as right=right.js:1',
    ],
    [['a=x.js:half'], '1 alignbook: rewards: the weight of a must be a number, got "half"'],
    [['a=x.js', 'a=y.js'], '1 alignbook: rewards: two are named a; give each a name of its own'],
    [['a b=x.js'], '1 alignbook: rewards: "a b" cannot be a name; use letters, digits, _ and - only'],
  ] as const) {
    const { status, stderr } = named(rewards, 1, 'refused');
    assert.equal(`${status} ${stderr.split('\n')[0]}`, message);
  }
  const both = run(command('train-grpo', 'refused', { rewards: [`a=${lengths}`], rewardFunction: lengths }));
  assert.match(`${both.status} ${both.stderr}`, /give either rewards or rewardFunction|rewards/);
});

test('adapters, RLOO, another reference, frozen weights and each option of its own', () => {
  const adapted = run(
    command('train-grpo', 'adapted', {
      rewardFunction: lengths,
      steps: 2,
      algorithm: 'rloo',
      loraRank: 2,
      saveEvery: 1,
    }),
  );
  assert.deepEqual({ status: adapted.status, stderr: adapted.stderr }, { status: 0, stderr: '' });
  assert.match(
    run([
      join(root, 'lib', 'bin', 'alignbook.js'),
      'weights',
      join(folder, 'adapted', 'checkpoint-00000001', 'model.safetensors'),
    ]).stdout,
    /lora_A/,
  );
  const values = run(
    command('train-ppo', 'values', {
      rewardFunction: lengths,
      steps: 2,
      loraRank: 2,
      saveEvery: 1,
      reference: join(folder, 'adapted', 'model'),
    }),
  );
  assert.deepEqual({ status: values.status, stderr: values.stderr }, { status: 0, stderr: '' });
  assert.match(
    run([
      join(root, 'lib', 'bin', 'alignbook.js'),
      'weights',
      join(folder, 'values', 'checkpoint-00000001', 'model.safetensors'),
    ]).stdout,
    /v_head\.weight/,
  );
  assert.ok(Math.abs(lines<PpoStep>('values')[0]!.objective.kl) > 1e-4, 'the reference is another model');

  const words = [
    '--kl-ratio',
    '--loss-type',
    'dr_grpo',
    '--no-scale-rewards',
    '--temperature',
    '0.8',
    '--frozen',
    'wte,wpe',
  ];
  const grpo = run(command('train-grpo', 'words', { rewardFunction: lengths, steps: 1 }, ...words));
  assert.deepEqual({ status: grpo.status, stderr: grpo.stderr }, { status: 0, stderr: '' });
  assert.equal(lines<GrpoStep>('words').length, 1);
  const advantages = (output: string, ...more: string[]) => {
    assert.equal(
      run(command('train-grpo', output, { rewardFunction: lengths, steps: 1, beta: 0, scaleRewards: true }, ...more))
        .status,
      0,
    );
    return lines<GrpoStep>(output)[0]!.gradNorm;
  };
  assert.notEqual(advantages('divided'), advantages('undivided', '--no-scale-rewards')); // the option wins
  const kept = (more: object, output: string) => {
    assert.equal(run(command('train-ppo', output, { rewardFunction: lengths, steps: 1, ...more })).status, 0);
    return lines<PpoStep>(output)[0]!.loss;
  };
  assert.notEqual(kept({ whitenRewards: false }, 'kept'), kept({ whitenRewards: true }, 'scaled'));
});

test('the embedded model takes a step of each', () => {
  for (const name of Object.keys(COMMANDS) as Command[]) {
    const { status, stderr } = run(
      command(name, `${name}-tiny`, { model: 'tiny', rewardFunction: lengths, steps: 1, batchSize: 2 }),
    );
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  }
});

test('wrong calls and settings are told by name', () => {
  const told = (more: object, name: Command = 'train-ppo', ...words: string[]) => {
    const { status, stderr } = run(command(name, 'refused', { rewardFunction: lengths, ...more }, ...words));
    return `${status} ${stderr.split('\n')[0]}`;
  };
  for (const [name, last] of [
    ['train-ppo', '--reward-function'],
    ['train-grpo', '--reward-function or --rewards'],
  ] as const)
    assert.equal(
      told({ rewardFunction: undefined }, name),
      `2 alignbook: ${name} needs --reward-model or ${last}; see npx alignbook ${name} --help`,
    );
  assert.match(told({ data: undefined }), /^2 alignbook: train-ppo needs --data; see npx alignbook train-ppo --help$/);
  assert.match(
    told({ rewardFunction: module('none.js', 'exports.score = () => [];') }),
    /^1 alignbook: .*none\.js: exports no function; write module\.exports = \(samples\) => samples\.map\(/,
  );
  assert.match(
    told({ rewardFunction: module('broken.js', 'module.exports = (') }),
    /^1 alignbook: .*broken\.js: cannot be loaded as a module \(Unexpected/,
  );
  assert.match(
    told({ rewardFunction: join(folder, 'absent.js') }),
    /^1 alignbook: .*absent\.js: is not there; give the file of a JavaScript module$/,
  );
  assert.match(
    told({ rewardFunction: module('few.js', 'module.exports = () => [1];') }),
    /^1 alignbook: .*few\.js: step 1: reward gave 1 score for 4 samples; it must give one for each$/,
  );
  assert.match(
    told({ rewardModel: model }),
    /^1 alignbook: .*letters: has no "score\.weight", so it is not a reward model; make one from it with train-reward$/,
  );
  for (const [name, field] of [
    ['train-ppo', 'groupSize'],
    ['train-grpo', 'groupByLength'],
  ] as const) {
    assert.match(
      told({ [field]: 1 }, name),
      new RegExp(
        `^1 alignbook: .*refused\\.json: has an unknown field "${field}"; .*see npx alignbook ${name} --help$`,
      ),
    );
  }
  // told before that
  const never = { rewardFunction: module('never.js', 'module.exports = () => { throw new Error("sampled"); };') };
  assert.equal(
    told({ ...never, groupSize: 1 }, 'train-grpo'),
    '1 alignbook: groupSize must be a whole number from 2 up, got 1',
  );
  assert.equal(
    told({ ...never, lossType: 'bnpo' }, 'train-grpo'),
    '1 alignbook: lossType must be one of grpo, dapo, dr_grpo, got "bnpo"',
  );
  assert.equal(
    told({ ...never, minibatches: 3 }),
    '1 alignbook: a rollout of 4 samples cannot be split into 3 equal minibatches; change batchSize or minibatches',
  );
  assert.match(
    told({}, 'train-grpo', '--algorithm', 'ppo'),
    /^1 alignbook: algorithm must be one of grpo, rloo, got "ppo"/,
  );
  assert.match(
    told({ maxNewTokens: 16 }),
    matching(
      /^1 alignbook: .*prompts\.jsonl: line 4: a prompt of 5 tokens leaves no room for 16 new ones,/,
      / the limit is 20; shorten it, lower maxNewTokens, or leave the row out$/,
    ),
  );
  assert.match(told({ maxNewTokens: 16, skipBad: true }), /^0 left out: .*line 4: a prompt of 5 tokens/);
  rmSync(join(folder, 'refused'), { recursive: true });
  assert.match(told({ maxNewTokens: 16, truncation: 'prompt-start', steps: 1 }), /^0 $/);
});

test('the help describes both, and their rewards', () => {
  const help = (...args: string[]) => run([join(root, 'lib', 'bin', 'alignbook.js'), ...args, '--help']);
  const { status, stdout } = help();
  assert.equal(status, 0);
  for (const said of [/^ {2}train-METHOD +Train/m, /train-ppo and train-grpo on rewards/]) assert.match(stdout, said);
  const one = (text: string) => text.replaceAll(/\s+/g, ' ');
  for (const name of ['train-ppo', 'train-grpo'])
    assert.match(one(help(name).stdout), / --reward-model <text> Score responses by this model of train-reward/);
  assert.match(one(help('train-ppo').stdout), / --kl-target <n> Adapt klCoef .* N nats/);
  assert.match(one(help('train-grpo').stdout), / --group-size <n> Sample N responses for each prompt\. .*default: 8/);
});
