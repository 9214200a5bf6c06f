import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { FileError, HubError, InputError, Random, Tokenizer } from 'alignbook';

import { root } from '../scripts/paths';

const TINY = join(root, 'data', 'models', 'tiny');
const folders: string[] = [];
after(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

const rows = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'tokenizer.json'), 'utf8')) as [
  string,
  number[],
][];

test("ids are those of Python's tokenizers, as plain numbers", async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  assert.ok(rows.length >= 340);
  for (const [text, ids] of rows) {
    const made = tokenizer.encode(text);
    assert.deepEqual(made, ids, JSON.stringify(text));
    assert.ok(made.every((id) => typeof id === 'number'));
  }
});

test('decode gives the text back, whatever the text', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  for (const [text, ids] of rows) assert.equal(tokenizer.decode(ids), text);

  const random = new Random(11);
  const pieces = [
    ' ',
    '\n',
    '\r\n',
    '\t',
    '\x00',
    '\x85',
    '\xa0',
    '\ufeff',
    '\u2028',
    '\u200d',
    '\u0301',
    "'s",
    '<|endoftext|>',
    '<|',
    '😀',
  ];
  const piece = () => {
    const kind = random.integer(5);
    if (kind === 4) return pieces[random.integer(pieces.length)]!;
    const point = random.integer([0x80, 0x800, 0x10000, 0x110000][kind]!);
    // no lone surrogates, because they are not text
    return point >= 0xd800 && point < 0xe000 ? ' ' : String.fromCodePoint(point);
  };
  for (let round = 0; round < 3000; round += 1) {
    const text = Array.from({ length: random.integer(40) }, piece).join('');
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text, JSON.stringify(text));
  }
});

test('what is no text, and what is no id, is refused', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const refused = (call: () => unknown, message: RegExp) =>
    assert.throws(call, (error) => error instanceof InputError && message.test(error.message));
  refused(() => tokenizer.encode('ab\ud83d'), /^the text holds half of a surrogate pair at index 2: /);
  refused(() => tokenizer.encode('\ude00\ud83d'), /at index 0: /);
  assert.deepEqual(tokenizer.encode('\ud83d\ude00'), tokenizer.encode('😀'));
  for (const id of [50257, -1, 0.5, NaN])
    refused(() => tokenizer.decode([64, id]), new RegExp(`^${id} is not a token id; the vocabulary has 0 to 50256$`));
  assert.equal(tokenizer.decode(Int32Array.of(64, 65)), 'ab');
});

test('special tokens of GPT-2', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  assert.equal(tokenizer.vocabSize, 50257);
  assert.equal(tokenizer.eosToken, '<|endoftext|>');
  assert.equal(tokenizer.eosTokenId, 50256);
  assert.equal(tokenizer.padToken, null);
  assert.equal(tokenizer.padTokenId, null);
});

test('merges are read as pairs, too, as newer tokenizers write them', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tokenizer-'));
  const json = JSON.parse(readFileSync(join(TINY, 'tokenizer.json'), 'utf8')) as {
    model: { merges: (string | string[])[] };
  };
  json.model.merges = json.model.merges.map((merge) => (typeof merge === 'string' ? merge.split(' ') : merge));
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json));
  copyFileSync(join(TINY, 'tokenizer_config.json'), join(folder, 'tokenizer_config.json'));
  writeFileSync(join(folder, 'config.json'), '{}');
  const tokenizer = await Tokenizer.fromPretrained(folder);
  assert.deepEqual(tokenizer.encode('Hello world'), [15496, 995]);
  rmSync(folder, { recursive: true });
});

/** A model folder with these files and the other files of the embedded model. */
function folderOf(files: string[], others: Record<string, object> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'tokenizer-'));
  folders.push(folder);
  for (const file of ['config.json', ...files]) copyFileSync(join(TINY, file), join(folder, file));
  for (const [file, json] of Object.entries(others)) writeFileSync(join(folder, file), JSON.stringify(json));
  return folder;
}

test(
  "OpenAI's own repository names no special tokens, " + 'and the oldest have vocab.json and merges.txt only',
  async () => {
    for (const folder of [
      folderOf(['tokenizer.json'], { 'tokenizer_config.json': { model_max_length: 1024 } }),
      folderOf(['tokenizer.json']),
      folderOf(['vocab.json', 'merges.txt']),
    ]) {
      const tokenizer = await Tokenizer.fromPretrained(folder);
      const { eosToken, eosTokenId, padToken, vocabSize } = tokenizer;
      assert.deepEqual(
        { eosToken, eosTokenId, padToken, vocabSize },
        { eosToken: '<|endoftext|>', eosTokenId: 50256, padToken: null, vocabSize: 50257 },
      );
      for (const [text, ids] of rows) {
        assert.deepEqual(tokenizer.encode(text), ids, JSON.stringify(text));
        assert.equal(tokenizer.decode(ids), text);
      }
    }
  },
);

test('tokens that a fine-tuning added, in the files of then', async () => {
  const folder = folderOf(['vocab.json', 'merges.txt'], {
    'added_tokens.json': { '<pad>': 50257 },
    'special_tokens_map.json': { eos_token: { content: '<|endoftext|>' }, pad_token: '<pad>' },
  });
  const tokenizer = await Tokenizer.fromPretrained(folder);
  assert.equal(tokenizer.padTokenId, 50257);
  assert.deepEqual(tokenizer.encode('Hello<pad> world'), [15496, 50257, 995]);
});

test('a folder without the files of a tokenizer, or with none that ends a text', async () => {
  await assert.rejects(
    Tokenizer.fromPretrained(folderOf(['vocab.json'])),
    (error) =>
      error instanceof FileError &&
      /tokenizer\.json: is missing, and so are vocab\.json and merges\.txt/.test(error.message),
  );
  const nameless = {
    added_tokens: [],
    pre_tokenizer: { type: 'ByteLevel' },
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab: { a: 0 }, merges: [] },
  };
  await assert.rejects(
    Tokenizer.fromPretrained(folderOf([], { 'tokenizer.json': nameless })),
    (error) => error instanceof FileError && /names no "eos_token"/.test(error.message),
  );
});

test('a model that is not there, and a tokenizer that is damaged', async () => {
  await assert.rejects(
    Tokenizer.fromPretrained('/nowhere/model'),
    (error) => error instanceof InputError && /model is not there; give a model folder/.test(error.message),
  );
  process.env['HF_HUB_OFFLINE'] = '1';
  await assert.rejects(
    Tokenizer.fromPretrained('no/such-model'),
    (error) => error instanceof HubError && /HF_HUB_OFFLINE is set; unset it/.test(error.message),
  );

  const folder = mkdtempSync(join(tmpdir(), 'tokenizer-'));
  writeFileSync(join(folder, 'config.json'), '{}');
  await assert.rejects(
    Tokenizer.fromPretrained(folder),
    (error) => error instanceof FileError && error.path === join(folder, 'tokenizer.json'),
  );
  rmSync(folder, { recursive: true });
});
