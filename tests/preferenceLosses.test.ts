import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import {
  dpoLoss,
  preferenceLosses,
  tf,
  weightedLosses,
  withoutReference,
  type LossTerm,
  type PreferenceInputs,
  type PreferenceLossName,
  type PreferenceOptions,
} from 'alignbook';

import { root } from '../scripts/paths';
import { close, closeGradients, keepsNothing, refused } from './lossCases';

const POLICY = ['policyChosenLogps', 'policyRejectedLogps'] as const;
const NAMES = Object.keys(preferenceLosses) as PreferenceLossName[];

type Result = { loss: string; options: PreferenceOptions | LossTerm[]; losses?: number[]; mean?: number } & Record<
  `grad.${(typeof POLICY)[number]}`,
  number[]
>;

/**
 * A batch of tests/fixtures/preferenceLosses.json: `losses` of each pair or `mean`, and gradients of the sum over the
 * batch.
 */
interface Batch {
  name: string;
  inputs: Record<keyof Omit<PreferenceInputs, 'pairWeights'>, number[]>;
  results: Result[];
}

const FILE = join(root, 'tests', 'fixtures', 'preferenceLosses.json');
const fixtures = JSON.parse(readFileSync(FILE, 'utf8')) as Record<
  'pairs' | 'divergences' | 'sums' | 'reference_free',
  Batch[]
>;

function inputsOf({ inputs }: Batch): Required<Omit<PreferenceInputs, 'pairWeights'>> {
  const tensors = Object.entries(inputs).map(([name, values]) => [
    name,
    tf.tensor1d(values, name.endsWith('Lengths') ? 'int32' : 'float32'),
  ]);
  return Object.fromEntries(tensors);
}

type Loss = (inputs: PreferenceInputs) => tf.Tensor1D;

/**
 * Gradients of the sum over the batch with respect to the policy's two inputs. tfjs refuses an input that a loss does
 * not use (sft).
 */
function gradients(loss: Loss, inputs: PreferenceInputs): tf.Tensor[] {
  const sum = (chosen: tf.Tensor, rejected: tf.Tensor) => {
    const given = { ...inputs, policyChosenLogps: chosen as tf.Tensor1D, policyRejectedLogps: rejected as tf.Tensor1D };
    return tf.add(loss(given), tf.mul(0, rejected)).sum();
  };
  return tf.grads(sum)([inputs.policyChosenLogps, inputs.policyRejectedLogps]);
}

function check(batch: Batch, lossOf: (result: Result) => Loss): void {
  const inputs = inputsOf(batch);
  for (const result of batch.results) {
    const what = `${batch.name}: ${result.loss} ${JSON.stringify(result.options)}`;
    const loss = lossOf(result);
    const losses = loss(inputs);
    assert.deepEqual(losses.shape, inputs.policyChosenLogps.shape, what);
    if (result.losses) close(losses, result.losses, what);
    else close(losses.mean(), result.mean!, what);
    closeGradients(
      gradients(loss, inputs),
      POLICY.map((name) => result[`grad.${name}`]),
      `${what}: gradients`,
    );
  }
}

function byName({ loss, options }: Result): Loss {
  return (inputs) => preferenceLosses[loss as PreferenceLossName](inputs, options as PreferenceOptions);
}

for (const batch of fixtures.pairs) {
  const { beta } = batch.results[0]!.options as PreferenceOptions;
  test(`losses and gradients are those of TRL: ${batch.name}, beta ${beta}`, () => {
    assert.deepEqual(new Set(batch.results.map(({ loss }) => loss)), new Set(NAMES), 'every loss has its case');
    check(batch, byName);
  });
}

test('with another divergence, the losses of a margin are those of TRL', () => {
  for (const batch of fixtures.divergences) check(batch, byName);
});

test('a weighted sum is that of TRL', () => {
  for (const batch of fixtures.sums)
    check(
      batch,
      ({ options }) =>
        (inputs) =>
          weightedLosses(inputs, options as LossTerm[]),
    );
});

test("without a reference, DPO is that of eric-mitchell's reference_free", () => {
  for (const batch of fixtures.reference_free)
    check(batch, (result) => (inputs) => byName(result)(withoutReference(inputs)));
});

/** A pair with these log-ratios; chosen has two tokens and rejected one. */
function pairWith(chosen: number, rejected: number): Required<Omit<PreferenceInputs, 'pairWeights'>> {
  const logps = [chosen - 2e4, rejected - 2e4, -2e4, -2e4].map((x) => tf.tensor1d([x]));
  const [policyChosenLogps, policyRejectedLogps, refChosenLogps, refRejectedLogps] = logps;
  const [chosenLengths, rejectedLengths] = [tf.tensor1d([2], 'int32'), tf.tensor1d([1], 'int32')];
  return {
    policyChosenLogps,
    policyRejectedLogps,
    refChosenLogps,
    refRejectedLogps,
    chosenLengths,
    rejectedLengths,
  } as ReturnType<typeof pairWith>;
}

