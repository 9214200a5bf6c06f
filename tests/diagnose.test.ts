/**
 * The diagnosis of runs: the runs made on purpose (madeRuns.ts) and the project's own healthy ones, each rule on both
 * sides of its threshold by hand, and what the command does with damaged folders.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { diagnose, InputError, showDiagnosis, type Diagnosis } from 'alignbook';
import { readCall } from 'alignbook/dist/commands/program';
import { readRun } from 'alignbook/dist/commands/readRun';
import { diagnoseRecord, diagnosisRules } from 'alignbook/dist/training/diagnosis';
import { comparisonLines } from 'alignbook/dist/training/diagnosisText';
import { METHODS } from 'alignbook/dist/training/runRecord';

import { root } from '../scripts/paths';
import { MADE_RUNS } from './madeRuns';
import { writeLetterModel } from './rollouts';

const fixtures = join(root, 'tests', 'runs');
const folder = mkdtempSync(join(tmpdir(), 'diagnose-'));
after(() => rmSync(folder, { recursive: true }));

const command = (...args: string[]) =>
  spawnSync(process.execPath, [join(root, 'lib', 'bin', 'alignbook.js'), 'diagnose', ...args], {
    encoding: 'utf8',
    cwd: folder,
  });
type Printed = Diagnosis & { run: string; notes: string[] };
function diagnoses(...runs: string[]): Printed[] {
  const { status, stdout, stderr } = command('--json', ...runs);
  assert.deepEqual([status, stderr], [0, '']);
  return JSON.parse(stdout) as Printed[];
}
const stepsOf = (run: string): object[] =>
  readFileSync(join(run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
const rulesOf = ({ findings }: Diagnosis): string[] => findings.map(({ rule }) => rule);

test('each run that was made to go wrong is diagnosed, and the healthy ones beside them are not', () => {
  const all = diagnoses(...MADE_RUNS.map(({ name }) => join(fixtures, 'made', name)));
  MADE_RUNS.forEach(({ name, finds, says }, n) => {
    assert.deepEqual(rulesOf(all[n]!), finds, name);
    if (says) assert.match(all[n]!.findings[0]!.says, says, name);
  });
  for (const { name, methods } of diagnosisRules) {
    assert.ok(
      MADE_RUNS.some(({ finds }) => finds.includes(name)),
      `no run triggers ${name}`,
    );
    const healthy = all.filter(({ run, method }) => run.endsWith('-healthy') && methods.includes(method));
    const needsSamples = ['no-end', 'answers-lengthen'].includes(name);
    for (const { method, fine, unchecked } of healthy) {
      const [one] = unchecked.filter(({ rule }) => rule === name);
      const isSampling = ['ppo', 'grpo'].includes(method);
      if (one && needsSamples && !isSampling) assert.equal(one.reason, 'no sampled answers are recorded');
      else if (one)
        assert.match(`${method} ${one.reason}`, /^kto there is no validation|^grpo each rollout serves one/);
      else assert.ok(fine.includes(name), `${method}: ${name}`);
    }
  }
});

test("no false alarm over the project's own trainings, with three seeds each", () => {
  const names = readdirSync(join(fixtures, 'healthy')).sort();
  assert.deepEqual(
    [...new Set(names.map((name) => name.replace(/-\d$/, '')))],
    ['dpo', 'grpo', 'kto', 'ppo', 'reward', 'sft'],
  );
  assert.equal(names.length, 6 * 3);
  for (const found of diagnoses(...names.map((name) => join(fixtures, 'healthy', name)))) {
    assert.deepEqual([rulesOf(found), found.notes], [[], []], found.run);
    assert.equal(found.method, /(\w+)-\d$/.exec(found.run)![1]);
    // nor is there one if the run ends early
    const history = stepsOf(found.run);
    const { settings } = JSON.parse(readFileSync(join(found.run, 'run-settings.json'), 'utf8')) as { settings: object };
    for (let count = 1; count < history.length; count += 1)
      assert.deepEqual(rulesOf(diagnose(history.slice(0, count), settings)), [], `${found.run}, ${count} steps`);
  }
});

/** Steps of DPO whose rewards are these, one step each. */
const dpo = (rewards: readonly (readonly [chosen: number, rejected: number])[], more: object = {}): object[] =>
  rewards.map(([chosen, rejected], n) => ({
    step: n + 1,
    loss: Math.log(1 + Math.exp(rejected - chosen)),
    rewards: { chosen, rejected, margins: chosen - rejected, accuracies: chosen > rejected ? 1 : 0 },
    logps: { chosen: -10, rejected: -12 },
    gradNorm: 1,
    lr: 1e-4,
    tokens: 100,
    seconds: 1,
    ...more,
  }));
