import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  alpacaPrompt,
  chatPrompt,
  FileError,
  InputError,
  readCandidates,
  readPairs,
  readPrompts,
  readResponses,
  Tokenizer,
} from 'alignbook';
import { Fields } from 'alignbook/dist/text/fields';

import { matching } from './matching';

const folder = mkdtempSync(join(tmpdir(), 'pairs-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'rows.jsonl');
const GOOD = '{"prompt":"a","chosen":"b","rejected":"c"}';

test('rows in order, whatever ends a line, other fields passed over', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const long = 'naïve 😀 '.repeat(20_000); // more than one chunk of the file, with characters across the boundaries
  writeFileSync(path, `\ufeff${GOOD}\r\n\n  \n${JSON.stringify({ chosen: 'b', id: 7, prompt: long, rejected: 'c' })}`);
  const pairs = await readPairs(path, tokenizer, { maxLength: Infinity });
  assert.deepEqual(pairs[0], { promptIds: [64], chosenIds: [65, 50256], rejectedIds: [66, 50256] });
  assert.equal(tokenizer.decode(pairs[1]!.promptIds), long);
  assert.equal(pairs.length, 2);
  writeFileSync(path, `\ufeff${JSON.stringify({ chosen: 'b', prompt: long, rejected: 'c' })}`);
  assert.deepEqual(await readPairs(path, tokenizer, { maxLength: Infinity }), [pairs[1]]);
});

test('a row that is wrong is refused by line', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const refused = async (line: string | Uint8Array, message: RegExp) => {
    writeFileSync(path, Buffer.concat([Buffer.from(`${GOOD}\n\n`), Buffer.from(line)]));
    await assert.rejects(
      readPairs(path, tokenizer, { maxLength: 256 }),
      (error) => error instanceof FileError && error.path === path && message.test(error.message),
      `${message}`,
    );
  };
  await refused('{"prompt":', /: line 3: is not JSON \(.+\)$/);
  await refused('["a"]', /: line 3: is not a JSON object$/);
  await refused('{"prompt":"a","chosen":"b"}', /: line 3: has no "rejected"$/);
  await refused('{"prompt":1,"chosen":"b","rejected":"c"}', /: line 3: "prompt" is not a text or a list of messages$/);
  await refused('{"prompt":"a","chosen":"","rejected":"c"}', /: line 3: chosen is empty$/);
  await refused(
    '{"prompt":"a","chosen":"b","rejected":"b<|endoftext|>"}',
    /: line 3: chosen and rejected are the same, .*; leave it out$/,
  );
  await refused(
    `{"prompt":"a","chosen":"b","rejected":"${' a'.repeat(255)}"}`,
    /: line 3: 257 tokens, the limit is 256; shorten its texts or leave it out$/,
  );
  await refused('{"prompt":"a","chosen":null,"rejected":"c"}', /: line 3: "chosen" is null$/);
  await refused(
    '{"prompt":"a","chosen":"b","rejected":"\\ud83d"}',
    /: line 3: the text holds half of a surrogate pair/,
  );
  await refused(Uint8Array.of(0x22, 0xff, 0x22), /: line 3: is not UTF-8$/);
  writeFileSync(path, '\n');
  await assert.rejects(readPairs(path, tokenizer, { maxLength: 256 }), /rows\.jsonl: has no rows$/);
  await assert.rejects(
    readPairs(folder, tokenizer, { maxLength: 256 }),
    /: is a folder; give one of its files, such as .+rows\.jsonl$/,
  );
  await assert.rejects(
    readPairs(join(folder, 'absent'), tokenizer, { maxLength: 256 }),
    /absent: cannot be read \(ENOENT.*\)$/,
  );
});

