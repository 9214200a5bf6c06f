/**
 * A training handed over to TRL: the files that are written, the settings that are refused, and the comparison of the
 * steps.
 */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { FileError, InputError, readPairs, readPrompts, Tokenizer } from 'alignbook';
import { run } from 'alignbook/dist/commands/handoffCommand';
import { compareTrajectory, comparisonText } from 'alignbook/dist/handoff/compare';
import { batchOrder } from 'alignbook/dist/training/order';

import { root } from '../scripts/paths';

const folder = mkdtempSync(join(tmpdir(), 'handoff-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const pairs = join(root, 'data', 'preferences', 'validation.jsonl');
const config = (name: string, settings: object): string => {
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify({ model: 'tiny', data: pairs, batchSize: 4, steps: 6, lr: 1e-4, ...settings }));
  return path;
};
const lines = (path: string): Record<string, unknown>[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const json = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;

const dpo = join(folder, 'dpo');
before(async () => {
  await run({
    config: config('dpo.json', { seed: 3, warmupSteps: 2, bestBy: 'loss', validation: pairs }),
    out: dpo,
    steps: 2,
  });
});

test('the folder holds the start, the rows in order, every setting, and the first steps', async () => {
  assert.deepEqual(readdirSync(dpo).sort(), [
    'README.md',
    'ddp.yaml',
    'expected.jsonl',
    'fsdp2.yaml',
    'model',
    'order.json',
    'ray_train.py',
    'requirements-ray.txt',
    'requirements.txt',
    'rows.jsonl',
    'run.json',
    'train.py',
  ]);
  const { kind, compare, settings } = json(join(dpo, 'run.json')) as { settings: Record<string, unknown> } & Record<
    string,
    unknown
  >;
  assert.deepEqual([kind, compare], ['dpo', 2]);
  // alignbook's defaults, which differ from TRL's
  assert.deepEqual(
    ['weightDecay', 'epsilon', 'beta', 'loss', 'schedule', 'labelSmoothing'].map((name) => settings[name]),
    [0.01, 1e-8, 0.1, 'sigmoid', 'linear', 0],
  );
  assert.equal('bestBy' in settings, false);
  const order = json(join(dpo, 'order.json')) as unknown as number[];
  const rows = lines(join(dpo, 'rows.jsonl'));
  assert.equal(order.length, 6 * 4);
  assert.equal(rows.length, new Set(order).size);
  // every place of every batch has the row that trainDpo takes there
  const all = await readPairs(pairs, await Tokenizer.fromPretrained('tiny'), { maxLength: 256 });
  const batch = batchOrder(all.length, { batchSize: 4, seed: 3 });
  const taken = [0, 1, 2, 3, 4, 5].flatMap((step) => batch(step)).map((n) => [...all[n]!.chosenIds]);
  assert.deepEqual(
    order.map((place) => rows[place]!['chosen_ids']),
    taken,
  );
  assert.deepEqual(Object.keys(rows[0]!), [
    'prompt_ids',
    'chosen_ids',
    'rejected_ids',
    'ref_chosen_logps',
    'ref_rejected_logps',
  ]);
  const steps = lines(join(dpo, 'expected.jsonl'));
  assert.equal(steps.length, 2);
  assert.ok(Math.abs((steps[0]!['loss'] as number) - Math.LN2) < 1e-6);
});

test('SFT and reward models: ids with the prompt, and a mask of the response', async () => {
  const instructions = join(root, 'data', 'instructions', 'train.jsonl');
  await run({ config: config('sft.json', { data: instructions }), out: join(folder, 'sft'), kind: 'sft', steps: 1 });
  const { input_ids: ids, completion_mask: mask } = lines(join(folder, 'sft', 'rows.jsonl'))[0] as Record<
    string,
    number[]
  >;
  assert.equal(ids!.length, mask!.length);
  assert.equal(ids!.at(-1), 50256);
  assert.deepEqual([mask![0], mask!.at(-1)], [0, 1]);

  await run({ config: config('reward.json', {}), out: join(folder, 'reward'), kind: 'reward', steps: 1 });
  assert.deepEqual(Object.keys(lines(join(folder, 'reward', 'rows.jsonl'))[0]!), ['chosen_ids', 'rejected_ids']);
  const { settings } = json(join(folder, 'reward', 'run.json')) as { settings: Record<string, unknown> };
  // the models of train-reward are read before the end token, like TRL's
  assert.equal(settings['readBeforeEnd'], true);
  assert.deepEqual(json(join(folder, 'reward', 'model', 'config.json'))['architectures'], [
    'GPT2ForSequenceClassification',
  ]);
});

test('GRPO: prompts in order, settings, and a reward that asks a server; nothing to compare', async () => {
  const grpo = join(folder, 'grpo');
  const settings = { rewardModel: './reward/model', groupSize: 4, maxNewTokens: 16 };
  await run({ config: config('grpo.json', settings), out: grpo, kind: 'grpo' });
  assert.deepEqual(
    readdirSync(grpo).filter((name) => !existsSync(join(dpo, name))),
    ['grpo.py', 'reward.py'],
  );
  assert.equal(existsSync(join(grpo, 'expected.jsonl')), false);
  const { kind, compare, settings: resolved } = json(join(grpo, 'run.json')) as Record<string, object>;
  assert.deepEqual([kind, compare], ['grpo', 0]);
  // alignbook's defaults, which differ from TRL's
  const { beta, lossType, klRatio, iterations } = resolved as Record<string, unknown>;
  assert.deepEqual([beta, lossType, klRatio, iterations], [0.04, 'grpo', false, 1]);
  const order = json(join(grpo, 'order.json')) as unknown as number[];
  const rows = lines(join(grpo, 'rows.jsonl'));
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const prompts = await readPrompts(pairs, tokenizer, { maxLength: 256, maxNewTokens: 16 });
  const batch = batchOrder(prompts.length, { batchSize: 4, seed: 0 });
  assert.deepEqual(
    order.map((place) => rows[place]),
    [0, 1, 2, 3, 4, 5].flatMap((step) => batch(step)).map((n) => ({ prompt: prompts[n] })),
  );
  writeFileSync(join(folder, 'any.json'), '{}');
  assert.throws(() => compareTrajectory(join(folder, 'any.json'), grpo), /is of GRPO.*; there is nothing to compare$/);
});

test('what cannot be equal is refused, and nothing is written', async () => {
  const refused = async (settings: object, message: RegExp, out = 'refused', kind: 'dpo' | 'grpo' | 'ppo' = 'dpo') => {
    await assert.rejects(
      run({ config: config('refused.json', settings), out: join(folder, out), kind }),
      (error: Error) => error instanceof InputError && message.test(error.message),
    );
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.startsWith('refused') && name !== 'refused.json'),
      [],
    );
  };
  await refused({ loraRank: 4 }, /^loraRank: /);
  await refused({ frozen: 'wte' }, /^frozen: /);
  await refused({ minLrRatio: 0.1 }, /^minLrRatio: transformers has no linear schedule that ends above 0/);
  await refused({ loss: 'cpo' }, /^loss cpo has no equal/);
  // TRL's sigmoid ignores its label_smoothing
  await refused({ labelSmoothing: 0.1 }, /^labelSmoothing: TRL's sigmoid has none/);
  await refused({ loraAlpha: 4 }, /^loraAlpha: /);
  await refused({ steps: 10_000_000 }, /are more than the 10000000 places/);
  await refused({}, /dpo is not empty/, 'dpo');
  await refused({ batchSize: 0 }, /^batchSize must be/);
  const judged = { rewardModel: './reward/model' };
  const grpo = (settings: object, message: RegExp) => refused({ ...judged, ...settings }, message, 'refused', 'grpo');
  await grpo({ algorithm: 'rloo' }, /^algorithm: train\.py runs TRL's GRPOTrainer/);
  await grpo({ rewardFunction: 'reward.js' }, /^rewardFunction: train\.py cannot run JavaScript/);
  await grpo({ rewardModel: undefined, rewards: ['right=right.js'] }, /^rewards: train\.py cannot run JavaScript/);
  await grpo({ skipEqual: true }, /^skipEqual: TRL has no such setting; leave it out$/);
  await grpo({ reference: 'gpt2' }, /^reference: TRL takes the model before training/);
  await grpo({ loraRank: 4 }, /^loraRank: .*train with adapters by train-grpo$/);
  await grpo({ groupSize: 1 }, /^groupSize must be/);
  await refused(
    judged,
    /^kind ppo: TRL has had no PPO trainer since 1\.12; train on one machine by train-ppo/,
    'x',
    'ppo',
  );
  assert.ok(existsSync(join(dpo, 'run.json')));
});

test('a file that is not the config of a training is refused in one line, and nothing is written', async () => {
  const refused = async (content: string, message: RegExp) => {
    const path = join(folder, 'odd.json');
    writeFileSync(path, content);
    await assert.rejects(
      run({ config: path, out: join(folder, 'odd') }),
      (error: Error) => message.test(error.message) && !error.message.includes('\n'),
    );
    assert.ok(!readdirSync(folder).some((name) => name.startsWith('odd') && name !== 'odd.json'));
  };
  await refused(
    '{"model": "tiny"}',
    /odd\.json: is not a whole training: train-dpo needs --data, --lr and .*as fields of/,
  );
  await refused('{"prompt": "Once", "temperature": 1}', /odd\.json: .*unknown field/);
  await refused('[1, 2]', /odd\.json: is not a JSON object/);
  await refused('{"model": ', /odd\.json: cannot be read as JSON/);
});

const FIGURES = {
  loss: 'loss',
  grad_norm: 'gradNorm',
  learning_rate: 'lr',
  'logps/chosen': 'logps.chosen',
  'logps/rejected': 'logps.rejected',
  'rewards/chosen': 'rewards.chosen',
  'rewards/rejected': 'rewards.rejected',
  'rewards/margins': 'rewards.margins',
  'rewards/accuracies': 'rewards.accuracies',
} as const;

/** The trajectory that an engine without any rounding of its own would write. */
function trajectory(
  name: string,
  change: (steps: Record<string, number>[]) => unknown = () => undefined,
  id = json(join(dpo, 'run.json'))['id'],
): string {
  const steps = lines(join(dpo, 'expected.jsonl')).map((own, n) => ({
    step: n + 1,
    ...Object.fromEntries(
      Object.entries(FIGURES).map(([theirs, ours]) => [
        theirs,
        ours.split('.').reduce<unknown>((value, part) => (value as Record<string, unknown>)[part], own) as number,
      ]),
    ),
  }));
  change(steps);
  const path = join(folder, name);
  const how = { processes: 2, distributedType: 'MULTI_CPU', backend: 'gloo', accumulate: 1, mixedPrecision: 'no' };
  writeFileSync(path, JSON.stringify({ id, how, steps }));
  return path;
}

test('equal steps pass; the report begins with what ran, and skips accuracies at ties', () => {
  const comparison = compareTrajectory(trajectory('equal.json'), dpo);
  assert.equal(comparison.passes, true);
  const text = comparisonText(comparison).split('\n');
  assert.equal(text[0], '2 processes, MULTI_CPU, gloo');
  // the warm-up begins at a learning rate of 0, so policy and reference agree in both steps
  assert.match(text.at(-2)!, /^not compared: rewards\/accuracies at 2 steps/);
  assert.equal(text.at(-1), 'the first 2 steps are the same within the bounds');
});

test('long responses get room for the rounding of their log-probs, as far as beta carries it', () => {
  const long = join(folder, 'long');
  cpSync(dpo, long, { recursive: true });
  const steps = lines(join(dpo, 'expected.jsonl')) as { logps: object }[];
  // 3,600 nats in two responses, beta 0.1: 0.1 * 3600 * 1e-6 = 3.6e-4
  const logps = { chosen: -1800, rejected: -1800 };
  writeFileSync(join(long, 'expected.jsonl'), steps.map((step) => `${JSON.stringify({ ...step, logps })}\n`).join(''));
  const moved = (by: number) => (own: Record<string, number>[]) => {
    own[1]!['logps/chosen'] = own[1]!['logps/rejected'] = own[0]!['logps/chosen'] = own[0]!['logps/rejected'] = -1800;
    own[1]!['loss']! += by;
    own[1]!['rewards/margins']! += by;
  };
  assert.equal(compareTrajectory(trajectory('room.json', moved(3.5e-4)), long).passes, true);
  assert.equal(compareTrajectory(trajectory('more.json', moved(3.7e-4)), long).passes, false);
});

test('accuracies count where the margin is more than rounding, but for one pair', () => {
  const decided = join(folder, 'decided');
  cpSync(dpo, decided, { recursive: true });
  const steps = lines(join(dpo, 'expected.jsonl')) as { rewards: object }[];
  const withMargins = (margins: number) =>
    writeFileSync(
      join(decided, 'expected.jsonl'),
      steps.map((step) => `${JSON.stringify({ ...step, rewards: { ...step.rewards, margins } })}\n`).join(''),
    );
  const off = (pairs: number, margins: number) =>
    trajectory('accuracy.json', (own) => {
      for (const step of own) Object.assign(step, { 'rewards/margins': margins });
      own[1]!['rewards/accuracies']! += pairs / 4;
    });
  withMargins(9e-6);
  assert.equal(compareTrajectory(off(4, 9e-6), decided).passes, true);
  withMargins(1.1e-5);
  assert.equal(compareTrajectory(off(1, 1.1e-5), decided).passes, true);
  assert.equal(compareTrajectory(off(2, 1.1e-5), decided).passes, false);
});

test('a difference beyond its bound fails, and names figure and step', () => {
  const within = compareTrajectory(
    trajectory('within.json', (steps) => (steps[1]!['loss']! += 0.9e-5)),
    dpo,
  );
  assert.equal(within.passes, true);
  const beyond = compareTrajectory(
    trajectory('beyond.json', (steps) => (steps[1]!['loss']! += 1.1e-5)),
    dpo,
  );
  assert.deepEqual(
    beyond.differences.filter(({ passes }) => !passes).map(({ figure, step }) => [figure, step]),
    [['loss', 2]],
  );
  const broken = compareTrajectory(
    trajectory('nan.json', (steps) => (steps[0]!['grad_norm'] = NaN)),
    dpo,
  );
  assert.equal(broken.passes, false);
});

test('a trajectory that is cut off, of another run, or none at all: one line each', () => {
  const refused = (path: string, message: RegExp) =>
    assert.throws(
      () => compareTrajectory(path, dpo),
      (error: Error) => error instanceof FileError && message.test(error.message) && !error.message.includes('\n'),
    );
  refused(
    trajectory('short.json', (steps) => steps.pop()),
    /has 1 of 2 steps; let train\.py finish them$/,
  );
  refused(trajectory('other.json', undefined, 'another'), /belongs to another run/);
  writeFileSync(join(folder, 'cut.json'), '{"id": "x", "st');
  refused(join(folder, 'cut.json'), /cannot be read as JSON/);
  writeFileSync(join(folder, 'none.json'), '{"steps": 3}');
  refused(join(folder, 'none.json'), /is not a trajectory of train\.py$/);
  refused(
    trajectory('null.json', (steps) => steps.splice(1, 1, null as never)),
    /is not a trajectory of train\.py$/,
  );
  refused(
    trajectory('swapped.json', (steps) => steps.reverse()),
    /has another step in the place of step 1/,
  );
  assert.throws(() => compareTrajectory(trajectory('equal.json'), folder), /has no run\.json; give the folder that/);
});