/** Steps of PPO, two samples of ten tokens each. */
const ppo = (count: number, at: (n: number) => object): object[] =>
  Array.from({ length: count }, (_, n) => ({
    step: n + 1,
    loss: 0.1,
    objective: { kl: 0.1 * n, scores: n },
    policy: { clipFraction: 0.1 },
    ratio: { mean: 1, variance: 0.01 },
    eosCount: 2,
    gradNorm: 0.5,
    lr: 1e-4,
    tokens: 20,
    seconds: 1,
    ...at(n),
  }));
const OF_PPO = { batchSize: 2, maxNewTokens: 16, ppoEpochs: 2 };
/** The rising margin of a healthy training: 0, 0.1, 0.2, … */
const rising = (count: number, chosen = (n: number) => 0.05 * n): [number, number][] =>
  Array.from({ length: count }, (_, n) => [chosen(n), chosen(n) - 0.1 * n]);
const losses = (values: readonly number[], validation: readonly number[] = []): object[] =>
  values.map((loss, n) => ({
    ...{ step: n + 1, loss, gradNorm: 0.5, lr: 1e-3, tokens: 10, seconds: 1 },
    ...(validation[n] !== undefined && { validation: { loss: validation[n] } }),
  }));
const constant = (value: number, count = 10): number[] => Array.from({ length: count }, () => value);