test('where policy and reference agree, each has the value that its formula gives at 0', () => {
  const start: Partial<Record<PreferenceLossName, number>> = {
    sigmoid: Math.LN2,
    cdpo: Math.LN2,
    robust: Math.LN2,
    sigmoid_norm: Math.LN2,
    aot: Math.LN2,
    aot_unpaired: Math.LN2,
    hinge: 1,
    ipo: 25,
    sppo_hard: 50,
    nca_pair: 2 * Math.LN2,
    bco_pair: 2 * Math.LN2,
    apo_zero: 1,
    apo_down: 1,
    exo_pair: -Math.LN2 - 0.5 * Math.log(0.999 * 0.001), // 2.7612
    discopop: 0.5 * Math.LN2 + 0.5, // 0.8466
  };
  for (const [name, value] of Object.entries(start))
    close(preferenceLosses[name as PreferenceLossName](pairWith(0, 0)), [value], name);
});

test('sigmoid and cdpo are dpoLoss', () => {
  const pair = pairWith(3, -4);
  close(preferenceLosses.sigmoid(pair, { beta: 0.3 }), [...dpoLoss(pair, { beta: 0.3 }).losses.dataSync()], 'sigmoid');
  close(preferenceLosses.cdpo(pair), [...dpoLoss(pair, { labelSmoothing: 0.1 }).losses.dataSync()], 'cdpo');
});

test('aot and aot_unpaired by hand: ranks, not pairs', () => {
  // Policy margins 3, 1 and reference margins 0, 5: by rank 1 - 0 and 3 - 5.
  // Log-ratios 4, -4 and 1, 0: by rank -4 - 0 and 4 - 1.
  const [policyChosenLogps, policyRejectedLogps] = [tf.tensor1d([-6, -9]), tf.tensor1d([-9, -10])];
  const [refChosenLogps, refRejectedLogps] = [tf.tensor1d([-10, -5]), tf.tensor1d([-10, -10])];
  const inputs = { policyChosenLogps, policyRejectedLogps, refChosenLogps, refRejectedLogps };
  const softplus = (x: number) => Math.log1p(Math.exp(x));
  close(preferenceLosses.aot(inputs, { beta: 1 }), [softplus(-1), softplus(2)], 'aot');
  close(preferenceLosses.aot_unpaired(inputs, { beta: 1 }), [softplus(4), softplus(-3)], 'aot_unpaired');
  const [chosen] = gradients((given) => preferenceLosses.aot(given, { beta: 1 }), inputs);
  const s = (x: number) => 1 / (1 + Math.exp(-x));
  close(chosen!, [-s(2), -s(-1)], 'the gradient goes back to where each rank came from');
});

test('nothing overflows, with any divergence, 1e4 nats from the reference', () => {
  for (const [chosen, rejected] of [
    [1e4, 0],
    [-1e4, 0],
    [0, 1e4],
    [0, -1e4],
    [1e4, -1e4],
    [-1e4, 1e4],
  ] as const) {
    for (const divergence of ['reverse_kl', 'forward_kl', 'js', 'alpha'] as const) {
      for (const name of NAMES.filter(
        (each) => divergence === 'reverse_kl' || 'divergence' in preferenceLosses[each].defaults,
      )) {
        const loss: Loss = (inputs) =>
          preferenceLosses[name](inputs, divergence === 'reverse_kl' ? {} : { divergence });
        const pair = pairWith(chosen, rejected);
        const all = [loss(pair), ...gradients(loss, pair)].map((x) => x.dataSync()[0]!);
        assert.ok(all.every(Number.isFinite), `${name} with ${divergence} at ${chosen}, ${rejected}: ${all}`);
      }
    }
  }
});

test('orpo has a finite loss and gradient where a response is certain', () => {
  const one = { chosenLengths: tf.tensor1d([1]), rejectedLengths: tf.tensor1d([1]) };
  for (const [chosen, rejected] of [
    [0, -3],
    [-3, 0],
    [0, 0],
  ] as const) {
    const pair = { policyChosenLogps: tf.tensor1d([chosen]), policyRejectedLogps: tf.tensor1d([rejected]), ...one };
    for (const x of [preferenceLosses.orpo(pair), ...gradients(preferenceLosses.orpo, pair)])
      assert.ok(Number.isFinite(x.dataSync()[0]));
  }
});

test('no gradient reaches the reference', () => {
  for (const name of NAMES.filter((each) => preferenceLosses[each].needs.includes('refChosenLogps'))) {
    const pair = pairWith(3, -4);
    const loss = (refChosen: tf.Tensor, refRejected: tf.Tensor) =>
      preferenceLosses[name]({
        ...pair,
        refChosenLogps: refChosen as tf.Tensor1D,
        refRejectedLogps: refRejected as tf.Tensor1D,
      }).sum();
    for (const gradient of tf.grads(loss)([pair.refChosenLogps, pair.refRejectedLogps])) close(gradient, [0], name);
  }
});

