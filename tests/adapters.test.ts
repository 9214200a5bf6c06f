/** PEFT's LoRA adapters: read, merged, trained further and written, against PEFT's own logits. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  exportAdapter,
  exportModel,
  FileError,
  GPT2,
  InputError,
  liveTensors,
  loadAdapter,
  lora,
  Random,
  RewardModel,
  SafetensorsFile,
  tf,
  Tokenizer,
  trainSft,
  writeSafetensors,
  type NamedTensor,
} from 'alignbook';

import { root } from '../scripts/paths';
import { collect } from './trainingSteps';

const FIXTURES = join(root, 'tests', 'fixtures');
const ADAPTERS = join(FIXTURES, 'adapters');
const BASE = join(FIXTURES, 'gpt2');
const expected = JSON.parse(readFileSync(join(ADAPTERS, 'adapters.json'), 'utf8')) as {
  ids: number[][];
  logits: Record<string, number[]>;
  defaults: Record<string, unknown>;
};
const folder = mkdtempSync(join(tmpdir(), 'adapters-'));
after(() => rmSync(folder, { recursive: true }));

let copies = 0;
/** A copy of one of PEFT's adapters, whose base is a folder here, with other changes to adapter_config.json. */
function adapter(kind: string, changes: object = {}): string {
  const copy = join(folder, `${kind}-${(copies += 1)}`);
  cpSync(join(ADAPTERS, kind), copy, { recursive: true });
  const path = join(copy, 'adapter_config.json');
  const config = JSON.parse(readFileSync(path, 'utf8')) as object;
  writeFileSync(path, JSON.stringify({ ...config, base_model_name_or_path: BASE, ...changes }));
  return copy;
}

function logits(model: GPT2, ids = expected.ids): Float32Array {
  return tf.tidy(() => model.forward(tf.tensor2d(ids, undefined, 'int32')).logits.dataSync<'float32'>());
}

function assertNear(actual: ArrayLike<number>, wanted: ArrayLike<number>, tolerance: number): void {
  assert.equal(actual.length, wanted.length);
  const furthest = Array.from(wanted).reduce((most, value, n) => Math.max(most, Math.abs(actual[n]! - value)), 0);
  assert.ok(furthest <= tolerance, `off by ${furthest}`);
}

/** The tensors of an adapter, with one change. */
function withTensors(from: string, change: (tensors: NamedTensor[]) => NamedTensor[]): void {
  const path = join(from, 'adapter_model.safetensors');
  const tensors = (() => {
    using file = new SafetensorsFile(path);
    return [...file.tensors].map(([name, { shape }]) => ({ name, shape, values: file.float32(name) }));
  })();
  writeSafetensors(path, change(tensors), { finite: false });
}

// Logits up to 10, float32 on both sides; PEFT adds the product of activations, this library merges: 1e-5.
for (const kind of Object.keys(expected.logits)) {
  test(`${kind}: the logits are PEFT's, merged and not`, async () => {
    const source = adapter(kind);
    const first = await GPT2.fromPretrained(BASE);
    logits(first).slice(); // makes the constants that stay
    first.dispose();
    const live = liveTensors();
    const merged = await GPT2.fromPretrained(source);
    const base = await GPT2.fromPretrained(BASE);
    const view = loadAdapter(base, source);
    for (const model of [merged, view]) assertNear(logits(model), expected.logits[kind]!, 1e-5);
    for (const model of [merged, view, base]) model.dispose();
    assert.equal(liveTensors(), live);
  });
}