/** For each rule: steps just within its threshold, and just beyond it. All numbers are meant to be checked by eye. */
const THRESHOLDS: Readonly<Record<string, readonly [within: object[], beyond: object[], options: object]>> = {
  'not-a-number': [losses(constant(1)), losses([...constant(1, 9), NaN]), {}],
  stuck: [dpo(constant(0).map(() => [0.0101, 0])), dpo(constant(0).map(() => [0.0099, 0])), {}],
  // the first three are 1, so the last three may be at most 1.1
  'loss-rises': [
    losses([...constant(1, 7), ...constant(1.09, 3)]),
    losses([...constant(1, 7), ...constant(1.11, 3)]),
    {},
  ],
  'gradients-clipped': [dpo(rising(10), { gradNorm: 19.9 }), dpo(rising(10), { gradNorm: 20.1 }), { maxGradNorm: 2 }],
  'validation-parts': [
    losses([1, 0.9, 0.8, 0.7, 0.6], [1, 0.9, 0.95, 0.96, 0.98]),
    losses([1, 0.9, 0.8, 0.7, 0.6], [1, 0.9, 0.95, 0.96, 1]),
    {},
  ],
  saturated: [dpo([...rising(7), [4.9, 0], [4.9, 0], [4.9, 0]]), dpo([...rising(7), [5.1, 0], [5.1, 0], [5.1, 0]]), {}],
  // beta 0.5: a nat is a reward of 0.5
  'both-rewards-fall': [
    dpo(rising(9, (n) => -0.06 * n)), // chosen -0.36, -0.42, -0.48: 0.84 nats
    dpo(rising(9, (n) => -0.08 * n)), // chosen -0.48, -0.56, -0.64: 1.12 nats
    { beta: 0.5 },
  ],
  // the highest mean is 0.3; the last 0.21 (0.9 nats lower) and 0.19 (1.1 nats lower)
  'chosen-falls': [
    dpo([...rising(7, () => 0.3), [0.21, -1], [0.21, -1], [0.21, -1]]),
    dpo([...rising(7, () => 0.3), [0.19, -1], [0.19, -1], [0.19, -1]]),
    { beta: 0.1 },
  ],
  'accurate-at-once': [
    dpo([[0, 0], ...constant(0, 5).map((): [number, number] => [0.9, 0])]),
    dpo([[0, 0], ...constant(0, 5).map((): [number, number] => [1.1, 0])]),
    {},
  ],
  'policy-stays': [
    ppo(10, (n) => ({ objective: { kl: n === 5 ? 1.1e-3 : 0, scores: n } })),
    ppo(10, (n) => ({ objective: { kl: n === 5 ? 0.9e-3 : 0, scores: n } })),
    OF_PPO,
  ],
  'kl-negative': [
    ppo(10, (n) => ({ objective: { kl: n === 3 ? -0.9 : 0.1, scores: n } })),
    ppo(10, (n) => ({ objective: { kl: n === 3 ? -1.1 : 0.1, scores: n } })),
    OF_PPO,
  ],
  // ten tokens each: half a nat per token is 5 nats
  'kl-explodes': [
    ppo(10, (n) => ({ objective: { kl: n < 7 ? 0.1 : 4.9, scores: n } })),
    ppo(10, (n) => ({ objective: { kl: n < 7 ? 0.1 : 5.1, scores: n } })),
    OF_PPO,
  ],
  // 0, 1, 0, 1, …, and the last three lower by d, so that the mean falls by d - 2/3. The differences of neighbors are
  // eight of 1 and one of d - 1; three errors are 3 (7 + d) / 9 · sqrt(pi) / 2 · sqrt(1 + 1/3) = 0.3411 (7 + d)
  'score-falls': [
    ppo(10, (n) => ({ objective: { kl: 0.1, scores: (n % 2) - (n < 7 ? 0 : 4.5) } })), // by 3.83, three errors: 3.92
    ppo(10, (n) => ({ objective: { kl: 0.1, scores: (n % 2) - (n < 7 ? 0 : 4.8) } })), // by 4.13, three errors: 4.02
    OF_PPO,
  ],
  'ratio-one': [
    ppo(5, () => ({ ratio: { mean: 1, variance: 1.1e-8 } })),
    ppo(5, () => ({ ratio: { mean: 1, variance: 0.9e-8 } })),
    OF_PPO,
  ],
  'never-clipped': [
    ppo(5, (n) => ({ policy: { clipFraction: n === 2 ? 0.001 : 0 } })),
    ppo(5, () => ({ policy: { clipFraction: 0 } })),
    OF_PPO,
  ],
  'mostly-clipped': [
    ppo(5, (n) => ({ policy: { clipFraction: n > 1 ? 0.49 : 0.1 } })),
    ppo(5, (n) => ({ policy: { clipFraction: n > 1 ? 0.51 : 0.1 } })),
    OF_PPO,
  ],
  // of 100 answers, 6 and 4 end
  'no-end': [
    ppo(5, () => ({ eosCount: 6, tokens: 1000 })),
    ppo(5, () => ({ eosCount: 4, tokens: 1000 })),
    { batchSize: 100, ppoEpochs: 2 },
  ],
  'answers-lengthen': [
    ppo(10, (n) => ({ tokens: n < 7 ? 20 : 39 })),
    ppo(10, (n) => ({ tokens: n < 7 ? 20 : 41 })),
    OF_PPO,
  ],
};

