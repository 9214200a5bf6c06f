/**
 * Model folders as people have them: a folder with something other than a model is recognized and named, and one that
 * only looks unusual is read.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { FileError, GPT2, InputError, RewardModel, SafetensorsFile, writeSafetensors } from 'alignbook';

import { root } from '../scripts/paths';
import { matching } from './matching';

const FIXTURES = join(root, 'tests', 'fixtures', 'gpt2');
const folder = mkdtempSync(join(tmpdir(), 'loading-'));
after(() => rmSync(folder, { recursive: true }));

const copy = (name: string): string => {
  const out = join(folder, name);
  mkdirSync(out);
  for (const file of ['config.json', 'model.safetensors']) copyFileSync(join(FIXTURES, file), join(out, file));
  return out;
};

/** The fixture's tensors under other names, with additional ones. */
function renamed(
  name: string,
  rename: (key: string) => string,
  more: { name: string; shape: number[]; values: Float32Array }[] = [],
): string {
  const out = copy(name);
  using file = new SafetensorsFile(join(FIXTURES, 'model.safetensors'));
  writeSafetensors(join(out, 'model.safetensors'), [
    ...[...file.tensors].map(([key, { shape }]) => ({ name: rename(key), shape, values: file.float32(key) })),
    ...more,
  ]);
  return out;
}
const extra = (name: string) => ({ name, shape: [1], values: Float32Array.of(1) });

async function refused(
  path: string,
  message: RegExp,
  kind: typeof FileError | typeof InputError = FileError,
): Promise<void> {
  await assert.rejects(GPT2.fromPretrained(path), (error: Error) => {
    assert.ok(error instanceof kind, error.stack);
    assert.match(error.message, message);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  });
}

test('prefixes of DistributedDataParallel and torch.compile are stripped, in any order and place', async () => {
  const expected = await GPT2.fromPretrained(FIXTURES);
  for (const [n, rename] of [
    (key: string) => `module.${key}`,
    (key: string) => `_orig_mod.${key}`,
    (key: string) => `module._orig_mod.${key}`,
    (key: string) => `_orig_mod.module.${key.replace('transformer.', '')}`,
    (key: string) => key.replace('transformer.', 'transformer._orig_mod.'),
    (key: string) => key.replace(/(h\.\d+\.)/, '$1_orig_mod.'),
  ].entries()) {
    const model = await GPT2.fromPretrained(renamed(`prefix-${n}`, rename));
    for (const name of expected.weights.names)
      assert.deepEqual(model.weights.values(name), expected.weights.values(name));
    model.dispose();
  }
  const { nEmbd } = expected.config;
  const scorer = await RewardModel.fromPretrained(
    renamed('prefixed-scorer', (key) => `module.${key}`, [
      { name: 'module.score.weight', shape: [1, nEmbd], values: new Float32Array(nEmbd).fill(0.5) },
    ]),
  );
  assert.deepEqual(scorer.weights.values('score.weight'), new Float32Array(nEmbd).fill(0.5));
  scorer.dispose();
  expected.dispose();
});

test('a value head beside the model is ignored with one line; any other tensor is refused by name', async () => {
  const model = renamed('value-head', (key) => key, [extra('v_head.summary.weight'), extra('v_head.summary.bias')]);
  const { status, stderr } = spawnSync(
    process.execPath,
    ['-e', `require('alignbook').GPT2.fromPretrained(${JSON.stringify(model)})`],
    { cwd: root, encoding: 'utf8' },
  );
  assert.deepEqual(
    { status, stderr },
    {
      status: 0,
      stderr:
        `${join(model, 'model.safetensors')}: v_head.summary.weight, v_head.summary.bias: a value head, which is ` +
        'ignored\n',
    },
  );
  await refused(
    renamed('one-more', (key) => key, [extra('h.0.attn.rotary')]),
    /has a tensor "h\.0\.attn\.rotary" that is not GPT-2's; save only the model, with transformers' save_pretrained$/,
  );
  await refused(
    renamed('two-more', (key) => key, [extra('a'), extra('b')]),
    /has a tensor "a" that is not GPT-2's, and 1 more; save/,
  );
});

test('more layers than tensors: told before a list of that length is made', async () => {
  const model = copy('many-layers');
  const config = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')) as object;
  writeFileSync(join(model, 'config.json'), JSON.stringify({ ...config, n_layer: 1000 }));
  await refused(model, /has \d+ tensors, too few for the 1000 layers of its config\.json \("n_layer"\)$/);
});

