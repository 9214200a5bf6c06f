/**
 * A model folder's files, each changed in one place: config.json, the tokenizer's files, the weights' header and index.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { GPT2, Random, SafetensorsFile, Tokenizer } from 'alignbook';
import { readConfig } from 'alignbook/dist/formats/config';
import { initialWeights } from 'alignbook/dist/model/weightShapes';

import { root } from '../../scripts/paths';
import { runTries, type Try } from './tries';

const FIXTURES = join(root, 'tests', 'fixtures', 'gpt2');
const TINY = join(root, 'data', 'models', 'tiny');
const folder = mkdtempSync(join(tmpdir(), 'bounds-'));
after(() => rmSync(folder, { recursive: true, force: true }));

type Json = Record<string, any>;

/** Values that no field of ours has, or only some have. */
const VALUES: readonly (readonly [name: string, value: unknown])[] = [
  ['null', null],
  ['true', true],
  ['a text', 'x'],
  ['an empty text', ''],
  ['a list', []],
  ['a list of lists', [[1], [2]]],
  ['an object', {}],
  ['0', 0],
  ['-1', -1],
  ['1.5', 1.5],
  ['1e9', 1e9],
  ['1e308', 1e308],
  ['a digit as text', '4'],
];

function folderWith(
  files: Readonly<Record<string, string | Buffer>>,
  linked: readonly [string, readonly string[]],
): string {
  const made = mkdtempSync(join(folder, 'model-'));
  for (const name of linked[1]) if (!Object.hasOwn(files, name)) symlinkSync(join(linked[0], name), join(made, name));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(made, name), content);
  return made;
}

test('config.json', async () => {
  const config = JSON.parse(readFileSync(join(FIXTURES, 'config.json'), 'utf8')) as Json;
  const load = (text: string) => async () => {
    const made = folderWith({ 'config.json': text }, [FIXTURES, ['model.safetensors']]);
    (await GPT2.fromPretrained(made)).dispose();
    rmSync(made, { recursive: true });
  };
  const changed = (name: string, value: unknown) => load(JSON.stringify({ ...config, [name]: value }));
  await load(JSON.stringify(config))(); // unchanged, it is right
  const fields = [
    'model_type',
    'n_layer',
    'n_head',
    'n_embd',
    'n_positions',
    'vocab_size',
    'n_inner',
    'activation_function',
    'layer_norm_epsilon',
    'tie_word_embeddings',
    'scale_attn_weights',
    'architectures',
  ];
  const texts = {
    'is empty': '',
    'is a list': '[]',
    'is null': 'null',
    'is a number': '5',
    'is cut': '{"n_layer": ',
    'is nested deep': `{"n_layer":${'['.repeat(3000)}`,
    'is no text': '\xff\x00',
    'is a page': '<!doctype html>',
    'is a Python dictionary': "{'n_layer': 2}",
  };
  const names = ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'valueOf'];
  const absurd = ['n_layer', 'n_embd', 'vocab_size', 'n_positions', 'n_inner'].flatMap((field) =>
    [2 ** 31, 2 ** 53, 10 ** 15].map((value) => ({ name: `${field}: ${value}`, run: changed(field, value) })),
  );
  await runTries(
    'config',
    [
      ...fields.flatMap((field) =>
        VALUES.map(([name, value]) => ({ name: `${field}: ${name}`, run: changed(field, value), mayPass: true })),
      ),
      ...Object.entries(texts).map(([name, text]) => ({ name, run: load(text) })),
      ...names.map((name) => ({ name: `activation_function: ${name}`, run: changed('activation_function', name) })),
      ...names.map((name) => ({ name: `model_type: ${name}`, run: changed('model_type', name) })),
      ...absurd,
      ...Object.keys(config)
        .filter((field) => /^n_(layer|head|embd|positions)$|vocab_size/.test(field))
        .map((field) => ({ name: `without ${field}`, run: load(JSON.stringify({ ...config, [field]: undefined })) })),
      // Weights that are drawn, instead of read: their sizes are the config's alone.
      ...[
        ['nLayer', 1e9],
        ['nEmbd', 1e9],
        ['vocabSize', 1e12],
        ['blockSize', 1e12],
      ].map(([field, value]) => ({
        name: `initial weights, ${field}: ${value}`,
        run: () => initialWeights({ ...readConfig(join(FIXTURES, 'config.json')), [field!]: value }, new Random(1)),
      })),
    ],
    155,
  );
});