test('each rule on both sides of its threshold', () => {
  const grpo = (fraction: number): object[] =>
    losses(constant(0.1)).map((step) => ({
      ...step,
      scores: { mean: 1, groupDeviation: 0.5, equalGroups: fraction },
      ...{ sequenceKl: 0.1, kl: 0.01, clipFraction: 0, eosCount: 8 },
    }));
  const cases = { ...THRESHOLDS, 'equal-groups': [grpo(0.49), grpo(0.51), { batchSize: 1 }] as const };
  assert.deepEqual(Object.keys(cases).sort(), diagnosisRules.map(({ name }) => name).sort());
  for (const [rule, [within, beyond, options]] of Object.entries(cases)) {
    const [fine, found] = [diagnose(within, options), diagnose(beyond, options)];
    assert.ok(fine.fine.includes(rule), `${rule}: ${JSON.stringify(fine)}`);
    assert.ok(rulesOf(found).includes(rule), `${rule}: ${JSON.stringify(found)}`);
  }
});

test('gradients that shorten are no finding, however long they still are', () => {
  const ends = (last: number) =>
    rulesOf(
      diagnose(
        dpo(rising(10)).map((step, n) => ({ ...step, gradNorm: n < 7 ? 60 : last })),
        { maxGradNorm: 2 },
      ),
    );
  assert.deepEqual([ends(29), ends(31)], [[], ['gradients-clipped']], 'half of the beginning is 30');
});

test('figures and steps of a finding, by hand', () => {
  // steps 1 to 7 have the margin 0; the mean of the steps 6 to 8 is 6 / 3 = 2, that of 7 to 9 is 4, of 8 to 10 is 6
  const [saturated] = diagnose(dpo([...constant(0, 7).map((): [number, number] => [0, 0]), [6, 0], [6, 0], [6, 0]]), {
    beta: 0.2,
  }).findings;
  assert.equal(saturated!.step, 10);
  assert.match(saturated!.says, /^by step 10 the margin was above 5; it ended at 6, 30 nats, with a loss of 0\.00248$/);
  const [exploded] = diagnose(
    ppo(10, (n) => ({ objective: { kl: n < 4 ? 1 : 7, scores: n } })),
    OF_PPO,
  ).findings;
  assert.equal(exploded!.figures['kl'], 7);
  assert.ok(Math.abs(exploded!.figures['perToken']! - 0.7) < 1e-12, '7 * 2 / 20 in float64');
  assert.equal(exploded!.step, 5);
});

test('a rise or fall within the noise of a run is not one', () => {
  const risesTo = (last: number) =>
    rulesOf(diagnose(losses([2.2, 2.4, 2.3, 2.5, 2.3, 2.5, 2.4, last, last + 0.1, last]), {}));
  // from 2.3 by 0.333: neighbors differ by 1.4 / 9 (to 2.6) on average, of which three errors are
  // 3 · 0.1556 · sqrt(pi) / 2 · sqrt(2/3) = 0.338
  assert.deepEqual(risesTo(2.6), []);
  assert.deepEqual(risesTo(2.9), ['loss-rises'], 'by 0.633; three errors are 0.410');
  // most scores are equal: one low step of three lowers their mean by a third of the way, three lower it by all of it
  const equal = (low: number) =>
    rulesOf(
      diagnose(
        ppo(12, (n) => ({ objective: { kl: 0.1, scores: n < 12 - low ? 1 : 0.9375 } })),
        OF_PPO,
      ),
    );
  assert.deepEqual([equal(1), equal(3)], [[], ['score-falls']]);
});

test('beta and the margin mean what they do for the loss that was trained', () => {
  // the rewards are 0.1 times the log-ratios, whatever the loss: -0.15 and -0.25 are 1.5 and 2.5 nats
  const fallen = dpo(constant(0).map(() => [-0.15, -0.25]));
  const [fall] = diagnose(fallen, { loss: 'simpo' }).findings;
  assert.equal(fall!.rule, 'both-rewards-fall');
  assert.match(fall!.says, /at the end by 1\.5 nats, the rejected ones by 2\.5 nats$/);
  const flat = dpo(constant(0).map(() => [0, 0]));
  assert.deepEqual(
    diagnose(flat, { loss: 'sft' }).unchecked.find(({ rule }) => rule === 'stuck'),
    { rule: 'stuck', reason: 'the loss sft trains no margin' },
  );
  const says = (loss: string) => diagnose(flat, { loss }).findings.find(({ rule }) => rule === 'stuck')!.says;
  assert.match(says('sigmoid'), /, ln 2 being 0\.6931: /);
  assert.match(says('hinge'), /the loss 0\.6931: /);
});