const POINTER =
  'version https://git-lfs.github.com/spec/v1\noid ' +
  'sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 548105171\n';

test('files that stand in for others are told by what they are', async () => {
  const stands: readonly (readonly [content: string | Buffer, said: RegExp])[] = [
    [
      POINTER,
      /is a Git LFS pointer, not the file itself; run "git lfs pull" where it was cloned, or download the file$/,
    ],
    ['', /is empty$/],
    [
      '<!DOCTYPE html><html><body>Sign in</body></html>',
      /is a web page, such as a proxy or a login sends in place of a file; download the file again$/,
    ],
    [Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]), /is compressed with gzip; unpack it first: gunzip$/],
    [Buffer.from('PK\x03\x04 archive'), /is a zip archive, as torch\.save writes; give the safetensors file$/],
    [
      Buffer.from([0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9]),
      /is a Python pickle, which could run code and is not read; save it with transformers' save_pretrained$/,
    ],
  ];
  for (const [n, [content, said]] of stands.entries()) {
    for (const file of ['model.safetensors', 'config.json']) {
      const model = copy(`stands-${n}-${file}`);
      writeFileSync(join(model, file), content);
      await refused(model, new RegExp(`${file.replace('.', '\\.')}: ${said.source}`));
    }
  }
});

test('an adapter that is incomplete, a folder without a model, and none at all', async () => {
  const adapter = join(folder, 'adapter');
  mkdirSync(adapter);
  writeFileSync(
    join(adapter, 'adapter_config.json'),
    JSON.stringify({ base_model_name_or_path: 'openai-community/gpt2', peft_type: 'LORA' }),
  );
  await refused(adapter, /"r" is not a number; save the adapter again/, FileError);
  writeFileSync(
    join(adapter, 'adapter_config.json'),
    JSON.stringify({ base_model_name_or_path: '/models/gpt2', peft_type: 'LORA', task_type: 'SEQ_CLS' }),
  );
  // beside the base model's config.json, it is still an adapter
  copyFileSync(join(FIXTURES, 'config.json'), join(adapter, 'config.json'));
  await refused(
    adapter,
    matching(
      /"SEQ_CLS", which is not .*merge/,
      / .*peft\.AutoPeftModelForSequenceClassification\.from_pretrained\(folder, num_labels=1\)/,
    ),
    FileError,
  );
  // a model beside which an adapter's configuration was left
  copyFileSync(join(FIXTURES, 'model.safetensors'), join(adapter, 'model.safetensors'));
  (await GPT2.fromPretrained(adapter)).dispose();
  mkdirSync(join(folder, 'nothing'));
  await refused(join(folder, 'nothing'), /nothing is not a model folder: it has no config\.json$/, InputError);
  await refused(
    join(folder, 'absent'),
    /absent is not there; give a model folder, or the name of a model on the Hugging Face hub$/,
    InputError,
  );
});

test('an existing folder is a folder, with or without ./, and ~ is the home folder', () => {
  const home = join(folder, 'home');
  mkdirSync(join(home, 'org'), { recursive: true });
  for (const name of ['my-gpt2', 'org/name'])
    cpSync(join(root, 'data', 'models', 'tiny'), join(home, name), { recursive: true });
  const rows = join(home, 'rows.jsonl');
  const [data, output] = ['--data=~/rows.jsonl', '--output=~/logps.jsonl']; // a shell leaves these as they are
  writeFileSync(rows, '{"prompt":"a","chosen":"b","rejected":"c"}\n');
  const lines = ['my-gpt2', './my-gpt2', 'org/name', '~/my-gpt2', join(home, 'my-gpt2')].map((model) => {
    const env = { ...process.env, HOME: home, HF_HUB_OFFLINE: '1' };
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [join(root, 'lib', 'bin', 'alignbook.js'), 'logps', '--model', model, data, output],
      { cwd: home, env, encoding: 'utf8' },
    );
    assert.deepEqual({ status, stderr, stdout }, { status: 0, stderr: '', stdout: '' }, model);
    return readFileSync(join(home, 'logps.jsonl'), 'utf8');
  });
  assert.equal(new Set(lines).size, 1);
  assert.ok(!existsSync(join(home, '~')));
});
