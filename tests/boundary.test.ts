/**
 * Tokens that would merge across the boundary of prompt and response: finding them from a few words around the boundary
 * must agree with the ids of the whole texts.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { Random, readCandidates, readPairs, readResponses, Tokenizer } from 'alignbook';
import { mergesAcross } from 'alignbook/dist/text/boundary';
import type { Merges } from 'alignbook/dist/text/dataset';

import { root } from '../scripts/paths';

const TINY = join(root, 'data', 'models', 'tiny');
const folder = mkdtempSync(join(tmpdir(), 'boundary-'));
after(() => rmSync(folder, { recursive: true }));

/** The definition: the whole texts, encoded together and separately. */
const differ = (tokenizer: Tokenizer, prompt: string, response: string) =>
  tokenizer.encode(prompt + response).join() !== [...tokenizer.encode(prompt), ...tokenizer.encode(response)].join();

/**
 * Texts that can meet where words of GPT-2's pattern end: contractions, runs of white space, letters beside numbers,
 * other scripts, parts of special tokens.
 */
const PIECES = [
  'I',
  "'",
  'l',
  "'l",
  'll',
  "'re",
  ' ',
  '  ',
  '\n',
  '\n\n',
  '\t',
  '\r\n',
  'hel',
  'lo',
  'the',
  're',
  ' a',
  '12',
  '3',
  '.',
  '...',
  '!',
  'é',
  'e\u0301',
  '你',
  '好',
  '😀',
  '\u0085',
  '\ufeff',
  '\u00a0',
  '<|endof',
  'text|>',
  '<|endoftext|>',
];

async function compared(tokenizer: Tokenizer, count: number): Promise<number> {
  const random = new Random(7);
  const text = () =>
    Array.from(
      { length: 1 + Math.floor(random.uniform() * 5) },
      () => PIECES[Math.floor(random.uniform() * PIECES.length)]!,
    ).join('');
  let merged = 0;
  for (let n = 0; n < count; n += 1) {
    const [prompt, response] = [text(), text()];
    const expected = differ(tokenizer, prompt, response);
    assert.equal(mergesAcross(tokenizer, prompt, response), expected, JSON.stringify([prompt, response]));
    merged += Number(expected);
  }
  return merged;
}

test('a few words tell as much as the whole texts, for every kind of boundary', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const merged = await compared(tokenizer, 4000);
  assert.ok(merged > 400 && merged < 3600, `${merged} of 4000 differ`);
  for (const [prompt, response, merges] of [
    ['Say hel', 'lo there', true],
    ['Hello ', 'world', true],
    ['Hello', ' world', false],
    ['a\n', '\nb', false],
    ['a\n', '\n\nb', true],
    ['I', "'ll", false],
    ["I'", 'll', true],
    ['<|endof', 'text|>', true],
  ] as const) {
    assert.equal(mergesAcross(tokenizer, prompt, response), merges, prompt);
    assert.equal(
      mergesAcross(tokenizer, `${'word '.repeat(500)}${prompt}`, `${response}${' word'.repeat(500)}`),
      merges,
      prompt,
    );
  }
});

test('also for a tokenizer with added tokens that hold spaces, and one that puts a space before a text', async () => {
  const token = {
    id: 50257,
    content: 'l \n',
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: false,
  };
  for (const [file, change] of [
    ['tokenizer.json', (json: Record<string, unknown>) => (json['added_tokens'] as object[]).push(token)],
    ['tokenizer_config.json', (json: Record<string, unknown>) => (json['add_prefix_space'] = true)],
  ] as const) {
    const copy = mkdtempSync(join(folder, 'model-'));
    for (const name of ['config.json', 'tokenizer_config.json', 'tokenizer.json'])
      cpSync(join(TINY, name), join(copy, name));
    const json = JSON.parse(readFileSync(join(TINY, file), 'utf8')) as Record<string, unknown>;
    change(json);
    writeFileSync(join(copy, file), JSON.stringify(json));
    const tokenizer = await Tokenizer.fromPretrained(copy);
    assert.equal(tokenizer.splitsAtGaps, false);
    assert.ok((await compared(tokenizer, 400)) > 40);
  }
});

test("readers count the rows once; the project's own data have none", async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const path = join(folder, 'rows.jsonl');
  const told: Merges[] = [];
  const options = { maxLength: 256, onMerges: (merges: Merges) => told.push(merges) };
  const bad = { prompt: 'Say hel', chosen: 'lo', rejected: 'lo' };
  const rows = [
    { prompt: 'Hello', chosen: ' a', rejected: ' b' },
    bad,
    { prompt: 'Say hel', chosen: 'lo there', rejected: ' p' },
    { prompt: 'Hello ', chosen: ' x', rejected: 'world' },
    { instruction: 'Hi.', chosen: 'a', rejected: 'b' },
  ];
  writeFileSync(path, rows.map((row) => JSON.stringify(row)).join('\n'));
  await readPairs(path, tokenizer, { ...options, onBadRow: () => undefined });
  await readCandidates(path, tokenizer, { ...options, onBadRow: () => undefined });
  writeFileSync(path, '{"prompt":"Hello","response":" a"}\n{"prompt":"Hel","response":"lo"}');
  await readResponses(path, tokenizer, options);
  assert.deepEqual(told, [
    { rows: 2, of: 4, first: 'line 3' },
    { rows: 2, of: 4, first: 'line 3' },
    { rows: 1, of: 2, first: 'line 2' },
  ]);

  for (const name of ['train', 'validation', 'test'])
    await readPairs(join(root, 'data', 'preferences', `${name}.jsonl`), tokenizer, options);
  await readResponses(join(root, 'data', 'instructions', 'train.jsonl'), tokenizer, options);
  assert.equal(told.length, 3);
});

test('a command says it in one line', () => {
  const path = join(folder, 'pairs.jsonl');
  writeFileSync(
    path,
    '{"prompt":"Say hel","chosen":"lo there","rejected":"p"}\n{"prompt":"Hi","chosen":" there","rejected":" you"}\n',
  );
  const { status, stderr } = spawnSync(
    process.execPath,
    [
      join(root, 'lib', 'bin', 'alignbook.js'),
      'evaluate',
      '--model',
      'tiny',
      '--data',
      path,
      '--prompts',
      '0',
      '--show',
      '0',
    ],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0);
  assert.match(
    stderr,
    /^1 of 2 rows \(line 1 is the first\): prompt and response would have other tokens as one text than apart, .*\n$/,
  );
});