test('without settings, what needs them is not checked; with few steps, most is not', () => {
  const { unchecked } = diagnose(dpo(rising(10)));
  assert.deepEqual(
    unchecked.map(({ rule }) => rule),
    ['gradients-clipped', 'validation-parts', 'both-rewards-fall', 'chosen-falls', 'no-end', 'answers-lengthen'],
  );
  const one = diagnose(dpo(rising(1)), {});
  assert.deepEqual(one.fine, ['not-a-number']);
  assert.ok(one.unchecked.some(({ rule, reason }) => rule === 'stuck' && reason === 'it takes 10 steps'));
  // without the number of samples, 20 nats are the limit
  const klOf = (kl: number) => diagnose(ppo(5, () => ({ objective: { kl, scores: 1 } })));
  assert.ok(klOf(19).fine.includes('kl-explodes'));
  assert.ok(rulesOf(klOf(21)).includes('kl-explodes'));
});

test('what is no history is refused', () => {
  assert.throws(() => diagnose([]), new InputError('there are no steps to diagnose'));
  assert.throws(() => diagnose([{ loss: 1 }]), /has no "step" from 1 up/);
  assert.throws(
    () => diagnose([{ step: 1, loss: 1 }]),
    /^InputError: the steps have no metrics of a trainer; give those of train-sft/,
  );
  const many = Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`m${n}`, n]));
  assert.throws(() => diagnose([{ step: 1, ...many }]), /more than 200 metrics/);
});

/** A folder with a metrics.jsonl, and other files if they are given. */
function run(name: string, metrics: string, others: Readonly<Record<string, string>> = {}): string {
  mkdirSync(join(folder, name));
  writeFileSync(join(folder, name, 'metrics.jsonl'), metrics);
  for (const [file, text] of Object.entries(others)) writeFileSync(join(folder, name, file), text);
  return name;
}
const jsonl = (steps: readonly object[]): string => steps.map((step) => `${JSON.stringify(step)}\n`).join('');
const SETTINGS = { 'run-settings.json': '{"settings": {"beta": 0.1}}' };

test('a folder in a bad state is read as far as it goes, with a note', () => {
  const steps = dpo(rising(12));
  const text = jsonl(steps);
  const [cut, gaps, again, nulls, plain] = diagnoses(
    run('cut', text.slice(0, -30), SETTINGS),
    run('gaps', jsonl(steps.filter((_, n) => n !== 4)), SETTINGS),
    run('again', jsonl([...steps.slice(0, 8), ...steps.slice(5)]), SETTINGS),
    run('nulls', text.replace(/"loss":[^,]*/, '"loss":null'), SETTINGS),
    run('plain', text),
  );
  assert.deepEqual([cut!.steps, cut!.notes], [11, ['the last line of metrics.jsonl was cut off and is left out']]);
  assert.deepEqual([gaps!.steps, gaps!.notes], [11, ['1 step before the last has no line']]);
  assert.deepEqual([again!.steps, again!.notes], [12, ['3 steps came again later; the later lines count']]);
  assert.deepEqual([rulesOf(nulls!), nulls!.findings[0]!.step], [['not-a-number'], 1]);
  assert.deepEqual(plain!.notes, ['the settings of the run are not kept in its folder, so some rules cannot tell']);

  // a run of an earlier version keeps its settings in its checkpoints, as texts
  const old = run('old', jsonl(dpo(rising(9, (n) => -0.08 * n))));
  mkdirSync(join(folder, old, 'checkpoint-00000009'));
  writeFileSync(
    join(folder, old, 'checkpoint-00000009', 'training.json'),
    '{"fingerprint": {"beta": "0.5", "loss": "sigmoid"}}',
  );
  const broken = run('broken', text, { 'run-settings.json': '{' });
  const [ofOld, ofBroken] = diagnoses(join(old, 'metrics.jsonl'), broken);
  assert.deepEqual([rulesOf(ofOld!), ofOld!.notes], [['both-rewards-fall'], []]);
  assert.match(ofBroken!.notes[0]!, /^its settings cannot be read: .*run-settings\.json: cannot be read as JSON/);
});

