/**
 * The value head: its values and the gradients of both heads against PyTorch in float64, and what it shares with its
 * base.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import {
  exportModel,
  GPT2,
  InputError,
  liveTensors,
  lora,
  merged,
  ppoLoss,
  Random,
  responseBatch,
  SafetensorsFile,
  tf,
  Tokenizer,
  valueLoss,
  withValueHead,
} from 'alignbook';

import { loadEngineModel } from './engineFixtures';
import { copyOf, fixture, nearAll, nearGradients, setHead, type ScriptedRow } from './rollouts';

interface Fixture {
  options: { temperature: number; valueCoef: number };
  rows: ScriptedRow[];
  vHead: { weight: number[]; bias: number[] };
  oldLogps: number[][];
  oldValues: number[][];
  oldEntropies: number[][];
  returns: number[][];
  advantages: number[][];
  order: number[][];
  gradients: { first: Record<string, number[]> };
}
const { options, rows, vHead, order, ...fixed } = fixture<Fixture>('ppo_step.json');
const batchOf = (numbers: readonly number[]) =>
  responseBatch(numbers.map((n) => ({ promptIds: rows[n]!.promptIds, responses: [rows[n]!.responseIds] })));
const all = batchOf(rows.map((_, n) => n));

/** [R, L], 0 after the ends. */
function ragged(some: readonly (readonly number[])[]): tf.Tensor2D {
  const L = Math.max(...some.map((row) => row.length));
  return tf.tensor2d(some.map((row) => [...row, ...Array<number>(L - row.length).fill(0)]));
}

/**
 * Float32 here, float64 in the fixture: values reach 1.5, log-probs 10. Greatest differences seen: 3.3e-7 and 2.4e-6;
 * four times that is allowed.
 */
const [VALUES, LOGPS] = [2e-6, 1e-5];

test('a new head says 0 of every state, and leaves the log-probs as they were, bit for bit', async () => {
  const { model: base } = await loadEngineModel('a-group');
  const model = withValueHead(base);
  const { perTokenLogps, values, statistics } = model.measure(all);
  assert.ok(values!.dataSync().every((value) => value === 0));
  const plain = base.measure(all);
  assert.equal(plain.values, undefined);
  assert.deepEqual(perTokenLogps.dataSync(), plain.perTokenLogps.dataSync());
  assert.deepEqual(statistics.entropy, plain.statistics.entropy);
  assert.deepEqual(model.weights.trained.names, [...base.weights.names, 'v_head.weight', 'v_head.bias']);
  for (const each of [model, base]) each.dispose();
});

test(
  'values, log-probs and entropy are those of PyTorch, 0 where a response has ended; temperature divides logits ' +
    'alone',
  async () => {
    const { model: base } = await loadEngineModel('a-group');
    const model = withValueHead(base);
    setHead(model, vHead);
    const { perTokenLogps, values, statistics } = model.measure(all, { temperature: options.temperature });
    nearAll(values!.dataSync(), ragged(fixed.oldValues).dataSync(), VALUES, 'values');
    nearAll(perTokenLogps.dataSync(), ragged(fixed.oldLogps).dataSync(), LOGPS, 'logps');
    nearAll(statistics.entropy, fixed.oldEntropies.flat(), LOGPS, 'entropy');
    using recording = model.record(all, { temperature: options.temperature });
    assert.deepEqual(recording.values!.dataSync(), values!.dataSync());
    for (const each of [model, base]) each.dispose();
  },
);

test('the gradients of both heads together are those of PyTorch', async () => {
  const { model: base } = await loadEngineModel('a-group');
  const model = withValueHead(base);
  setHead(model, vHead);
  const numbers = order[0]!;
  using recording = model.record(batchOf(numbers), { temperature: options.temperature });
  const { perTokenLogps, values, responseMask } = recording;
  const of = (every: readonly (readonly number[])[]) => ragged(numbers.map((n) => every[n]!));
  const constants = {
    responseMask,
    oldLogps: of(fixed.oldLogps),
    oldValues: of(fixed.oldValues),
    returns: of(fixed.returns),
    advantages: of(fixed.advantages),
  };
  const [dLogps, dValues] = tf.grads((logps, ofStates) => {
    const { loss } = ppoLoss({ logps: logps as tf.Tensor2D, ...constants });
    return loss.add(valueLoss({ values: ofStates as tf.Tensor2D, ...constants }).loss.mul(options.valueCoef));
  })([perTokenLogps, values!]) as [tf.Tensor2D, tf.Tensor2D];
  using gradients = recording.backward(dLogps, undefined, dValues);
  assert.deepEqual([...gradients.names].sort(), Object.keys(fixed.gradients.first).sort());
  // As in engine.test.ts; greatest difference seen here: 1.5e-6 of the largest element of a parameter.
  nearGradients((name) => gradients.values(name), fixed.gradients.first, 1.2e-5, 'first');
  for (const each of [model, base]) each.dispose();
});

test('without the gradient of values, the head has none; and only what is wanted is made', async () => {
  const { model: base, expected } = await loadEngineModel('a-group');
  const model = withValueHead(base);
  setHead(model, vHead);
  const batch = responseBatch(expected.rows);
  const ones = ({ responseMask }: { responseMask: tf.Tensor2D }) => responseMask.toFloat<tf.Tensor2D>();
  using plain = base.record(batch);
  using ofBase = plain.backward(ones(plain));
  using recording = model.record(batch);
  using ofView = recording.backward(ones(recording));
  assert.deepEqual(ofView.names, ofBase.names);
  for (const name of ofBase.names) assert.deepEqual(ofView.values(name), ofBase.values(name), name);

  using again = model.record(batch);
  using bias = again.backward(ones(again), (name) => name === 'v_head.bias', ones(again));
  assert.deepEqual(bias.names, ['v_head.bias']);
  nearAll(bias.values('v_head.bias'), [expected.logps.flat().length], 0, 'one for each token');
  for (const each of [model, base]) each.dispose();
});

