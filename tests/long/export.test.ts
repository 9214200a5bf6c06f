/**
 * An exported folder opened by transformers: weights, logits or scores, token ids, and the file that it saves again.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  exportAdapter,
  exportModel,
  GPT2,
  lora,
  Random,
  readPairs,
  RewardModel,
  scoreResponses,
  tf,
  Tokenizer,
  type FloatDType,
} from 'alignbook';

import { root } from '../../scripts/paths';
import { names, written } from '../variantModels';
import { oracle } from './oracle';

const DATA = join(root, 'data');
const TINY = join(DATA, 'models', 'tiny');
const folder = mkdtempSync(join(tmpdir(), 'export-'));
after(() => rmSync(folder, { recursive: true }));

for (const dtype of ['F32', 'F16', 'BF16'] satisfies FloatDType[]) {
  test(`${dtype}: transformers opens the folder and finds the model in it`, async () => {
    const model = await GPT2.fromPretrained('tiny');
    await exportModel(model, join(folder, dtype), { source: 'tiny', dtype });
    model.dispose();
    oracle('check_export.py', TINY, join(folder, dtype)); // asserts
  });
}

for (const dtype of ['F32', 'BF16'] satisfies FloatDType[]) {
  test(
    `${dtype}: transformers opens a reward model and ` + 'gives the same scores, and what it saves opens here',
    async () => {
      const [out, rows, resaved] = ['reward', 'rows.json', 'resaved'].map((name) =>
        join(folder, `${dtype}-${name}`),
      ) as [string, string, string];
      await exportModel(RewardModel.begin(await GPT2.fromPretrained('tiny'), new Random(1)), out, {
        source: 'tiny',
        dtype,
      });
      const model = await RewardModel.fromPretrained(out);
      const pairs = (
        await readPairs(join(DATA, 'preferences', 'validation.jsonl'), await Tokenizer.fromPretrained('tiny'), {
          maxLength: 256,
        })
      ).slice(0, 40);
      const candidates = pairs.map(({ promptIds, chosenIds, rejectedIds }) => ({
        promptIds,
        responses: [chosenIds, rejectedIds],
      }));
      const scores = scoreResponses(model, candidates);
      writeFileSync(
        rows,
        JSON.stringify(
          candidates.flatMap(({ promptIds, responses }, n) =>
            responses.map((ids, i) => ({ ids: [...promptIds, ...ids], score: scores[n]![i] })),
          ),
        ),
      );
      oracle('check_reward_export.py', out, rows, resaved); // asserts
      assert.deepEqual(scoreResponses(await RewardModel.fromPretrained(resaved), candidates), scores);
    },
  );
}

test('PEFT opens an adapter that is written here, and gives the same logits', async () => {
  const base = await GPT2.fromPretrained('tiny');
  const model = lora(base, { rank: 5, alpha: 7, targets: ['attn.c_attn', 'attn.c_proj', 'mlp.c_fc'] }, new Random(1));
  const random = new Random(2);
  const { trained } = model.weights;
  for (const name of trained.names)
    trained.assign(
      name,
      trained.values(name).map(() => 0.05 * random.normal()),
    );
  const [out, results] = [join(folder, 'adapter'), join(folder, 'adapter-logits.json')];
  await exportAdapter(model, out, { source: 'tiny' });
  // once more on top of it, as one adapter with patterns of its own
  const start = await GPT2.fromPretrained(out);
  const second = lora(start, { rank: 2, alpha: 3, targets: ['attn.c_attn', 'mlp.c_proj'] }, new Random(3));
  const above = second.weights.trained;
  for (const name of above.names) above.assign(name, above.values(name).fill(0.02));
  const both = join(folder, 'adapter-both');
  await exportAdapter(second, both, { source: out });
  const ids = Array.from({ length: 40 }, (_, n) => (n * 997) % 50257);
  const logits = (of: GPT2) =>
    tf.tidy(() => Array.from(of.forward(tf.tensor2d([ids], undefined, 'int32')).logits.dataSync<'float32'>()));
  writeFileSync(results, JSON.stringify({ ids, logits: { [out]: logits(model), [both]: logits(second) } }));
  oracle('check_adapter.py', TINY, results); // asserts
  for (const each of [second, start, model, base]) each.dispose();
});

test(
  'of each kind of GPT-2: transformers opens the export, ' + 'and gives the scores of a reward model made of it',
  async () => {
    const kinds = join(folder, 'kinds');
    for (const [n, name] of names.entries()) {
      const [source, exported, reward] = ['source', 'exported', 'scorer'].map((each) => join(kinds, name, each)) as [
        string,
        string,
        string,
      ];
      const { rows } = written(name, source).expected;
      // 1.0 and 1 are one number to JSON.parse; transformers refuses the second
      const config = join(source, 'config.json');
      writeFileSync(config, readFileSync(config, 'utf8').replace('{', '{"initializer_range":1.0,'));
      assert.match(readFileSync(config, 'utf8'), /"initializer_range":1\.0/);
      const model = await GPT2.fromPretrained(source);
      await exportModel(model, exported, { source });
      const scorer = RewardModel.begin(model, new Random(n));
      await exportModel(scorer, reward, { source });
      const scores = scoreResponses(scorer, rows);
      writeFileSync(
        join(kinds, name, 'scores.json'),
        JSON.stringify(
          rows.flatMap(({ promptIds, responses }, row) =>
            responses.map((ids, i) => ({ ids: [...promptIds, ...ids], score: scores[row]![i] })),
          ),
        ),
      );
      for (const each of [model, scorer]) each.dispose();
    }
    oracle('check_variants.py', kinds); // asserts
  },
);
