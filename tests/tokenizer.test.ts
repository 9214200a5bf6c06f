import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { FileError, InputError, Random, Tokenizer } from 'alignbook';

const ROOT = join(__dirname, '..', '..', '..');
const TINY = join(ROOT, 'data', 'models', 'tiny');
const rows = JSON.parse(readFileSync(join(ROOT, 'tests', 'fixtures', 'tokenizer.json'), 'utf8')) as [string, number[]][];

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
  const pieces = [' ', '\n', '\r\n', '\t', '\x00', '\x85', '\xa0', '\ufeff', '\u2028', '\u200d', '\u0301', "'s", '<|endoftext|>', '<|', '😀'];
  const piece = () => {
    const kind = random.integer(5);
    if (kind === 4) return pieces[random.integer(pieces.length)]!;
    const point = random.integer([0x80, 0x800, 0x10000, 0x110000][kind]!);
    return point >= 0xd800 && point < 0xe000 ? ' ' : String.fromCodePoint(point); // no lone surrogates: they are not text
  };
  for (let round = 0; round < 3000; round += 1) {
    const text = Array.from({ length: random.integer(40) }, piece).join('');
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text, JSON.stringify(text));
  }
});

test('what is no text, and what is no id, is refused', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const refused = (call: () => unknown, message: RegExp) => assert.throws(call, (error) => error instanceof InputError && message.test(error.message));
  refused(() => tokenizer.encode('ab\ud83d'), /^the text holds half of a surrogate pair at index 2: /);
  refused(() => tokenizer.encode('\ude00\ud83d'), /at index 0: /);
  assert.deepEqual(tokenizer.encode('\ud83d\ude00'), tokenizer.encode('😀'));
  for (const id of [50257, -1, 0.5, NaN]) refused(() => tokenizer.decode([64, id]), new RegExp(`^${id} is no token id; the vocabulary has 0 to 50256$`));
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
  const json = JSON.parse(readFileSync(join(TINY, 'tokenizer.json'), 'utf8')) as { model: { merges: (string | string[])[] } };
  json.model.merges = json.model.merges.map((merge) => (typeof merge === 'string' ? merge.split(' ') : merge));
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json));
  copyFileSync(join(TINY, 'tokenizer_config.json'), join(folder, 'tokenizer_config.json'));
  writeFileSync(join(folder, 'config.json'), '{}');
  const tokenizer = await Tokenizer.fromPretrained(folder);
  assert.deepEqual(tokenizer.encode('Hello world'), [15496, 995]);
  rmSync(folder, { recursive: true });
});

test('a model that is not there, and a tokenizer that is damaged', async () => {
  await assert.rejects(Tokenizer.fromPretrained('/nowhere/model'), (error) => error instanceof InputError && /no config\.json/.test(error.message));
  await assert.rejects(Tokenizer.fromPretrained('no/such-model'), (error) => error instanceof InputError && /hf download no\/such-model/.test(error.message));

  const folder = mkdtempSync(join(tmpdir(), 'tokenizer-'));
  writeFileSync(join(folder, 'config.json'), '{}');
  await assert.rejects(Tokenizer.fromPretrained(folder), (error) => error instanceof FileError && error.path === join(folder, 'tokenizer.json'));
  rmSync(folder, { recursive: true });
});