test("the view shares its base's variables; disposing of it frees the head alone", async () => {
  const { model: base } = await loadEngineModel('a-group');
  const live = liveTensors();
  const model = withValueHead(base);
  assert.equal(liveTensors(), live + 2);
  model.weights.trained.assign('ln_f.bias', new Float32Array(16).fill(0.25));
  assert.deepEqual(base.weights.values('ln_f.bias'), new Float32Array(16).fill(0.25));
  base.weights.assign('ln_f.bias', new Float32Array(16).fill(0.5));
  assert.deepEqual(model.weights.values('ln_f.bias'), new Float32Array(16).fill(0.5));
  setHead(model, vHead);
  assert.deepEqual(model.weights.values('v_head.bias'), Float32Array.from(vHead.bias));
  const before = base.score(all).dataSync();
  model.dispose();
  assert.equal(liveTensors(), live);
  assert.deepEqual(base.score(all).dataSync(), before);
  base.dispose();
});

test('an export leaves the head out, and so does a merged copy', async () => {
  const { model: base } = await loadEngineModel('a-group');
  const model = withValueHead(base);
  setHead(model, vHead);
  const copy = merged(model);
  assert.deepEqual(copyOf(copy), copyOf(base));

  const folder = mkdtempSync(join(tmpdir(), 'head-'));
  const tiny = await GPT2.fromPretrained('tiny');
  await exportModel(withValueHead(tiny), join(folder, 'exported'), { source: 'tiny' });
  using file = new SafetensorsFile(join(folder, 'exported', 'model.safetensors'));
  assert.deepEqual([...file.tensors.keys()].sort(), tiny.weights.names.map((name) => `transformer.${name}`).sort());
  assert.equal((await Tokenizer.fromPretrained(join(folder, 'exported'))).vocabSize, 50257);
  rmSync(folder, { recursive: true });
  for (const each of [copy, model, base, tiny]) each.dispose();
});

test('over adapters, these and the head are trained, and the base stays as it is', async () => {
  const { model: base } = await loadEngineModel('a-group');
  const adapted = lora(base, { rank: 2 }, new Random(3));
  const adapters = adapted.weights.trained.names;
  for (const name of adapters.filter((each) => each.endsWith('lora_B'))) {
    const values = adapted.weights.trained.values(name);
    adapted.weights.trained.assign(
      name,
      values.map((_, n) => 0.05 * Math.sin(n)),
    );
  }
  const model = withValueHead(adapted);
  setHead(model, vHead);
  assert.deepEqual(model.weights.trained.names, [...adapters, 'v_head.weight', 'v_head.bias']);
  assert.deepEqual(model.score(all).dataSync(), adapted.score(all).dataSync());

  // The same model with plain weights: its gradient of W gives those of the adapters, dA = scale dW B' and dB = scale
  // A' dW.
  const plain = withValueHead(merged(adapted));
  setHead(plain, vHead);
  const gradientsOf = (of: GPT2) => {
    using recording = of.record(all);
    const gradient = recording.responseMask.toFloat<tf.Tensor2D>();
    return recording.backward(gradient, undefined, gradient.mul<tf.Tensor2D>(0.5));
  };
  using ofView = gradientsOf(model);
  using ofPlain = gradientsOf(plain);
  assert.deepEqual([...ofView.names].sort(), [...model.weights.trained.names].sort());
  const name = 'h.1.attn.c_attn';
  const dW = tf.tensor2d(ofPlain.values(`${name}.weight`), [16, 48]);
  const [A, B] = (['lora_A', 'lora_B'] as const).map((each) =>
    tf.tensor2d(adapted.weights.trained.values(`${name}.${each}`), each === 'lora_A' ? [16, 2] : [2, 48]),
  ) as [tf.Tensor2D, tf.Tensor2D];
  const expected = {
    [`${name}.lora_A`]: [...dW.matMul(B.transpose()).mul(2).dataSync()],
    [`${name}.lora_B`]: [...A.transpose().matMul(dW).mul(2).dataSync()],
    'v_head.weight': [...ofPlain.values('v_head.weight')],
  };
  nearGradients((each) => ofView.values(each), expected, 1.2e-5, 'adapters'); // float32 on both sides
  for (const each of [model, plain, adapted, base]) each.dispose();
});

test('a second head, and a gradient of values where there are none, are refused', async () => {
  const { model: base } = await loadEngineModel('a-group');
  const model = withValueHead(base);
  const refused = (message: RegExp, run: () => unknown) =>
    assert.throws(run, (error) => error instanceof InputError && message.test(error.message));
  refused(/^this model already has a value head$/, () => withValueHead(model));
  using recording = base.record(all);
  const gradient = recording.responseMask.toFloat<tf.Tensor2D>();
  refused(/^this model has no value head, so there is no gradient of values$/, () =>
    recording.backward(gradient, undefined, gradient),
  );
  using withValues = model.record(all);
  refused(/^valueGradient must have shape \[6,8\], got \[1,8\]$/, () =>
    withValues.backward(gradient, undefined, tf.zeros([1, 8])),
  );
  for (const each of [model, base]) each.dispose();
});