/** Answers after a step: this many, of which so many ended, each of so many tokens. */
const answers = (step: number, count: number, ended: number, tokens: number): object[] =>
  Array.from({ length: count }, (_, n) => ({ step, prompt: `${n}`, response: 'b', tokens, ended: n < ended }));

test('sampled answers are compared with those before the first step, if there are enough', async () => {
  const steps = { dpo: dpo(rising(12)), sft: losses(constant(1, 12)), ppo: ppo(12, () => ({ eosCount: 2 })) };
  const diagnosed = async (name: string, method: keyof typeof steps, samples: readonly object[], cut = 0) => {
    const text = jsonl(samples);
    const { record, notes } = await readRun(
      join(
        folder,
        run(name, jsonl(steps[method]), {
          'run-settings.json': JSON.stringify({ settings: OF_PPO }),
          'samples.jsonl': text.slice(0, text.length - cut),
        }),
      ),
    );
    return { record, notes, ...diagnoseRecord(record) };
  };
  /** What the two rules say: fine, the finding, or the reason. */
  const verdicts = async (...samples: object[][]) => {
    const name = `answers-${readdirSync(folder).length}`;
    const { fine, findings, unchecked } = await diagnosed(name, 'dpo', samples.flat());
    return ['no-end', 'answers-lengthen'].map((rule) =>
      fine.includes(rule)
        ? 'fine'
        : (findings.find((one) => one.rule === rule)?.rule ?? unchecked.find((one) => one.rule === rule)!.reason),
    );
  };
  const few = 'too few sampled answers';
  // what a training command writes: three answers before, three after
  assert.deepEqual(await verdicts(answers(0, 3, 3, 1), answers(12, 3, 0, 64)), [few, few]);
  assert.deepEqual(await verdicts(answers(0, 3, 3, 1), answers(12, 20, 0, 64)), [few, few]);
  assert.deepEqual(await verdicts(answers(0, 20, 20, 1), answers(12, 19, 0, 64)), [few, few]);
  assert.deepEqual(await verdicts(answers(0, 20, 5, 8), answers(12, 20, 1, 16)), ['fine', 'fine']);
  assert.deepEqual(await verdicts(answers(0, 20, 5, 8), answers(12, 20, 0, 17)), ['no-end', 'answers-lengthen']);
  const notBefore = 'fewer than a quarter of the sampled answers ended before the training';
  assert.deepEqual(await verdicts(answers(0, 20, 4, 8), answers(12, 20, 0, 8)), [notBefore, 'fine']);
  const [before, after] = ['before', 'after'].map((when) => `no answers from ${when} the first step are recorded`);
  assert.deepEqual(await verdicts(answers(3, 20, 20, 1), answers(12, 20, 0, 9)), [before, before]);
  assert.deepEqual(await verdicts(answers(0, 20, 20, 1)), [after, after]);
  assert.deepEqual(await verdicts(answers(0, 20, 20, 1), answers(13, 20, 0, 9)), [after, after], 'step 13 has no line');

  // the advice is that of the method; a last line that was cut off is left out, with a note
  const sampled = [...answers(0, 20, 20, 5), ...answers(6, 20, 0, 9), ...answers(12, 21, 0, 16)];
  const sft = await diagnosed('answers-sft', 'sft', sampled, 5);
  assert.deepEqual(rulesOf(sft), ['no-end', 'answers-lengthen']);
  assert.deepEqual([sft.findings[0]!.step, sft.findings[1]!.step], [6, 12]);
  assert.equal(
    sft.findings[0]!.says,
    'none of the last answers end by themselves, the others at maxNewTokens, 16 (first in step 6); before the ' +
      'training 100 % did',
  );
  assert.match(sft.findings[1]!.says, /^the answers have grown from 5 to 16 tokens$/);
  assert.doesNotMatch(sft.findings.map(({ advice }) => advice).join(), /Penalty|beta/);
  assert.deepEqual(sft.notes, ['the last line of samples.jsonl was cut off and is left out']);
  // PPO is judged by its rollouts, whose answers end after 20 / 2 tokens, and not by three greedy ones
  const rollouts = await diagnosed('answers-ppo', 'ppo', [...answers(0, 3, 3, 1), ...answers(12, 3, 0, 64)]);
  assert.ok(['no-end', 'answers-lengthen'].every((rule) => rollouts.fine.includes(rule)));
  const { advice } = diagnose(
    ppo(5, () => ({ eosCount: 0 })),
    OF_PPO,
  ).findings.find(({ rule }) => rule === 'no-end')!;
  assert.match(advice, /give missingEosPenalty/);
  const table = comparisonLines([{ name: 'sft', record: sft.record }]).map((line) => line.split(/  +/));
  assert.equal(table[1]![table[0]!.indexOf('length')], '16.0');
});

