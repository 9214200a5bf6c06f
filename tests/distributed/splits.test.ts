/**
 * `npm run test:distributed`: trainings handed over, on other numbers of processes, schedules and losses than in
 * test:long, and steps made different on purpose, which the check must notice.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';

import { root } from '../../scripts/paths';
import { check, handOver, randomModel, train } from '../handedOver';

const folderName = (name: string): string => name.replaceAll(/[ ,]+/g, '-');

/** Trainings, and how they are split: processes and accumulated parts of each process's batch. */
const RUNS = [
  { name: 'sigmoid, tiny, 1x8', settings: {}, processes: 1, accumulate: 1 },
  { name: 'sigmoid, cosine, random weights, 2x2x2', settings: { schedule: 'cosine' }, processes: 2, accumulate: 2 },
  { name: 'sigmoid, random weights, 4x2', settings: {}, processes: 4, accumulate: 1 },
  { name: 'ipo, cosine, tiny, 4x2', settings: { loss: 'ipo', schedule: 'cosine' }, processes: 4, accumulate: 1 },
  { name: 'ipo, random weights, 1x8', settings: { loss: 'ipo' }, processes: 1, accumulate: 1 },
  {
    name: 'robust, cosine to a tenth, random weights, 2x4',
    settings: { loss: 'robust', schedule: 'cosine', minLrRatio: 0.1 },
    processes: 2,
    accumulate: 1,
  },
  { name: 'robust, tiny, 2x2x2', settings: { loss: 'robust' }, processes: 2, accumulate: 2 },
] as const;

let random: string;
before(async () => {
  random = await randomModel('random', { nLayer: 2, nHead: 2, nEmbd: 64 });
});

const modelOf = (name: string): { model?: string } => (name.includes('random weights') ? { model: random } : {});

for (const { name, settings, processes, accumulate } of RUNS)
  test(`DPO, ${name}: the same 20 steps`, () => {
    const handed = handOver(folderName(name), { steps: 20, ...modelOf(name), ...settings });
    train(handed, processes, '--compare', '--accumulate', String(accumulate));
    const { status, stdout } = check(handed);
    assert.equal(status, 0, stdout);
    assert.ok(stdout.startsWith(`${processes} process`), stdout);
  });

test('SFT and a reward model, six steps on two processes', () => {
  const instructions = join(root, 'data', 'instructions', 'train.jsonl');
  const sft = handOver('sft', { data: instructions, steps: 6 }, '--kind', 'sft', '--steps', '6');
  const reward = handOver('reward', { steps: 6 }, '--kind', 'reward', '--steps', '6');
  for (const handed of [sft, reward]) {
    train(handed, 2, '--compare');
    const { status, stdout } = check(handed);
    assert.equal(status, 0, stdout);
  }
});

/** Lets train.py take other steps than alignbook's, by a change of one of its files. */
function changed(handed: string, file: string, change: (text: string) => string): void {
  const path = join(handed, file);
  const text = readFileSync(path, 'utf8');
  assert.notEqual(change(text), text, file);
  writeFileSync(path, change(text));
}

const FAULTS = [
  {
    // aot differs only from where the policy puts the pairs into another order than the reference: not in small steps
    name: 'aot on two processes',
    settings: { loss: 'aot', lr: 1e-3, warmupSteps: 0 },
    fault: (handed: string) =>
      changed(handed, 'run.json', (text) => text.replace('"oneProcess": true', '"oneProcess": false')),
  },
  {
    name: 'the sft loss on two processes',
    settings: { loss: 'sft' },
    fault: (handed: string) =>
      changed(handed, 'run.json', (text) => text.replace('"oneProcess": true', '"oneProcess": false')),
  },
  {
    name: 'rows in another order',
    settings: {},
    fault: (handed: string) =>
      changed(handed, 'order.json', (text) => JSON.stringify((JSON.parse(text) as number[]).toReversed())),
  },
  {
    name: 'dropout left on in SFT',
    kind: 'sft',
    settings: { data: join(root, 'data', 'instructions', 'train.jsonl') },
    fault: (handed: string) =>
      changed(handed, 'train.py', (text) => text.replace('"resid_pdrop"), 0.0)', '"resid_pdrop"), 0.1)')),
  },
  {
    name: 'a reward model read at another token',
    kind: 'reward',
    settings: {},
    fault: (handed: string) =>
      changed(handed, 'run.json', (text) => text.replace('"readBeforeEnd": true', '"readBeforeEnd": false')),
  },
  { name: 'bfloat16 left on', settings: {}, fault: () => undefined, flags: ['--bf16'] },
];
for (const { name, kind = 'dpo', settings, fault, flags = [] } of FAULTS)
  test(`the check notices ${name}`, () => {
    const given = { steps: 6, ...modelOf(name), ...settings };
    const handed = handOver(folderName(name), given, '--kind', kind, '--steps', '6');
    fault(handed);
    train(handed, 2, '--compare', ...flags);
    const { status, stdout } = check(handed);
    assert.equal(status, 1, stdout);
    assert.match(stdout, /BEYOND ITS BOUND/);
  });

for (const loss of [
  'hinge',
  'exo_pair',
  'discopop',
  'sigmoid_norm',
  'nca_pair',
  'bco_pair',
  'sppo_hard',
  'apo_zero',
  'apo_down',
])
  test(`DPO, loss ${loss} on two processes: the same six steps`, () => {
    const handed = handOver(loss, { steps: 6, loss }, '--steps', '6');
    train(handed, 2, '--compare');
    const { status, stdout } = check(handed);
    assert.equal(status, 0, stdout);
  });

for (const settings of [
  { divergence: 'js' },
  { divergence: 'forward_kl' },
  { divergence: 'alpha', divergenceAlpha: 0.3 },
])
  test(`DPO, ${JSON.stringify(settings)} on two processes: the same six steps`, () => {
    const handed = handOver(settings.divergence, { steps: 6, ...settings }, '--steps', '6');
    train(handed, 2, '--compare');
    const { status, stdout } = check(handed);
    assert.equal(status, 0, stdout);
  });
