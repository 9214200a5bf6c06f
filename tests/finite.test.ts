/** A number that is none does not pass for a result: named at load, in what is computed, and before it is saved. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import {
  evaluateDpo,
  evaluateSft,
  generate,
  GPT2,
  InputError,
  Random,
  referenceLogps,
  responseBatch,
  RewardModel,
  SafetensorsFile,
  scorePairs,
  scoreResponses,
  Tokenizer,
  TrainingState,
  writeSafetensors,
} from 'alignbook';

import { root } from '../scripts/paths';
import { loadEngineModel } from './engineFixtures';
import { matching } from './matching';
import { writeLetterModel } from './rollouts';

const folder = mkdtempSync(join(tmpdir(), 'finite-'));
const letters = join(folder, 'letters');
after(() => rmSync(folder, { recursive: true }));
before(() => writeLetterModel(letters));
const pairs = join(folder, 'pairs.jsonl');
writeFileSync(pairs, '{"prompt":"a","chosen":"bc","rejected":"d"}\n{"prompt":"e","chosen":"fg","rejected":"h"}\n');

const alignbook = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'lib', 'bin', 'alignbook.js'), ...args], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
};

/** The letter model with one element of one tensor changed. */
function changed(name: string, tensor: string, element: number, value: number): string {
  const out = join(folder, name);
  cpSync(letters, out, { recursive: true });
  using file = new SafetensorsFile(join(letters, 'model.safetensors'));
  const tensors = [...file.tensors].map(([key, { shape }]) => ({ name: key, shape, values: file.float32(key) }));
  tensors.find((each) => each.name === tensor)!.values[element] = value;
  writeSafetensors(join(out, 'model.safetensors'), tensors, { finite: false });
  return out;
}

test('a weight that is no number is named at load, by every command; a large one is not', () => {
  const model = changed('nan', 'h.0.mlp.c_fc.weight', 5, NaN);
  const line =
    `alignbook: ${join(model, 'model.safetensors')}: tensor "h.0.mlp.c_fc.weight" holds NaN at element 5: the file ` +
    'is damaged, or its training diverged; take another copy, or an earlier checkpoint\n';
  for (const args of [
    ['logps', '--model', model, '--data', pairs],
    ['generate', '--model', model, '--prompt', 'a'],
    ['export', '--model', model, '--out', join(folder, 'out')],
  ]) {
    assert.deepEqual(alignbook(...args), { status: 1, stdout: '', stderr: line });
  }
  assert.ok(!existsSync(join(folder, 'out')));
  assert.match(
    alignbook('logps', '--model', changed('infinite', 'wte.weight', 0, -Infinity), '--data', pairs).stderr,
    /tensor "wte\.weight" holds -Infinity at element 0/,
  );
  // its square is not a float32
  assert.equal(alignbook('logps', '--model', changed('large', 'wpe.weight', 0, 1e25), '--data', pairs).status, 0);
});

test('sums that overflow: the row is named, and nothing is made of them', async () => {
  const model = changed('huge', 'h.0.attn.c_attn.weight', 0, 3e38);
  const { status, stdout, stderr } = alignbook('logps', '--model', model, '--data', pairs);
  assert.deepEqual({ status, stdout }, { status: 1, stdout: '' });
  assert.match(
    stderr,
    /^alignbook: row 1: a log-prob is NaN; the model's weights or its sums are too large to compute with\n$/,
  );
  assert.match(
    alignbook('generate', '--model', model, '--prompt', 'abcd').stderr,
    /^alignbook: the model's logits are not numbers: /,
  );

  const huge = await GPT2.fromPretrained(model);
  const rows = [{ promptIds: [1], chosenIds: [2, 3, 0], rejectedIds: [4, 0] }]; // the first row of the file
  assert.throws(() => [...scorePairs(huge, {} as Tokenizer, rows)], /^InputError: row 1: a log-prob is NaN/);
  assert.throws(() => referenceLogps(huge, rows), /^InputError: pair 1: its log-prob under the reference is NaN/);
  const scorer = RewardModel.begin(huge, new Random(1));
  assert.throws(
    () =>
      scoreResponses(scorer, [
        {
          promptIds: [1],
          responses: [
            [2, 3, 0],
            [4, 0],
          ],
        },
      ]),
    /^InputError: row 1: a score is NaN/,
  );
  for (const temperature of [0, 1])
    await assert.rejects(
      generate(huge, [[1, 2, 3, 4]], { temperature }),
      /^InputError: the model's logits are not numbers/,
    );
  for (const each of [scorer, huge]) each.dispose();
});