test('what cannot be read is named, one line each, after the runs that can; exit codes', () => {
  mkdirSync(join(folder, 'empty'));
  writeFileSync(join(folder, 'a-file'), '');
  const steps = jsonl(dpo(rising(12)));
  const good = run('good', steps, SETTINGS);
  const wrong = [
    'missing',
    'a-file',
    'empty',
    run('no-steps', ''),
    run('middle', `{"step": 1}\n{"st\n${steps}`),
    run('other', '{"epoch": 1, "loss": 2}\n'),
    run('foreign', '{"step": 1, "loss": 2}\n'),
    run('long', `{"step": 1, "text": "${'x'.repeat(33 * 2 ** 20)}"}\n`),
  ];
  const { status, stdout, stderr } = command(good, ...wrong);
  assert.equal(status, 1);
  assert.match(stdout, /^good: DPO, 12 steps: nothing unusual\n/);
  assert.deepEqual(
    stderr
      .trimEnd()
      .split('\n')
      .map((line) => line.trim()),
    [
      'alignbook: 8 problems:',
      'missing: does not exist; give the output folder of a training',
      'a-file: is not a run; give the output folder of a training, or its metrics.jsonl',
      'empty: has no metrics.jsonl, so it is not the output folder of a training; give one that is',
      'no-steps/metrics.jsonl: has no steps; the run has not finished its first one',
      `middle/metrics.jsonl: line 2 is not JSON (${parseError('{"st')})`,
      'other/metrics.jsonl: line 1 has no "step" from 1 up, so it is not a line of metrics.jsonl',
      'foreign/metrics.jsonl: has no metrics of a training command; give the output folder of train-sft, train-dpo, …',
      'long/metrics.jsonl: line 1 is longer than 32 MB; JSON lines have one row per line',
    ],
  );
  const usage = command();
  assert.deepEqual(
    [usage.status, usage.stderr],
    [2, 'alignbook: diagnose needs RUNS; see npx alignbook diagnose --help\n'],
  );
});

function parseError(text: string): string {
  try {
    return String(JSON.parse(text));
  } catch (error) {
    return (error as Error).message;
  }
}

