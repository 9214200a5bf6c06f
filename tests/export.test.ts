import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { exportModel, FileError, GPT2, InputError, SafetensorsFile, Tokenizer } from 'alignbook';

import { root } from '../scripts/paths';

const GPT2_FIXTURE = join(root, 'tests', 'fixtures', 'gpt2');
const TINY = join(root, 'data', 'models', 'tiny');
const folder = mkdtempSync(join(tmpdir(), 'export-'));
after(() => rmSync(folder, { recursive: true }));

const FILES = [
  'README.md',
  'config.json',
  'generation_config.json',
  'merges.txt',
  'model.safetensors',
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.json',
];

/** A model folder of the small fixture with tiny's tokenizer; `config` adds to its config.json. */
function source(config: Record<string, unknown> = {}): string {
  const made = mkdtempSync(join(folder, 'source-'));
  const json = JSON.parse(readFileSync(join(GPT2_FIXTURE, 'config.json'), 'utf8')) as object;
  writeFileSync(join(made, 'config.json'), JSON.stringify({ ...json, ...config }));
  copyFileSync(join(GPT2_FIXTURE, 'model.safetensors'), join(made, 'model.safetensors'));
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) copyFileSync(join(TINY, name), join(made, name));
  return made;
}

const read = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;

test('the folder has every file, and the weights are in the very bytes that save_pretrained wrote', async () => {
  const from = source({ dtype: 'bfloat16', _name_or_path: '/home/someone', task_specific_params: { a: 1 } });
  const out = join(folder, 'whole');
  await exportModel(await GPT2.fromPretrained(from), out, { source: from });
  assert.deepEqual(readdirSync(out).sort(), FILES);
  assert.deepEqual(readFileSync(join(out, 'model.safetensors')), readFileSync(join(GPT2_FIXTURE, 'model.safetensors')));

  const config = read(join(out, 'config.json'));
  assert.deepEqual(config.architectures, ['GPT2LMHeadModel']);
  assert.deepEqual(config.task_specific_params, { a: 1 });
  assert.equal(config.torch_dtype, 'float32');
  assert.ok(!('dtype' in config) && !('_name_or_path' in config));
  assert.deepEqual(read(join(out, 'generation_config.json')), {
    _from_model_config: true,
    bos_token_id: 30,
    eos_token_id: 30,
  });

  // The source had no vocab.json and merges.txt; they were taken from its tokenizer.json.
  assert.deepEqual(read(join(out, 'vocab.json')), read(join(TINY, 'vocab.json')));
  assert.equal(readFileSync(join(out, 'merges.txt'), 'utf8'), readFileSync(join(TINY, 'merges.txt'), 'utf8'));
  assert.deepEqual((await Tokenizer.fromPretrained(out)).encode('Hello world'), [15496, 995]);
});

test('in 16 bits, written again, nothing more is lost', async () => {
  for (const dtype of ['F16', 'BF16'] as const) {
    const from = source();
    const [once, twice] = [join(folder, `${dtype}-once`), join(folder, `${dtype}-twice`)];
    await exportModel(await GPT2.fromPretrained(from), once, { source: from, dtype });
    await exportModel(await GPT2.fromPretrained(once), twice, { source: once, dtype });
    using file = new SafetensorsFile(join(once, 'model.safetensors'));
    assert.ok([...file.tensors.values()].every((entry) => entry.dtype === dtype));
    assert.deepEqual(readFileSync(join(twice, 'model.safetensors')), readFileSync(join(once, 'model.safetensors')));
    assert.equal(read(join(once, 'config.json')).torch_dtype, { F16: 'float16', BF16: 'bfloat16' }[dtype]);
  }
});

