/**
 * Variants of GPT-2 in use besides OpenAI's: forward, gradients, steps, generation and exports equal those of
 * transformers; other models are refused from their config.json.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';

import {
  AdamW,
  checkpointFolder,
  configJson,
  exportModel,
  FileError,
  generate,
  GPT2,
  lora,
  merged,
  Random,
  readConfig,
  responseBatch,
  RewardModel,
  SafetensorsFile,
  scoreResponses,
  tf,
  TrainingState,
  withValueHead,
  type Layout,
} from 'alignbook';

import { root } from '../scripts/paths';
import { matching } from './matching';
import { names, written as writtenIn } from './variantModels';

const TINY = join(root, 'data', 'models', 'tiny');
const place = mkdtempSync(join(tmpdir(), 'variants-'));
after(() => rmSync(place, { recursive: true }));

/**
 * Float32 here, float64 in the fixtures except with reordered attention. As in engine.test.ts, four times the greatest
 * difference seen there.
 */
const VALUES = 1e-5;
const GRADIENTS = 1.2e-5;
/**
 * Three steps of AdamW; if a gradient near 0 is rounded differently, an element moves by a fraction of lr. Greatest
 * difference seen: 3e-6.
 */
const TRAINED = 1.2e-5;

function near(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  assert.equal(actual.length, expected.length, what);
  for (let i = 0; i < expected.length; i += 1)
    assert.ok(
      Math.abs(actual[i]! - expected[i]!) <= tolerance,
      `${what}, element ${i}: ${actual[i]} instead of ${expected[i]}`,
    );
}

const ragged = (rows: readonly (readonly number[])[]): tf.Tensor2D => {
  const L = Math.max(...rows.map((row) => row.length));
  return tf.tensor2d(rows.map((row) => [...row, ...Array<number>(L - row.length).fill(0)]));
};

/** In a separate folder, which the tests may change. */
function written(name: string) {
  const folder = mkdtempSync(join(place, `${name}-`));
  return { folder, ...writtenIn(name, folder) };
}

for (const name of names) {
  describe(name, () => {
    test("log-probs, gradients, steps and greedy tokens are transformers'", async () => {
      const { folder, expected, stored } = written(name);
      const model = await GPT2.fromPretrained(folder);
      const logps = ragged(expected.logps).dataSync();
      for (const layout of ['padded', 'shared', 'packed'] satisfies Layout[]) {
        const batch = responseBatch(expected.rows, { layout, maxLength: model.config.blockSize });
        near(model.score(batch).dataSync(), logps, VALUES, `${layout}: score`);
        using recording = model.record(batch);
        near(recording.perTokenLogps.dataSync(), logps, VALUES, `${layout}: recorded`);
        using gradients = recording.backward(ragged(expected.weights));
        assert.deepEqual(gradients.names.slice().sort(), model.weights.names.slice().sort());
        for (const weight of model.weights.names) {
          const values = stored('gradient', weight);
          near(
            gradients.values(weight),
            values,
            GRADIENTS *
              Math.max(
                1e-3,
                values.reduce((most, value) => Math.max(most, Math.abs(value)), 0),
              ),
            `${layout}: ${weight}`,
          );
        }
      }
      for (const batchSize of [64, 1]) {
        const made = await generate(
          model,
          expected.rows.map(({ promptIds }) => promptIds),
          { maxNewTokens: 8, batchSize },
        );
        assert.deepEqual(
          made.map(({ ids }) => ids),
          expected.greedy,
        );
      }
      const optimizer = new AdamW(model.weights.trained, { beta1: 0.9, beta2: 0.95, epsilon: 1e-3, weightDecay: 0.1 });
      for (const lr of [0.01, 0.02, 0.005]) {
        const recording = model.record(responseBatch(expected.rows));
        // of the sum itself, as in engine.test.ts
        const gradients = recording.backward(ragged(expected.weights.map((row) => row.map((weight) => weight))));
        gradients.clip(5);
        optimizer.step(gradients, lr);
        recording[Symbol.dispose]();
      }
      for (const weight of model.weights.names)
        near(model.weights.values(weight), stored('trained', weight), TRAINED, `trained ${weight}`);
      optimizer.dispose();
      model.dispose();
    });
  });
}