test('the text fits 80 columns, several runs are compared, and a notebook prints the same', () => {
  const long = join(folder, 'a-run-with-a-long-name-that-does-not-fit-beside-its-figures');
  cpSync(join(fixtures, 'made', 'ppo-lr-high'), long, { recursive: true });
  cpSync(join(fixtures, 'made', 'dpo-healthy'), join(folder, 'dpo'), { recursive: true });
  const { status, stdout } = command('dpo', 'a-run-with-a-long-name-that-does-not-fit-beside-its-figures');
  assert.equal(status, 0, 'also if something is found');
  const lines = stdout.trimEnd().split('\n');
  assert.deepEqual(
    lines.filter((line) => line.length > 80 && !line.startsWith('a-run-with-a-long-name')),
    [],
  );
  const table = lines.slice(-3).map((line) => line.split(/  +/));
  assert.deepEqual(table[0], ['run', 'method', 'steps', 'loss', 'acc.', 'margin', 'score', 'KL', 'length', 's/step']);
  assert.deepEqual(
    [table[1]!.slice(0, 3), table[1]!.slice(6, 9)],
    [
      ['dpo', 'dpo', '40'],
      ['-', '-', '-'],
    ],
  );
  assert.deepEqual([table[2]!.slice(1, 3), table[2]![8]], [['ppo', '12'], '16.0']);

  const history = stepsOf(long);
  const { settings } = JSON.parse(readFileSync(join(long, 'run-settings.json'), 'utf8')) as { settings: object };
  const { log } = console;
  const printed: string[] = [];
  console.log = (text: string) => printed.push(text);
  try {
    showDiagnosis(diagnose(history, settings));
  } finally {
    console.log = log;
  }
  const from = lines.findIndex((line) => line.startsWith('a-run-with'));
  assert.deepEqual(printed.slice(1), lines.slice(from + 1, from + printed.length));
  assert.equal(printed[0], 'PPO, 12 steps: 3 findings');
});

test('a training keeps its settings for the diagnosis', async () => {
  await writeLetterModel(join(folder, 'letters'));
  writeFileSync(join(folder, 'pairs.jsonl'), jsonl([{ prompt: 'abc', chosen: 'de', rejected: 'fgh' }]));
  const { log } = console;
  console.log = () => undefined;
  try {
    const at = (name: string): string => join(folder, name);
    const args = ['--model', at('letters'), '--data', at('pairs.jsonl'), '--output', at('trained'), '--steps', '2'];
    const { command: found, values } = readCall([
      'train-dpo',
      ...args,
      '--batch-size',
      '1',
      '--lr',
      '1e-3',
      '--beta',
      '0.3',
    ])!;
    await (await found.load()).run(values);
  } finally {
    console.log = log;
  }
  const { settings } = JSON.parse(readFileSync(join(folder, 'trained', 'run-settings.json'), 'utf8')) as {
    settings: object;
  };
  assert.deepEqual(
    { ...settings, model: '', data: '', output: '' },
    { model: '', data: '', output: '', steps: 2, batchSize: 1, lr: 1e-3, beta: 0.3 },
  );
  const [found] = diagnoses('trained'); // among its files are answers of a model that never ends one
  assert.deepEqual(
    found!.unchecked.filter(({ rule }) => rule === 'no-end'),
    [{ rule: 'no-end', reason: 'too few sampled answers' }],
  );
  assert.deepEqual([found!.method, found!.steps, found!.notes, rulesOf(found!)], ['dpo', 2, [], []]);
});

test("the documentation's table has each rule, with its trigger and its reason", () => {
  const page = join(root, 'docs', 'diagnose.md');
  assert.ok(existsSync(page));
  const rows = readFileSync(page, 'utf8')
    .split('\n')
    .filter((line) => /^\| `[a-z-]+` \|/.test(line));
  assert.deepEqual(
    rows.map((line) => /`([a-z-]+)`/.exec(line)![1]),
    diagnosisRules.map(({ name }) => name),
  );
  diagnosisRules.forEach(({ trigger, why, methods }, n) => {
    const [, where, when, reason, made] = rows[n]!.split(' | ').map((cell) => cell.replace(/^\| | \|$/g, ''));
    assert.deepEqual(
      [where, when, reason],
      [methods.length === METHODS.length ? 'all' : methods.join(', '), trigger, why],
    );
    assert.ok(made !== undefined && existsSync(join(fixtures, 'made', /`([a-z-]+)`/.exec(made)![1]!)), made);
  });
});