test('the card says what is known of licence and origin, and passes it on', async () => {
  const front = async (from: string, out: string) => {
    await exportModel(await GPT2.fromPretrained(from), join(folder, out), { source: from });
    return /^---\n([\s\S]*?)\n---\n/.exec(readFileSync(join(folder, out, 'README.md'), 'utf8'))![1]!.split('\n');
  };
  const always = ['library_name: transformers', 'pipeline_tag: text-generation', 'tags:', '- gpt2', '- alignbook'];
  assert.deepEqual(await front('tiny', 'of-tiny'), ['license: apache-2.0', ...always]);
  const unknown = source();
  assert.deepEqual(await front(unknown, 'of-unknown'), always);
  writeFileSync(
    join(unknown, 'README.md'),
    '---\nlanguage: en\nlicense: mit\nbase_model: openai-community/gpt2\n---\n# GPT-2\n\nlicense: none\n',
  );
  assert.deepEqual(await front(unknown, 'of-known'), ['license: mit', 'base_model: openai-community/gpt2', ...always]);
  assert.deepEqual(await front(join(folder, 'of-known'), 'of-export'), [
    'license: mit',
    'base_model: openai-community/gpt2',
    ...always,
  ]);

  const here = process.cwd(); // a folder called gpt2 is not OpenAI's
  renameSync(source(), join(folder, 'gpt2'));
  process.chdir(folder);
  try {
    assert.deepEqual(await front('gpt2', 'of-namesake'), always);
  } finally {
    process.chdir(here);
  }
});

test('what is there is left alone, unless it is a model folder and the caller forces it', async () => {
  const from = source();
  const model = await GPT2.fromPretrained(from);
  const out = join(folder, 'there');
  const refused = (message: RegExp, force = false) =>
    assert.rejects(
      exportModel(model, out, { source: from, force }),
      (error) => error instanceof InputError && message.test(error.message),
    );
  mkdirSync(out); // an empty folder is treated like none
  await exportModel(model, out, { source: from });
  await refused(/there is not empty; give another folder, or --force to replace it$/);
  writeFileSync(join(out, 'notes.txt'), 'mine');
  await exportModel(model, out, { source: from, force: true });
  assert.deepEqual(readdirSync(out).sort(), FILES);
  mkdirSync(join(out, '.git'));
  await refused(/there holds the folder "\.git", so even --force does not replace it/, true);
  rmSync(out, { recursive: true });
  mkdirSync(out);
  writeFileSync(join(out, 'notes.txt'), 'mine');
  await refused(/there has no config\.json, so even --force does not replace it/, true);
  rmSync(out, { recursive: true });
  writeFileSync(out, 'a file');
  await refused(/there is not a folder/, true);
});

test('a failure half way leaves the old folder and no temporary one', async () => {
  const from = source();
  const out = join(folder, 'kept');
  const model = await GPT2.fromPretrained(from);
  await exportModel(model, out, { source: from });
  const before = readdirSync(folder);
  const broken = Object.create(model, {
    weights: {
      value: {
        names: [],
        values: () => {
          throw new Error('the device is gone');
        },
      },
    },
  }) as GPT2;
  await assert.rejects(exportModel(broken, out, { source: from, force: true }), /the device is gone/);
  await assert.rejects(exportModel(broken, join(folder, 'new'), { source: from }), /the device is gone/);
  assert.deepEqual(readdirSync(folder), before);
  assert.deepEqual(readdirSync(out).sort(), FILES);
});

test(
  'a source that is of another architecture, or has ' + 'no tokenizer, is refused before anything is written',
  async () => {
    const from = source();
    const model = await GPT2.fromPretrained(from);
    const before = readdirSync(folder);
    await assert.rejects(
      exportModel(model, join(folder, 'other'), { source: 'tiny' }),
      (error) =>
        error instanceof InputError && /the model's architecture differs from that of its source/.test(error.message),
    );
    rmSync(join(from, 'tokenizer.json'));
    await assert.rejects(
      exportModel(model, join(folder, 'other'), { source: from }),
      (error) => error instanceof FileError && error.path === join(from, 'tokenizer.json'),
    );
    assert.deepEqual(readdirSync(folder), before);
  },
);