test('told of bad rows, it reads the others, each line for itself', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const bad = [
    '{"prompt":',
    Uint8Array.of(0x22, 0xff, 0x22),
    '{"prompt":"a","chosen":"b"}',
    Uint8Array.of(0xe2, 0x82),
    Uint8Array.of(0xac),
    '{"prompt":"a","chosen":"b","rejected":"b"}',
  ];
  writeFileSync(
    path,
    Buffer.concat(
      [GOOD, ...bad, GOOD, 'null', `\ufeff${GOOD}`].flatMap((line) => [Buffer.from(line as string), Buffer.from('\n')]),
    ),
  );
  const told: string[] = [];
  const onBadRow = (error: FileError) => told.push(error.message.replace(`${path}: `, '').replace(/ \(.*| so .*/, ''));
  const pairs = await readPairs(path, tokenizer, { maxLength: 256, onBadRow });
  assert.deepEqual(pairs, Array(2).fill({ promptIds: [64], chosenIds: [65, 50256], rejectedIds: [66, 50256] }));
  assert.deepEqual(told, [
    'line 2: is not JSON',
    'line 3: is not UTF-8',
    'line 4: has no "rejected"',
    'line 5: is not UTF-8',
    'line 6: is not UTF-8',
    'line 7: chosen and rejected are the same,',
    'line 9: is not a JSON object',
    'line 10: is not JSON',
  ]);

  writeFileSync(path, 'no\nnone\n');
  await assert.rejects(
    readPairs(path, tokenizer, { maxLength: 256, onBadRow }),
    /rows\.jsonl: has no row that can be kept: 2 of 2 left out$/,
  );
  await assert.rejects(
    readPairs(join(folder, 'absent'), tokenizer, { maxLength: 256, onBadRow }),
    /absent: cannot be read \(ENOENT.*\)$/,
  );
});

test('the Alpaca form: instruction and input become its prompt, for pairs and for responses', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const instruction = 'Translate.';
  writeFileSync(
    path,
    [
      JSON.stringify({ instruction, input: 'Hallo', output: 'Hello', chosen: 'Hello', rejected: 'Hi' }),
      JSON.stringify({ instruction, output: 'Which text?', chosen: 'Which text?', rejected: 'What?' }),
    ].join('\n'),
  );
  const prompts = [alpacaPrompt({ instruction, input: 'Hallo' }), alpacaPrompt({ instruction })].map((prompt) =>
    tokenizer.encode(prompt),
  );
  const options = { maxLength: 256 };
  assert.deepEqual(
    (await readPairs(path, tokenizer, options)).map(({ promptIds }) => promptIds),
    prompts,
  );
  assert.deepEqual(await readResponses(path, tokenizer, options), [
    { promptIds: prompts[0], responses: [[...tokenizer.encode('Hello'), 50256]] },
    { promptIds: prompts[1], responses: [[...tokenizer.encode('Which text?'), 50256]] },
  ]);

  writeFileSync(path, '{"prompt":"a","response":"b"}');
  assert.deepEqual(await readResponses(path, tokenizer, options), [{ promptIds: [64], responses: [[65, 50256]] }]);
  for (const [line, message] of [
    ['{"prompt":"a"}', /line 1: has no "response"$/],
    ['{"instruction":"a"}', /line 1: has no "output"$/],
    ['{"prompt":"a","response":""}', /line 1: response is empty$/],
    [`{"prompt":"a","response":"${' a'.repeat(255)}"}`, /line 1: 257 tokens, the limit is 256/],
  ] as const) {
    writeFileSync(path, line);
    await assert.rejects(readResponses(path, tokenizer, options), message);
  }
});