test(
  'a weight that is lost on the way: greedy tokens are looked at where they begin and where they end, evaluations ' +
    'by rows',
  async () => {
    const model = await GPT2.fromPretrained(letters);
    const lose = (name: string, row: number) => {
      const values = model.weights.values(name);
      values.fill(NaN, row * model.config.nEmbd, (row + 1) * model.config.nEmbd);
      model.weights.assign(name, values);
    };
    lose('wpe.weight', 6); // two positions after the prompt's
    for (const temperature of [0, 1])
      await assert.rejects(
        generate(model, [[1, 2, 3, 4]], { temperature, maxNewTokens: 5 }),
        /^InputError: the model's logits are not numbers/,
      );
    // nothing is made there yet
    assert.equal((await generate(model, [[1, 2, 3, 4]], { maxNewTokens: 2 }))[0]!.ids.length, 2);
    const rows = [
      { promptIds: [1], responses: [[2, 3]] },
      { promptIds: [1], responses: [[2, 3, 4, 5, 6, 7, 8]] },
    ];
    assert.throws(
      () => evaluateSft(model, rows, { batchSize: 1 }),
      /^InputError: rows 2 to 2: their loss is NaN; the model's weights/,
    );
    const pairs = rows.map(({ promptIds, responses: [ids] }) => ({ promptIds, chosenIds: ids!, rejectedIds: [9] }));
    assert.throws(
      () =>
        evaluateDpo(
          model,
          pairs,
          pairs.map(() => ({ refChosenLogps: -1, refRejectedLogps: -1 })),
          { batchSize: 2 },
        ),
      /^InputError: rows 1 to 2: their loss is NaN/,
    );

    const other = await GPT2.fromPretrained(letters);
    const embedding = other.weights.values('wte.weight');
    // the logit of one token that the prompt does not have, which a greedy choice would pass over
    embedding[9 * other.config.nEmbd] = NaN;
    other.weights.assign('wte.weight', embedding);
    await assert.rejects(generate(other, [[1, 2]], {}), /^InputError: the model's logits are not numbers/);
    for (const each of [model, other]) each.dispose();
  },
);

test('what is saved is finite, and what is there already stays', async () => {
  const path = join(folder, 'file.safetensors');
  const write = (values: number[], dtype: 'F32' | 'F16' | 'BF16' = 'F32') =>
    writeSafetensors(path, [{ name: 'x', shape: [values.length], values: Float32Array.from(values) }], { dtype });
  write([1, 2]);
  for (const [values, dtype, said] of [
    [[1, NaN], 'F32', /^InputError: tensor "x" holds NaN at element 1, so it is not written/],
    [[-Infinity, 1], 'BF16', /^InputError: tensor "x" holds -Infinity at element 0, so it is not written/],
    [
      [1, 2, 70000],
      'F16',
      /^InputError: tensor "x" holds 70000 at element 2, which is out of the range of F16; write F32 or BF16$/,
    ], // the largest is 65504
    // the largest is 3.39e38, and 3.4e38 rounds up
    [
      [3.4e38],
      'BF16',
      /^InputError: tensor "x" holds 3\.39\d+e\+38 at element 0, which is out of the range of BF16; write F32$/,
    ],
  ] as const)
    assert.throws(() => write([...values], dtype), said);
  using file = new SafetensorsFile(path);
  assert.deepEqual([...file.float32('x')], [1, 2]);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('file')),
    ['file.safetensors'],
  );

  const { model } = await loadEngineModel('one-head');
  const state = TrainingState.begin(model);
  const bias = model.weights.values('ln_f.bias');
  bias[2] = NaN;
  model.weights.assign('ln_f.bias', bias);
  assert.throws(
    () => state.save(join(folder, 'checkpoint')),
    (error) => error instanceof InputError && /tensor "ln_f\.bias" holds NaN at element 2/.test(error.message),
  );
  assert.ok(!existsSync(join(folder, 'checkpoint')));
  state.dispose();
  model.dispose();

  const exported = alignbook(
    'export',
    '--model',
    changed('wide', 'wpe.weight', 3, 1e6),
    '--out',
    join(folder, 'half'),
    '--dtype',
    'F16',
  );
  assert.equal(exported.status, 1);
  assert.match(
    exported.stderr,
    matching(
      /^alignbook: tensor "transformer\.wpe\.weight" holds 1000000 at element 3, which is out of the/,
      / range of F16; write F32 or BF16\n$/,
    ),
  );
  assert.ok(!existsSync(join(folder, 'half')));
});