test("the tokenizer's files", async () => {
  const json = JSON.parse(readFileSync(join(TINY, 'tokenizer.json'), 'utf8')) as Json;
  // The first 300 tokens, and the end.
  const vocab = {
    ...Object.fromEntries(Object.entries(json['model'].vocab as Json).filter(([, id]) => id < 300)),
    '<|endoftext|>': 300,
  };
  const added = (json['added_tokens'] as Json[]).map((token) => ({ ...token, id: 300 }));
  const small: Json = {
    ...json,
    added_tokens: added,
    model: { ...json['model'], vocab, merges: (json['model'].merges as unknown[]).slice(0, 44) },
  };
  const settings = { tokenizer_class: 'GPT2Tokenizer', eos_token: '<|endoftext|>' };
  const load = (files: Readonly<Record<string, string>>) => async () => {
    const made = folderWith(files, [TINY, ['config.json']]);
    const tokenizer = await Tokenizer.fromPretrained(made);
    tokenizer.decode(tokenizer.encode('Hello, world.'));
    rmSync(made, { recursive: true });
  };
  const withJson = (value: unknown) =>
    load({ 'tokenizer.json': JSON.stringify(value), 'tokenizer_config.json': JSON.stringify(settings) });
  const withConfig = (value: unknown) =>
    load({ 'tokenizer.json': JSON.stringify(small), 'tokenizer_config.json': JSON.stringify(value) });
  const at = (path: readonly string[], value: unknown, of: Json = small): Json => ({
    ...of,
    [path[0]!]: path.length === 1 ? value : at(path.slice(1), value, (of[path[0]!] ?? {}) as Json),
  });
  await withJson(small)();
  await withConfig(settings)();
  const fields = [
    ['model'],
    ['model', 'vocab'],
    ['model', 'merges'],
    ['model', 'type'],
    ['model', 'ignore_merges'],
    ['pre_tokenizer'],
    ['pre_tokenizer', 'type'],
    ['decoder'],
    ['normalizer'],
    ['post_processor'],
    ['added_tokens'],
    ['added_tokens_decoder'],
  ];
  const entries: Readonly<Record<string, unknown>> = {
    null: null,
    'a number': 5,
    'a text': 'x',
    'no content': { id: 301 },
    'no id': { content: 'x' },
    'an id that is a text': { id: '301', content: 'x' },
    'an id below 0': { id: -1, content: 'x' },
    'an id of 10^12': { id: 1e12, content: 'x' },
    'content that is a number': { id: 301, content: 5 },
    'an empty content': { id: 301, content: '' },
    "a name of an object's own": { id: 301, content: 'constructor' },
    __proto__: { id: 301, content: '__proto__' },
  };
  const merges: Readonly<Record<string, unknown>> = {
    null: [null],
    numbers: [1],
    'one part': ['a'],
    'three parts': ['a b c'],
    'empty parts': [['', '']],
    'parts that are no tokens': [['constructor', 'toString']],
    'a list of numbers': [[1, 2]],
  };
  const ids: Readonly<Record<string, unknown>> = {
    'a text': '5',
    null: null,
    '-1': -1,
    '1.5': 1.5,
    '1e12': 1e12,
    'an object': {},
    "another token's": 0,
  };
  await runTries(
    'tokenizer',
    [
      ...fields.flatMap((path) =>
        VALUES.map(([name, value]) => ({
          name: `${path.join('.')}: ${name}`,
          run: withJson(at(path, value)),
          mayPass: true,
        })),
      ),
      ...Object.entries(entries).map(([name, entry]) => ({
        name: `an added token: ${name}`,
        run: withJson({ ...small, added_tokens: [...small['added_tokens'], entry] }),
        mayPass: /own|proto/.test(name),
      })),
      ...Object.entries(merges).map(([name, value]) => ({
        name: `merges of ${name}`,
        run: withJson(at(['model', 'merges'], value)),
        mayPass: true,
      })),
      ...Object.entries(ids).map(([name, id]) => ({
        name: `an id: ${name}`,
        run: withJson(at(['model', 'vocab', 'h'], id)),
        mayPass: name.startsWith('another'),
      })),
      ...[
        'eos_token',
        'pad_token',
        'tokenizer_class',
        'add_prefix_space',
        'added_tokens_decoder',
        'chat_template',
        'model_max_length',
      ].flatMap((field) =>
        VALUES.map(([name, value]) => ({
          name: `config ${field}: ${name}`,
          run: withConfig({ ...settings, [field]: value }),
          mayPass: true,
        })),
      ),
      ...['constructor', '__proto__', 'toString'].map((name) => ({
        name: `eos_token: ${name}`,
        run: withConfig({ ...settings, eos_token: name }),
        mayPass: true,
      })),
      ...['', '[]', 'null', '{', '5'].map((text) => ({
        name: `tokenizer.json is ${JSON.stringify(text)}`,
        run: load({ 'tokenizer.json': text }),
      })),
      ...['', '[]', 'null', '{', '{"a": "b"}', '{"a": 1e12}', '{"a": -1}'].map((text) => ({
        name: `vocab.json is ${JSON.stringify(text)}`,
        run: load({ 'vocab.json': text, 'merges.txt': 'a b\n' }),
      })),
    ],
    150,
  );
});