test('an adapter that is written comes back to the bit, under its base, with the fields that PEFT needs', async () => {
  const base = await GPT2.fromPretrained('tiny');
  const model = lora(base, { rank: 3, alpha: 5, targets: ['attn.c_attn', 'mlp.c_proj'] }, new Random(1));
  const { trained } = model.weights;
  const random = new Random(2);
  for (const name of trained.names)
    trained.assign(
      name,
      Float32Array.from(trained.values(name), () => 0.02 * random.normal()),
    );
  const out = join(folder, 'written');
  await exportAdapter(model, out, { source: 'tiny' });
  const { r, lora_alpha, target_modules, base_model_name_or_path } = JSON.parse(
    readFileSync(join(out, 'adapter_config.json'), 'utf8'),
  ) as Record<string, unknown>;
  assert.deepEqual(
    [r, lora_alpha, target_modules, base_model_name_or_path],
    [3, 5, ['attn.c_attn', 'mlp.c_proj'], 'tiny'],
  );
  const again = loadAdapter(base, out);
  assert.equal(again.weights.trained.digest(), trained.digest());
  const ids = [[464, 2068, 7586, 21831]];
  assert.deepEqual(logits(again, ids), logits(model, ids));
  const merged = await GPT2.fromPretrained(out);
  assertNear(logits(merged, ids), logits(model, ids), 1e-5);
  const tokenizer = await Tokenizer.fromPretrained(out);
  assert.deepEqual(tokenizer.encode('The quick brown fox'), [464, 2068, 7586, 21831]);
  await assert.rejects(exportAdapter(model, out, { source: 'tiny' }), InputError);
  await exportAdapter(model, out, { source: 'tiny', force: true });
  await assert.rejects(
    exportAdapter(base, join(folder, 'none'), { source: 'tiny' }),
    /the model has no adapters; make/,
  );
  assert.ok(!existsSync(join(folder, 'none')));
  for (const each of [again, model, merged, base]) each.dispose();
});

test('an adapter trained on top of another one is written as one adapter of the first base', async () => {
  const first = adapter('patterns');
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    cpSync(join(root, 'data', 'models', 'tiny', name), join(first, name));
  const start = await GPT2.fromPretrained(first);
  const second = lora(start, { rank: 2, targets: ['attn.c_attn', 'mlp.c_fc'] }, new Random(3));
  const rows = [{ promptIds: [1, 2], responses: [[3, 4, 30]] }];
  await collect(trainSft(second, rows, { steps: 3, batchSize: 1, lr: 1e-2 }));
  const moved = logits(second);
  assert.notDeepEqual(moved, logits(start));
  const both = join(folder, 'both');
  await exportAdapter(second, both, { source: first });
  const loaded = await GPT2.fromPretrained(both);
  assertNear(logits(loaded), moved, 1e-5);
  assert.equal(
    (JSON.parse(readFileSync(join(both, 'adapter_config.json'), 'utf8')) as Record<string, unknown>)[
      'base_model_name_or_path'
    ],
    BASE,
  );

  // continued: the same adapter, so nothing is added to it
  const base = await GPT2.fromPretrained(BASE);
  const continued = loadAdapter(base, first);
  await collect(trainSft(continued, rows, { steps: 3, batchSize: 1, lr: 1e-2 }));
  const third = join(folder, 'continued');
  await exportAdapter(continued, third, { source: first });
  const opened = await GPT2.fromPretrained(third);
  assertNear(logits(opened), logits(continued), 1e-5);
  for (const each of [second, start, loaded, continued, base, opened]) each.dispose();
});

/** Fields of LoraConfig that are applied, or change nothing in what an adapter computes. */
const APPLIED = [
  'task_type peft_type auto_mapping peft_version base_model_name_or_path revision inference_mode r target_modules',
  'exclude_modules lora_alpha lora_dropout fan_in_fan_out bias use_rslora init_lora_weights layers_to_transform',
  'layers_pattern rank_pattern alpha_pattern megatron_core eva_config qalora_group_size ensure_weight_tying',
].flatMap((line) => line.split(' '));

test("every other field of PEFT's configuration is refused by name, once it is in use", async () => {
  const others = Object.entries(expected.defaults).filter(([field]) => !APPLIED.includes(field));
  assert.ok(others.length >= 15, 'PEFT 0.21 has some fifteen');
  for (const [field, usual] of others) {
    const used = usual === false ? true : usual === null ? ['score'] : { loftq_bits: 4 };
    await assert.rejects(
      GPT2.fromPretrained(adapter('plain', { [field]: used })),
      (error) =>
        error instanceof FileError && error.message.includes(`"${field}" is`) && /merge_and_unload/.test(error.message),
      field,
    );
  }
  for (const [field, value] of [
    ['bias', 'all'],
    ['init_lora_weights', 'pissa'],
    ['peft_type', 'IA3'],
    ['task_type', 'SEQ_CLS'],
    ['from_a_later_version', 1],
  ] as const)
    await assert.rejects(
      GPT2.fromPretrained(adapter('plain', { [field]: value })),
      new RegExp(`"${field}" is .*${value}`),
    );
  await assert.rejects(
    RewardModel.fromPretrained(adapter('plain', { task_type: 'SEQ_CLS' })),
    /AutoPeftModelForSequenceClassification\.from_pretrained\(folder, num_labels=1\).*"pad_token_id" of the training/,
  );
  await assert.rejects(
    RewardModel.fromPretrained(adapter('plain')),
    /is an adapter of a language model, not a reward model/,
  );
});