/** log softmax over the ids that can be drawn, by hand. */
function logpOf(logits: Float32Array, id: number, suppressed: readonly number[]): number {
  const allowed = [...logits].filter((_, other) => !suppressed.includes(other));
  const highest = Math.max(...allowed);
  return logits[id]! - highest - Math.log(allowed.reduce((sum, logit) => sum + Math.exp(logit - highest), 0));
}

test(
  'an embedding larger than the vocabulary: what the tokenizer lacks is never sampled, and takes no share of the ' +
    'log-probs',
  async () => {
    const { model } = await loadEngineModel('a-group');
    const suppressTokens = Array.from({ length: 17 }, (_, n) => 20 + n); // the model has 37 rows
    const made = await generate(model, [[1, 2, 3]], { samples: 200, maxNewTokens: 5, temperature: 5, suppressTokens });
    assert.ok(made.every(({ ids }) => ids.every((id) => id < 20)));
    const unsuppressed = await generate(model, [[1, 2, 3]], { samples: 200, maxNewTokens: 5, temperature: 5 });
    assert.ok(
      unsuppressed.some(({ ids }) => ids.some((id) => id >= 20)),
      'else the test shows nothing',
    );
    for (const options of [{ topK: 30 }, { topP: 0.99 }, { repetitionPenalty: 2 }]) {
      assert.ok(
        (
          await generate(model, [[4]], { samples: 100, maxNewTokens: 4, temperature: 5, suppressTokens, ...options })
        ).every(({ ids }) => ids.every((id) => id < 20)),
      );
    }
    await assert.rejects(
      generate(model, [[1]], { suppressTokens: [37] }),
      /^InputError: suppressTokens holds 37; ids lie from 0 to 36$/,
    );

    const batch = responseBatch([{ promptIds: [1, 2, 3], responses: [[4, 0]] }]);
    const logps = model.score(batch, { suppressTokens }).dataSync();
    const { tf } = await import('alignbook');
    const logits = model.forward(tf.tensor2d([[1, 2, 3, 4]], [1, 4], 'int32')).logits.arraySync()[0]!;
    for (const [n, id] of [4, 0].entries())
      // float32 sums
      assert.ok(Math.abs(logps[n]! - logpOf(Float32Array.from(logits[2 + n]!), id, suppressTokens)) < 2e-6);

    // Their share of the gradient is none: a step leaves their rows of the embedding alone.
    using recording = model.record(batch, { suppressTokens, statistics: true });
    assert.ok(recording.statistics!.entropy.every((entropy) => entropy > 0 && entropy < Math.log(20) + 1e-6));
    using gradients = recording.backward(tf.tensor2d([[1, 1]]));
    const wte = gradients.values('wte.weight');
    const C = model.config.nEmbd;
    assert.ok(wte.subarray(20 * C).every((value) => value === 0));
    assert.ok(wte.subarray(5 * C, 6 * C).some((value) => value !== 0));
    model.dispose();
  },
);

