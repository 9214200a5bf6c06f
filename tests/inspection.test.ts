/** How a value is shown that is alone at a cell's end, or that is printed. */
import assert from 'node:assert/strict';
import { cpus } from 'node:os';
import { test } from 'node:test';
import { inspect } from 'node:util';

import { device, deviceAndModel, GPT2, Random, RewardModel, tf } from 'alignbook';

test('a tensor shows dtype, shape and numbers; within an object, dtype and shape', () => {
  const x = tf.tensor2d([
    [1, 2, 3],
    [4, 5, 6.5],
  ]);
  assert.equal(inspect(x), 'Tensor float32 [2, 3]\n[[1, 2, 3  ],\n [4, 5, 6.5]]');
  assert.equal(inspect({ x, n: 1 }), '{ x: Tensor float32 [2, 3], n: 1 }');
  assert.equal(inspect([x]), '[ Tensor float32 [2, 3] ]');
  assert.equal(inspect(tf.scalar(5, 'int32')), 'Tensor int32 []\n5');
  const many = inspect(tf.range(0, 100_000));
  assert.match(many, /^Tensor float32 \[100000\]\n\[0, 1, 2, \.\.\., 99997, 99998, 99999\]$/);
  const variable = tf.variable(x);
  assert.match(inspect(variable), /^Variable float32 \[2, 3\]\n\[\[1, 2, 3 {2}\],/);
  x.dispose();
  assert.equal(inspect(x), 'Tensor float32 [2, 3], disposed');
});

test('a model shows its architecture and the number of its parameters, not its insides', async () => {
  const model = await GPT2.fromPretrained('tiny');
  const { nEmbd: C, nLayer, vocabSize, blockSize } = model.config;
  // For each block: two layer norms, and four matrices of 3 C, C, 4 C and 4 C columns or rows, with their biases.
  const parameters = (vocabSize + blockSize) * C + nLayer * (4 * C + 12 * C * C + 9 * C) + 2 * C;
  assert.match(
    inspect(model, { breakLength: Infinity }),
    new RegExp(`^GPT2 { nLayer: ${nLayer}, .*parameters: ${parameters} }$`),
  );
  assert.equal(inspect(model.weights), `Weights of ${4 + 12 * nLayer} tensors, ${parameters} numbers`);
  const where = device().name === 'gpu' ? 'GPU \\(.*\\)' : `CPU \\(${cpus().length} cores?\\)`;
  const millions = (parameters / 1e6).toFixed(1);
  const size = `${millions} M parameters, ${nLayer} layers of width ${C}, at most ${blockSize} tokens`;
  assert.match(
    deviceAndModel('tiny', model),
    new RegExp(`^tiny: a GPT-2 of ${size}; on the ${where}, (fp32|tf32|bf16), TensorFlow \\d+\\.\\d+\\.\\d+$`),
  );
  const judge = RewardModel.begin(model, new Random(1), 50256);
  assert.match(
    inspect(judge, { breakLength: Infinity }),
    new RegExp(`^RewardModel { .*padTokenId: 50256, parameters: ${parameters + C} }$`),
  );
  for (const each of [model, judge]) each.dispose();
});