test('files that do not fit each other, or the base model: one line that says what', async () => {
  const refused = (source: string, said: RegExp) =>
    assert.rejects(
      GPT2.fromPretrained(source),
      (error: Error) => error instanceof FileError && said.test(error.message) && !error.message.includes('\n'),
    );
  const tensors = (change: (all: NamedTensor[]) => NamedTensor[], kind = 'plain') => {
    const copy = adapter(kind);
    withTensors(copy, change);
    return copy;
  };
  await refused(adapter('plain', { r: 5 }), /h\.0\.attn\.c_attn has rank 4, but adapter_config\.json says 5/);
  await refused(adapter('plain', { r: null }), /"r" is not a number/);
  await refused(adapter('plain', { lora_alpha: 'x' }), /"lora_alpha" is not a number/);
  await refused(adapter('plain', { rank_pattern: { '.*attn': 2 } }), /"rank_pattern" has the key ".*attn", a regular/);
  await refused(adapter('plain', { target_modules: ['c_attn', 'c_fc'] }), /names "c_fc", but .* has no tensor of it/);
  await refused(
    tensors((all) => all.slice(1)),
    /lacks lora_A of h\.0\.attn\.c_attn/,
  );
  await refused(
    tensors((all) => all.slice(0, -2), 'everywhere'),
    /in 2 blocks and other modules in 3: a part of it/,
  );
  await refused(
    tensors((all) => [...all, { ...all[0]!, name: 'base_model.model.transformer.wte.weight' }]),
    /has a tensor "base_model\.model\.transformer\.wte\.weight", which is not an adapter of GPT-2's/,
  );
  await refused(
    tensors((all) => all.map((each, n) => (n === 1 ? { ...each, shape: [each.values.length] } : each))),
    /do not fit each other as \[rank, in\] and \[out, rank\]/,
  );
  await refused(
    tensors((all) => all.map((each, n) => (n === 0 ? { ...each, values: each.values.map(() => NaN) } : each))),
    /lora_A\.weight" holds NaN at element 0/,
  );
  await refused(
    adapter('plain', { base_model_name_or_path: null }),
    /names no base model; set "base_model_name_or_path"/,
  );
  await refused(adapter('plain', { base_model_name_or_path: 5 }), /"base_model_name_or_path" is not a text/);
  await refused(adapter('plain', { base_model_name_or_path: join(folder, 'gone') }), /gone is not there; set/);
  await refused(adapter('plain', { base_model_name_or_path: adapter('plain') }), /is an adapter too; merge that one/);
  await refused(
    adapter('plain', { base_model_name_or_path: 'tiny' }),
    /adapts h\.0\.attn\.c_attn as \[15, 45\], but the base/,
  );
  const pickled = adapter('plain');
  rmSync(join(pickled, 'adapter_model.safetensors'));
  await refused(pickled, /is an adapter without adapter_model\.safetensors; save it again/);
});

test('export merges an adapter into a plain model', async () => {
  const base = await GPT2.fromPretrained('tiny');
  const model = lora(base, { rank: 1 }, new Random(1));
  const { trained } = model.weights;
  for (const name of trained.names) trained.assign(name, trained.values(name).fill(0.01));
  const [small, whole] = [join(folder, 'small'), join(folder, 'whole')];
  mkdirSync(small);
  await exportAdapter(model, small, { source: 'tiny' });
  const merged = await GPT2.fromPretrained(small);
  await exportModel(merged, whole, { source: small });
  const opened = await GPT2.fromPretrained(whole);
  assert.equal(opened.weights.digest(), merged.weights.digest());
  assert.ok(!existsSync(join(whole, 'adapter_config.json')));
  for (const each of [model, base, merged, opened]) each.dispose();
});