test('prompts alone, of every form; what else a row has is not looked at', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const options = { maxLength: 256, maxNewTokens: 64 };
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Hello' },
  ] as const;
  writeFileSync(
    path,
    [GOOD, { prompt: messages }, { instruction: 'Translate.', input: 'Hallo', output: 7 }, { instruction: 'Wait.' }]
      .map((row) => (typeof row === 'string' ? row : JSON.stringify(row)))
      .join('\n'),
  );
  const prompts = [
    'a',
    chatPrompt(messages),
    alpacaPrompt({ instruction: 'Translate.', input: 'Hallo' }),
    alpacaPrompt({ instruction: 'Wait.' }),
  ];
  assert.deepEqual(
    await readPrompts(path, tokenizer, options),
    prompts.map((prompt) => tokenizer.encode(prompt)),
  );
  for (const [line, message] of [
    ['{"chosen":"a"}', /: line 1: has no "prompt"$/],
    ['{"prompt":""}', /: line 1: prompt is empty$/],
    ['{"prompt":3}', /: line 1: "prompt" is not a text or a list of messages$/],
  ] as const) {
    writeFileSync(path, line);
    await assert.rejects(
      readPrompts(path, tokenizer, options),
      (error) => error instanceof FileError && message.test(error.message),
      `${message}`,
    );
  }
});

test('a prompt leaves room for a response, or loses its beginning, or is refused', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const ids = tokenizer.encode('a b c d e');
  writeFileSync(path, '{"prompt":"a b c d e"}\n{"prompt":"a"}');
  const read = (maxNewTokens: number, more: object = {}) =>
    readPrompts(path, tokenizer, { maxLength: 8, maxNewTokens, ...more });
  assert.deepEqual((await read(3))[0], ids);
  await assert.rejects(
    read(4),
    matching(
      /: line 1: a prompt of 5 tokens leaves no room for 4 new ones, the limit is 8; shorten it,/,
      / lower maxNewTokens, or leave the row out$/,
    ),
  );
  await assert.rejects(read(4, { truncation: 'response-end' }), /leaves no room for 4 new ones/);
  assert.deepEqual(await read(4, { truncation: 'prompt-start' }), [ids.slice(1), [64]]);
  await assert.rejects(read(8, { truncation: 'prompt-start' }), /leaves no room for 8 new ones/);
  await assert.rejects(
    read(3, { truncation: 'keep' }),
    (error) => error instanceof InputError && error.message.startsWith('truncation must be one of '),
  );
  const told: string[] = [];
  assert.deepEqual(await read(4, { onBadRow: (error: FileError) => told.push(error.message) }), [[64]]);
  assert.equal(told.length, 1);
});

test('margins are read where they are asked for, and must then be numbers', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const row = (margin: string) => `{"prompt":"a","chosen":"b","rejected":"c","margin":${margin}}`;
  writeFileSync(path, [row('0.5'), row('null'), GOOD].join('\n'));
  const read = (margins: boolean) => readPairs(path, tokenizer, { maxLength: 256, margins });
  assert.deepEqual(
    (await read(true)).map(({ margin }) => margin),
    [0.5, undefined, undefined],
  );
  assert.ok((await read(false)).every((pair) => !('margin' in pair)));
  writeFileSync(path, row('"much"'));
  await assert.rejects(read(true), /: line 1: "margin" is not a number$/);
  assert.equal((await read(false)).length, 1);
  const fields = new Fields({ integer: 3n, infinite: Infinity });
  assert.equal(fields.number('integer'), 3); // of Parquet
  for (const name of ['infinite', 'missing']) assert.throws(() => fields.number(name), InputError);
});

test("candidates are one response or a pair's two, row by row", async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  writeFileSync(path, [GOOD, '{"prompt":"a","response":"b"}', '{"instruction":"a","output":"b"}'].join('\n'));
  const rows = await readCandidates(path, tokenizer, { maxLength: 256 });
  assert.deepEqual(
    rows.map(({ responses }) => responses),
    [
      [
        [65, 50256],
        [66, 50256],
      ],
      [[65, 50256]],
      [[65, 50256]],
    ],
  );
  assert.deepEqual(rows[2]!.promptIds, tokenizer.encode(alpacaPrompt({ instruction: 'a' })));
  writeFileSync(path, '{"prompt":"a"}');
  await assert.rejects(readCandidates(path, tokenizer, { maxLength: 256 }), /: line 1: has no "response"$/);
});