test("the weights' header and index", async () => {
  const whole = readFileSync(join(FIXTURES, 'model.safetensors'));
  const length = Number(whole.readBigUInt64LE());
  const header = JSON.parse(whole.subarray(8, 8 + length).toString()) as Json;
  const file = (of: unknown, bytes = whole.subarray(8 + length)): Buffer => {
    const text = Buffer.from(JSON.stringify(of));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(text.length));
    return Buffer.concat([size, text, bytes]);
  };
  const load = (weights: Buffer) => async () => {
    const made = folderWith({ 'model.safetensors': weights }, [FIXTURES, ['config.json']]);
    (await GPT2.fromPretrained(made)).dispose();
    rmSync(made, { recursive: true });
  };
  await load(file(header))();
  const [first, entry] = Object.entries(header).find(([name]) => name !== '__metadata__')! as [string, Json];
  const withEntry = (value: unknown): Try['run'] => load(file({ ...header, [first]: value }));
  const lengths = [
    0n,
    1n,
    7n,
    2n ** 31n,
    2n ** 32n,
    2n ** 63n,
    2n ** 64n - 1n,
    BigInt(whole.length),
    BigInt(length) - 1n,
    BigInt(length) + 1n,
  ];
  const size = (value: bigint): Buffer => {
    const copy = Buffer.from(whole);
    copy.writeBigUInt64LE(value);
    return copy;
  };
  const index = (value: unknown) => async () => {
    const made = mkdtempSync(join(folder, 'model-'));
    for (const name of ['config.json']) cpSync(join(FIXTURES, name), join(made, name));
    symlinkSync(join(FIXTURES, 'model.safetensors'), join(made, 'part.safetensors'));
    mkdirSync(join(made, 'folder.safetensors'));
    writeFileSync(join(made, 'model.safetensors.index.json'), JSON.stringify(value));
    (await GPT2.fromPretrained(made)).dispose();
    rmSync(made, { recursive: true });
  };
  await runTries(
    'weights',
    [
      ...VALUES.flatMap(([name, value]) =>
        ['dtype', 'shape', 'data_offsets'].map((field) => ({
          name: `${field}: ${name}`,
          run: withEntry({ ...entry, [field]: value }),
        })),
      ),
      ...VALUES.map(([name, value]) => ({ name: `an entry: ${name}`, run: withEntry(value) })),
      ...lengths.map((value) => ({ name: `a header of ${value} bytes`, run: load(size(value)) })),
      ...[0, 7, 8, 100, 8 + length, whole.length - 1].map((bytes) => ({
        name: `cut at byte ${bytes}`,
        run: load(whole.subarray(0, bytes)),
      })),
      ...['__proto__', 'constructor', 'toString'].map((name) => ({
        name: `a tensor ${name}`,
        run: load(file(Object.fromEntries([...Object.entries(header), [name, entry]]))),
      })),
      ...['constructor', 'toString', '__proto__'].map((dtype) => ({
        name: `dtype ${dtype}`,
        run: withEntry({ ...entry, dtype }),
      })),
      ...VALUES.map(([name, value]) => ({ name: `weight_map: ${name}`, run: index({ weight_map: value }) })),
      ...[
        '../model.safetensors',
        '/etc/hostname',
        'none.safetensors',
        'folder.safetensors',
        'part.safetensors/x',
        '',
        'constructor',
      ].map((shard) => ({
        name: `a shard ${JSON.stringify(shard)}`,
        run: index({ weight_map: { 'wte.weight': shard } }),
      })),
      { name: 'no such file', run: () => new SafetensorsFile(join(folder, 'none')) },
      { name: 'a folder', run: () => new SafetensorsFile(folder) },
      { name: 'a device', run: () => new SafetensorsFile('/dev/zero') },
    ],
    80,
  );
});