test('adapters, a value head, a reward model and checkpoints of a head of its own', async () => {
  const { folder, expected } = written('all');
  const model = await GPT2.fromPretrained(folder);
  assert.ok(model.weights.names.includes('lm_head.weight'));
  const batch = responseBatch(expected.rows);
  const logps = model.score(batch).dataSync();

  const adapted = lora(model, { rank: 2 }, new Random(1));
  near(adapted.score(batch).dataSync(), logps, 0, 'B begins at 0');
  using gradients = adapted.record(batch).backward(ragged(expected.weights));
  assert.ok(gradients.names.length > 0 && gradients.names.every((name) => /lora_[AB]$/.test(name)));
  const plain = merged(adapted);
  near(plain.score(batch).dataSync(), logps, 0, 'merged');

  const valued = withValueHead(model);
  assert.equal(valued.measure(batch).values!.shape.join(), batch.responses.join());

  const scorer = RewardModel.begin(model, new Random(2));
  assert.ok(!scorer.weights.names.includes('lm_head.weight'));
  await exportModel(scorer, join(place, 'scorer'), { source: folder });
  const again = await RewardModel.fromPretrained(join(place, 'scorer'));
  assert.deepEqual(scoreResponses(again, expected.rows), scoreResponses(scorer, expected.rows));

  const state = TrainingState.begin(model);
  state.save(checkpointFolder(place, 1));
  assert.deepEqual(readConfig(join(checkpointFolder(place, 1), 'config.json')), model.config);
  const fresh = await GPT2.fromPretrained(folder);
  TrainingState.resume(checkpointFolder(place, 1), fresh).dispose();
  state.dispose();
  for (const each of [adapted, plain, valued, scorer, again, fresh, model]) each.dispose();
});

test(
  'an export keeps the kind: the same config fields, the ' + 'same log-probs, and the tensors that transformers saves',
  async () => {
    for (const name of names) {
      const { folder, expected } = written(name);
      const model = await GPT2.fromPretrained(folder);
      const out = join(place, `exported-${name}`);
      await exportModel(model, out, { source: folder });
      const again = await GPT2.fromPretrained(out);
      assert.deepEqual(
        again.score(responseBatch(expected.rows)).dataSync(),
        model.score(responseBatch(expected.rows)).dataSync(),
      );
      const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')) as Record<string, unknown>;
      for (const [field, value] of Object.entries(expected.config))
        assert.deepEqual(config[field], value, `${name}: ${field}`);
      using file = new SafetensorsFile(join(out, 'model.safetensors'));
      assert.equal(file.tensors.has('lm_head.weight'), model.config.untiedHead === true);
      assert.deepEqual(JSON.parse(configJson(model.config))['n_inner'], model.config.nInner);
      for (const each of [again, model]) each.dispose();
    }
  },
);

const TINY_CONFIG = JSON.parse(readFileSync(join(TINY, 'config.json'), 'utf8')) as Record<string, unknown>;

/** transformers' other names for the sizes, read as GPT2Config.attribute_map does. */
const SYNONYMS = Object.fromEntries(
  [
    ['n_layer', 'num_hidden_layers'],
    ['n_head', 'num_attention_heads'],
    ['n_embd', 'hidden_size'],
    ['n_positions', 'max_position_embeddings'],
  ].flatMap(([name, other]) => [
    [name, undefined],
    [other, TINY_CONFIG[name!]],
  ]),
) as Record<string, unknown>;