test('pairWeights multiply the losses of pairs, and are constants', () => {
  const pair = pairWith(3, -4);
  for (const name of NAMES.filter((each) => !each.startsWith('aot'))) {
    const weighted = preferenceLosses[name]({ ...pair, pairWeights: tf.tensor1d([0.25]) });
    close(weighted, [0.25 * preferenceLosses[name](pair).dataSync()[0]!], name);
  }
  const loss = (x: tf.Tensor) => preferenceLosses.ipo({ ...pair, pairWeights: x as tf.Tensor1D }).sum();
  close(tf.grad(loss)(tf.tensor1d([0.25])), [0], 'gradient');
  refused(() => preferenceLosses.aot({ ...pair, pairWeights: tf.tensor1d([1]) }), /aot sorts the batch/);
});

test('every loss has a formula and cites its source', () => {
  for (const name of NAMES) {
    assert.ok(preferenceLosses[name].formula.length > 0, name);
    assert.match(preferenceLosses[name].source, /https:|TRL/, name);
  }
});

test('a missing input is named, with its remedy', () => {
  const pair = pairWith(3, -4);
  for (const name of NAMES) {
    for (const input of preferenceLosses[name].needs) {
      const { [input]: _, ...others } = pair as PreferenceInputs;
      refused(
        () => preferenceLosses[name](others as PreferenceInputs),
        new RegExp(`${name} needs ${input}, which is missing: pass `),
      );
    }
  }
  // A loss does not need inputs that it does not name.
  for (const name of NAMES) {
    const needed = Object.fromEntries(
      preferenceLosses[name].needs.map((input) => [input, (pair as PreferenceInputs)[input]]),
    );
    assert.ok(Number.isFinite(preferenceLosses[name](needed as unknown as PreferenceInputs).dataSync()[0]), name);
  }
});

test('inputs and options that do not fit are refused', () => {
  const pair = pairWith(3, -4);
  refused(
    () => preferenceLosses.hinge({ ...pair, refChosenLogps: tf.tensor1d([1, 2]) }),
    /refChosenLogps has shape \[2\]/,
  );
  refused(
    () => preferenceLosses.ipo({ ...pair, rejectedLengths: tf.tensor1d([0]) }),
    /rejectedLengths must be at least 1, got 0/,
  );
  const wrong: [PreferenceLossName, PreferenceOptions, RegExp][] = [
    ['hinge', { beta: 0 }, /beta must be a number above 0, got 0/],
    ['ipo', { beta: NaN }, /beta must be a number above 0, got NaN/],
    ['ipo', { beta: Infinity }, /beta/],
    ['robust', { labelSmoothing: 0.5 }, /labelSmoothing must be in \[0, 0\.5\).*got 0\.5/],
    ['exo_pair', { labelSmoothing: 0 }, /exo_pair: labelSmoothing must be above 0/],
    ['discopop', { discopopTau: 1.5 }, /discopopTau must be in \(0, 1\].*got 1\.5/],
    ['simpo', { gamma: -1 }, /gamma must be a number from 0 up, got -1/],
    ['cpo', { nllCoef: -1 }, /nllCoef must be a number from 0 up, got -1/],
    ['sigmoid', { divergence: 'kl' as never }, /divergence must be one of reverse_kl, forward_kl, js, alpha, got "kl"/],
    ['sigmoid', { divergence: 'alpha', divergenceAlpha: 1 }, /divergenceAlpha must be in \(0, 1\), got 1/],
    [
      'hinge',
      { labelSmoothing: 0.1 },
      /hinge takes no option labelSmoothing; it takes beta, divergence, divergenceAlpha/,
    ],
    ['nca_pair', { divergence: 'js' }, /nca_pair takes no option divergence; it takes beta/],
    ['sft', { beta: 0.1 }, /sft takes no option beta; it takes none/],
  ];
  for (const [name, options, message] of wrong) refused(() => preferenceLosses[name](pair, options), message);
  refused(() => weightedLosses(pair, []), /at least one term/);
  refused(
    () => weightedLosses(pair, [{ loss: 'kto_pair' as never }]),
    /there is no loss "kto_pair"; the losses are sigmoid, /,
  );
  refused(() => weightedLosses(pair, [{ loss: 'toString' as never }]), /there is no loss "toString"/);
  refused(
    () => weightedLosses(pair, [{ loss: 'sft', weight: NaN }]),
    /the weight of sft must be a number from 0 up, got NaN/,
  );
});

test('no tensor stays behind', () => {
  const pair = pairWith(3, -4);
  for (const name of NAMES) {
    const divergences =
      'divergence' in preferenceLosses[name].defaults
        ? (['reverse_kl', 'forward_kl', 'js', 'alpha'] as const)
        : [undefined];
    for (const divergence of divergences) {
      keepsNothing(() => preferenceLosses[name](pair, { divergence }));
      keepsNothing(() => gradients((inputs) => preferenceLosses[name](inputs, { divergence }), pair));
    }
  }
  keepsNothing(() => weightedLosses(pair, [{ loss: 'sigmoid', weight: 0.8 }, { loss: 'sft' }]));
});