test(
  'a padded embedding goes through generate, train-grpo and train-ppo; an id beyond the embedding is named with ' +
    'its row',
  async () => {
    const padded = join(folder, 'padded');
    cpSync(letters, padded, { recursive: true });
    const tokenizer = JSON.parse(readFileSync(join(letters, 'tokenizer.json'), 'utf8')) as {
      model: { vocab: Record<string, number> };
    };
    const few = Object.fromEntries(Object.entries(tokenizer.model.vocab).filter(([, id]) => id < 12)); // of 37 rows
    writeFileSync(
      join(padded, 'tokenizer.json'),
      JSON.stringify({ ...tokenizer, model: { ...tokenizer.model, vocab: few } }),
    );
    assert.deepEqual((await Tokenizer.fromPretrained(padded)).missingIds(14), [12, 13]);
    const prompts = join(folder, 'prompts.jsonl');
    writeFileSync(prompts, '{"prompt":"abc"}\n{"prompt":"def"}\n');
    const reward = join(folder, 'reward.cjs');
    writeFileSync(reward, 'module.exports = (samples) => samples.map(({ ids }) => ids.length);');
    assert.equal(
      alignbook('generate', '--model', padded, '--prompt', 'ab', '--temperature', '9', '--max-new-tokens', '12').status,
      0,
    );
    for (const command of ['train-grpo', 'train-ppo']) {
      const { status, stderr } = alignbook(
        command,
        '--model',
        padded,
        '--data',
        prompts,
        '--reward-function',
        reward,
        '--output',
        join(folder, command),
        '--steps',
        '2',
        '--batch-size',
        '2',
        '--max-new-tokens',
        '8',
        '--temperature',
        '5',
        '--lr',
        '1e-3',
      );
      assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
    }

    // An embedding of 14 rows beside one of 37, weights otherwise the same: over what can be drawn, the two are one
    // distribution.
    const fewer = join(folder, 'fewer');
    cpSync(padded, fewer, { recursive: true });
    const config = JSON.parse(readFileSync(join(padded, 'config.json'), 'utf8')) as { n_embd: number };
    writeFileSync(join(fewer, 'config.json'), JSON.stringify({ ...config, vocab_size: 14 }));
    using whole = new SafetensorsFile(join(padded, 'model.safetensors'));
    const cut = (key: string, values: Float32Array) =>
      key.endsWith('wte.weight')
        ? { shape: [14, config.n_embd], values: values.slice(0, 14 * config.n_embd) }
        : { shape: whole.tensors.get(key)!.shape, values };
    writeSafetensors(
      join(fewer, 'model.safetensors'),
      [...whole.tensors.keys()].map((key) => ({ name: key, ...cut(key, whole.float32(key)) })),
    );
    for (const [command, policy, reference] of [
      ['train-grpo', padded, fewer],
      ['train-ppo', fewer, padded],
    ] as const) {
      const output = join(folder, `${command}-two`);
      const { status, stderr } = alignbook(
        command,
        '--model',
        policy,
        '--reference',
        reference,
        '--data',
        prompts,
        '--reward-function',
        reward,
        '--output',
        output,
        '--steps',
        '1',
        '--batch-size',
        '2',
        '--max-new-tokens',
        '8',
        '--temperature',
        '2',
        '--lr',
        '1e-3',
      );
      assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
      const step = JSON.parse(readFileSync(join(output, 'metrics.jsonl'), 'utf8').split('\n')[0]!) as {
        kl?: number;
        objective?: { kl: number };
      };
      assert.ok(Math.abs(step.kl ?? step.objective!.kl) < 1e-4, JSON.stringify(step)); // float32 sums over 8 tokens
    }

    const unresized = join(folder, 'unresized');
    cpSync(letters, unresized, { recursive: true });
    writeFileSync(
      join(unresized, 'tokenizer.json'),
      JSON.stringify({ ...tokenizer, model: { ...tokenizer.model, vocab: { ...tokenizer.model.vocab, Z: 37 } } }),
    );
    const rows = join(folder, 'beyond.jsonl');
    writeFileSync(rows, '{"prompt":"a","chosen":"b","rejected":"c"}\n{"prompt":"a","chosen":"bZ","rejected":"c"}\n');
    const { status, stderr } = alignbook('logps', '--model', unresized, '--data', rows);
    assert.equal(status, 1);
    assert.equal(
      stderr,
      `alignbook: ${rows}: line 2: token "Z" has the id 37, and the model's embedding ends at 36: it was not ` +
        `resized when the token was added; resize it with transformers' resize_token_embeddings, or remove the token ` +
        'from the text\n',
    );
  },
);