test('what is not computed, and fields of another type, are refused from config.json alone', () => {
  const path = join(place, 'config.json');
  const refused: readonly (readonly [more: Record<string, unknown>, said: RegExp])[] = [
    [{ activation_function: 'mish' }, /"activation_function" is "mish"; supported are gelu_new, gelu_fast, /],
    [{ activation_function: 7 }, /"activation_function" is "7"; supported are/],
    [{ activation_function: 'constructor' }, /"activation_function" is "constructor"/],
    [{ add_cross_attention: true }, /"add_cross_attention" is true; only false is supported$/],
    [{ model_type: 'gpt_neo' }, /"model_type" is "gpt_neo"; only "gpt2" is supported$/],
    [{ layer_norm_epsilon: '1e-5' }, /"layer_norm_epsilon" must be a number above 0, got "1e-5"$/],
    [{ layer_norm_epsilon: 0 }, /"layer_norm_epsilon" must be a number above 0, got 0$/],
    [{ tie_word_embeddings: 'false' }, /"tie_word_embeddings" must be true or false, got "false"$/],
    [{ scale_attn_weights: 0 }, /"scale_attn_weights" must be true or false, got 0$/],
    [{ scale_attn_by_inverse_layer_idx: 'yes' }, /"scale_attn_by_inverse_layer_idx" must be true or false, got "yes"$/],
    [{ reorder_and_upcast_attn: 1 }, /"reorder_and_upcast_attn" must be true or false, got 1$/],
    [{ add_cross_attention: 'no' }, /"add_cross_attention" must be true or false, got "no"$/],
    [{ n_inner: 'wide' }, /"n_inner" must be a positive integer, got "wide"$/],
    [{ n_inner: -4 }, /"n_inner" must be a positive integer, got -4$/],
    [{ n_layer: '2' }, /"n_layer" must be a positive integer, got "2"$/],
    [{ vocab_size: null }, /"vocab_size" must be a positive integer, got null$/],
    // transformers 5.23 also refuses null if it is not a value of the field
    [{ activation_function: null }, /"activation_function" is "null"; supported are/],
    [{ layer_norm_epsilon: null }, /"layer_norm_epsilon" must be a number above 0, got null$/],
    [{ tie_word_embeddings: null }, /"tie_word_embeddings" must be true or false, got null$/],
    [{ scale_attn_weights: null }, /"scale_attn_weights" must be true or false, got null$/],
    [{ bos_token_id: 1.5 }, /"bos_token_id" must be a token id or null, got 1\.5$/],
    [{ pad_token_id: 'x' }, /"pad_token_id" must be a token id or null, got "x"$/],
    [{ eos_token_id: true }, /"eos_token_id" must be a token id, a list of them, or null, got true$/],
    [{ eos_token_id: [1, 'x'] }, /"eos_token_id" must be a token id, a list of them, or null, got \[1,"x"\]$/],
    [{ hidden_size: 1 }, /"n_embd" is \d+ but its synonym "hidden_size" is 1; remove the wrong one$/],
    [{ n_layer: undefined, num_hidden_layers: '2' }, /"num_hidden_layers" must be a positive integer, got "2"$/],
    [
      { architectures: ['GPT2DoubleHeadsModel'] },
      /"architectures" is "GPT2DoubleHeadsModel"; supported are GPT2LMHeadModel, /,
    ],
    [{ architectures: ['GPT2ForTokenClassification'] }, /"architectures" is "GPT2ForTokenClassification"/],
    [{ architectures: ['GPT2ForQuestionAnswering'] }, /"architectures" is "GPT2ForQuestionAnswering"/],
    [
      { architectures: ['GPT2ForSequenceClassification'] },
      /a classifier with 2 labels \("id2label"\); a reward model has one/,
    ],
    [
      { architectures: ['GPT2ForSequenceClassification'], id2label: { 0: 'a', 1: 'b', 2: 'c' } },
      /a classifier with 3 labels/,
    ],
    [{ attention_head_type: 'multiquery' }, /"attention_head_type" is "multiquery"; supported is "multihead"$/],
    [
      { auto_map: { AutoConfig: 'c.GPT2CustomConfig', AutoModelForCausalLM: 'm.GPT2LMHeadCustomModel' } },
      /"auto_map" names custom code, "m\.GPT2LMHeadCustomModel", which is not run here/,
    ],
    [
      { quantization_config: { quant_method: 'bitsandbytes' } },
      /"quantization_config": its weights are quantized \(bitsandbytes\)/,
    ],
  ];
  for (const [more, said] of refused) {
    writeFileSync(path, JSON.stringify({ ...TINY_CONFIG, ...more }));
    assert.throws(
      () => readConfig(path),
      (error) => error instanceof FileError && error.path === path && said.test(error.message),
      JSON.stringify(more),
    );
  }
  for (const same of [
    { activation_function: 'gelu_fast' },
    { n_inner: 4 * (TINY_CONFIG['n_embd'] as number) },
    { n_inner: null },
    { layer_norm_epsilon: 1e-5 },
    SYNONYMS,
    { hidden_size: TINY_CONFIG['n_embd'] },
    { eos_token_id: [1, 2], pad_token_id: -1, bos_token_id: null },
    { quantization_config: null, auto_map: null, architectures: null, attention_head_type: null },
    { auto_map: { AutoTokenizer: ['t.Tokenizer', null] } },
    { architectures: ['GPT2ForSequenceClassification'], id2label: { 0: 'LABEL_0' } },
  ]) {
    writeFileSync(path, JSON.stringify({ ...TINY_CONFIG, ...same }));
    assert.deepEqual(readConfig(path), readConfig(join(TINY, 'config.json')), JSON.stringify(same));
  }
});

test('what transformers wants with a point is exported with one', async () => {
  const { folder } = written('gelu');
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({ ...config, initializer_range: 1, layer_norm_epsilon: 1 }),
  ); // JSON.parse does not distinguish 1.0, as Python writes it, from 1
  const model = await GPT2.fromPretrained(folder);
  await exportModel(model, join(place, 'points'), { source: folder });
  const exported = readFileSync(join(place, 'points', 'config.json'), 'utf8');
  for (const text of [exported, configJson(model.config)]) assert.match(text, /"layer_norm_epsilon": 1\.0,?\n/);
  assert.match(exported, /"initializer_range": 1\.0,?\n/);
  assert.match(exported, /"n_layer": 2,\n/);
  model.dispose();
});

test('a head that is not the embedding beside a config that ties them is refused with the remedy', async () => {
  const { folder } = written('untied');
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, tie_word_embeddings: true }));
  await assert.rejects(
    GPT2.fromPretrained(folder),
    matching(
      /its lm_head\.weight differs from its wte\.weight, but its config\.json ties them; if the head is/,
      / a matrix of its own, set "tie_word_embeddings" to false there$/,
    ),
  );
  mkdirSync(join(place, 'headless'));
  const tied = written('gelu').folder;
  const other = JSON.parse(readFileSync(join(tied, 'config.json'), 'utf8')) as Record<string, unknown>;
  writeFileSync(join(tied, 'config.json'), JSON.stringify({ ...other, tie_word_embeddings: false }));
  await assert.rejects(
    GPT2.fromPretrained(tied),
    matching(
      /lacks the tensor "lm_head\.weight", although its config\.json does not tie the head to the/,
      / embedding; save the model again with its head, or remove "tie_word_embeddings": false if the/,
      / head was tied$/,
    ),
  );
});
