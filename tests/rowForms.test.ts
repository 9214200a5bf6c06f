/**
 * For files in other formats, the error names what converts them; columns beside the prompt are used or refused by
 * name, and never dropped.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';

import {
  alpacaPrompt,
  chatPrompt,
  FileError,
  readCandidates,
  readPairs,
  readPrompts,
  readResponses,
  Tokenizer,
} from 'alignbook';

import { root } from '../scripts/paths';
import { matching } from './matching';

const folder = mkdtempSync(join(tmpdir(), 'forms-'));
after(() => rmSync(folder, { recursive: true }));
const tokenizer = Tokenizer.fromPretrained('tiny');
const options = { maxLength: 256 };
const file = (name: string, content: string | Uint8Array) => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};

/** The rows that every file below contains in its own format. */
const ROWS = [
  { prompt: 'Name a "bird", please.', chosen: 'A robin,\nor é.', rejected: 'Bird.' },
  { prompt: 'Two plus three?', chosen: 'It is five.', rejected: 'Six.' },
];
const LINES = ROWS.map((row) => `${JSON.stringify(row)}\n`).join('');
const python = (code: string, ...args: string[]) => execFileSync('python3', ['-c', code, ...args]);
const read = async (path: string) => readPairs(path, await tokenizer, options);
const refusal = (path: string) =>
  read(path).then(
    () => assert.fail(`${path} is read`),
    (error: unknown) => (assert.ok(error instanceof FileError, `${error as Error}`), error.message),
  );

const CONVERTED: readonly (readonly [name: string, content: () => string | Uint8Array, form: RegExp, key?: string])[] =
  [
    [
      'key.json',
      () => JSON.stringify({ version: 1, data: ROWS }, null, 1),
      /is one JSON object with a list of rows in "data"/,
    ],
    ['key-compact.json', () => JSON.stringify({ data: ROWS }), /is one JSON object with a list of rows in "data"/],
    [
      'objects.json',
      () => ROWS.map((row) => JSON.stringify(row, null, 2)).join('\n'),
      /has JSON objects over several lines/,
    ],
    [
      'rows.bz2',
      () => python('import bz2, sys; sys.stdout.buffer.write(bz2.compress(sys.argv[1].encode()))', LINES),
      /is compressed with bzip2/,
    ],
    [
      'rows.xz',
      () => python('import lzma, sys; sys.stdout.buffer.write(lzma.compress(sys.argv[1].encode()))', LINES),
      /is compressed with xz/,
    ],
    ['utf16.jsonl', () => Buffer.from(`\ufeff${LINES}`, 'utf16le'), /is UTF-16, and rows are read as UTF-8/],
    ['utf16-unmarked.jsonl', () => Buffer.from(LINES, 'utf16le'), /is UTF-16LE, and rows are read as UTF-8/],
    ['utf16-big.jsonl', () => Buffer.from(LINES, 'utf16le').swap16(), /is UTF-16BE, and rows are read as UTF-8/],
  ];

for (const [name, content, form] of CONVERTED) {
  test(`${name}: one line names the form, and its command makes rows of it`, async (t) => {
    const message = await refusal(file(name, content()));
    assert.match(message, form);
    assert.ok(!message.includes('\n'));
    const command = /(?:python3|bunzip2|xz|iconv|jq) .*$/.exec(message)![0];
    const program = command.split(' ')[0]!;
    if (spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0)
      return t.skip(`${program} is not on this machine`);
    const { status, stderr } = spawnSync('sh', ['-c', command], { cwd: folder, encoding: 'utf8' });
    assert.deepEqual([status, stderr], [0, '']);
    assert.deepEqual(await read(join(folder, 'converted.jsonl')), await read(file('rows.jsonl', LINES)));
  });
}

test('an SQLite table: the same, with the name of the table', async () => {
  const path = join(folder, 'rows.db');
  python(
    'import sqlite3, sys, json; c = sqlite3.connect(sys.argv[1]); c.execute("CREATE TABLE pairs (prompt, chosen, ' +
      'rejected)"); c.executemany("INSERT INTO pairs VALUES (:prompt, :chosen, :rejected)", ' +
      'json.loads(sys.argv[2])); c.commit()',
    path,
    JSON.stringify(ROWS),
  );
  const message = await refusal(path);
  assert.match(message, /is an SQLite database, which is not read here; replace TABLE by the name of its table: /);
  execFileSync('sh', ['-c', /python3 .*$/.exec(message)![0].replace('TABLE', 'pairs')], { cwd: folder });
  assert.deepEqual(await read(join(folder, 'converted.jsonl')), await read(file('rows.jsonl', LINES)));
});

const ORACLES = join(root, '.alignbook', 'oracles', 'bin');
test(
  'what pandas, pyarrow and datasets write: named, and their own commands make rows of it',
  { skip: existsSync(ORACLES) ? false : "needs the oracles' Python" },
  async () => {
    const code = `import sys, json, os, pandas, pyarrow as pa, pyarrow.feather as f, datasets
rows = json.loads(sys.argv[1]); d = pandas.DataFrame(rows); t = pa.Table.from_pylist(rows)
d.to_json("columns.json"); d.to_json("split.json", orient="split")
f.write_feather(t, "rows.feather"); f.write_feather(t, "rows.feather1", version=1)
with pa.ipc.new_stream("rows.arrow", t.schema) as s: s.write_table(t)
datasets.Dataset.from_list(rows).save_to_disk("saved")`;
    const env = { ...process.env, PATH: `${ORACLES}:${process.env['PATH']}` };
    execFileSync(join(ORACLES, 'python'), ['-c', code, JSON.stringify(ROWS)], { cwd: folder, env, stdio: 'pipe' });
    for (const [name, form] of [
      ['columns.json', /is a table by columns, as pandas writes it/],
      ['split.json', /is a table that pandas wrote with orient="split"/],
      ['rows.feather', /is an Arrow file/],
      ['rows.feather1', /is a Feather file/],
      ['rows.arrow', /is a stream of Arrow record batches/],
      ['saved', /is a folder that datasets saved/],
    ] as const) {
      const message = await refusal(join(folder, name));
      assert.match(message, form);
      execFileSync('sh', ['-c', /python3 .*$/.exec(message)![0].replace('python3', join(ORACLES, 'python'))], {
        cwd: folder,
        env,
        stdio: 'pipe',
      });
      assert.deepEqual(
        await read(join(folder, /converted\.\w+/.exec(message)![0])),
        await read(file('rows.jsonl', LINES)),
        name,
      );
      for (const made of ['converted.jsonl', 'converted.parquet']) rmSync(join(folder, made), { force: true });
    }
  },
);

test('forms without a command are named, too', async () => {
  for (const [content, form] of [
    [Buffer.from('28b52ffd0000', 'hex'), /is compressed with Zstandard, .*zstd -dc /],
    ['PK\x03\x04rows.jsonl', /is a zip archive, .*unzip -p /],
    ['PK\x03\x04\x14\0\0\0[Content_Types].xml', /is an Excel workbook, /],
    ['<!DOCTYPE html>\n<html>', /is an HTML page, which is not read here; download the file itself /],
    ['[]', /is an empty JSON array: it has no rows$/],
    [Buffer.from('80049500', 'hex'), /is a Python pickle, /],
    ["{'prompt': 'a'}", /: line 1: is a Python dictionary, not JSON; write the rows with json\.dumps$/],
    [Buffer.from('{"prompt":"a\0"}'), /: line 1: holds a NUL byte; remove it, as tr -d '\\000' does$/],
  ] as const) {
    const message = await refusal(file('x', typeof content === 'string' ? Buffer.from(content, 'latin1') : content));
    assert.match(message, form);
    assert.ok(!message.includes('\n'), message);
  }
  mkdirSync(join(folder, 'empty'));
  assert.match(
    await refusal(join(folder, 'empty')),
    /is a folder, without a \.jsonl or \.parquet file in it; give a file of rows$/,
  );
});

test('arrays of objects, and both forms under gzip, are the rows of the lines', async () => {
  const expected = await read(file('rows.jsonl', LINES));
  for (const content of [
    JSON.stringify(ROWS),
    `\ufeff${JSON.stringify(ROWS, null, 4)}`,
    `\n [\n${JSON.stringify(ROWS).slice(1)}\n`,
    gzipSync(LINES),
    gzipSync(JSON.stringify(ROWS)),
    Buffer.concat([gzipSync(LINES.split('\n')[0]! + '\n'), gzipSync(LINES.split('\n').slice(1).join('\n'))]),
  ])
    assert.deepEqual(await read(file('x', content)), expected);
  const some = JSON.stringify([ROWS[0], { prompt: 'a' }, 5, ROWS[1]]);
  assert.match(await refusal(file('x', some)), /x: row 2: has no "chosen"/);
  const told: string[] = [];
  const kept = await readPairs(file('x', some), await tokenizer, {
    ...options,
    onBadRow: ({ message }) => told.push(message),
  });
  assert.deepEqual(kept, expected.slice(0, 2));
  assert.match(told[1]!, /row 3: is not a JSON object$/);
  assert.match(await refusal(file('x', '[{"prompt": "a"')), /x: is a JSON array that cannot be read \(/);
  assert.match(
    await refusal(file('x', '[[1, 2]]')),
    /is a JSON array of lists, or a very large one, which is not read/,
  );
  const whole = gzipSync(LINES);
  assert.match(await refusal(file('x', whole.subarray(0, 30))), /x: is damaged: gzip says "unexpected end of file"/);
  assert.match(await refusal(file('x', Buffer.of(0x1f, 0x8b, 9, 9, 9))), /x: is damaged: gzip says "/);
  assert.match(await refusal(file('x', gzipSync('PAR1'))), /x: is Parquet, which is read from its end/);
  const piped = spawnSync(
    process.execPath,
    [join(root, 'lib', 'bin', 'alignbook.js'), 'logps', '--model', 'tiny', '--data', '-'],
    { input: gzipSync(JSON.stringify(ROWS)), encoding: 'utf8' },
  );
  assert.equal(piped.stdout.trim().split('\n').length, ROWS.length, piped.stderr);
});

test('a bad first line is no other form: the rows after it are read', async () => {
  const good = LINES.split('\n')[1]!;
  for (const bad of ['{"prompt":', '["a"]', 'no', '{"prompt":"a","chosen":"b",', '{', '3', '"a,b"', 'a, b?']) {
    const told: string[] = [];
    const rows = await readPairs(file('x', `${bad}\n${good}\n`), await tokenizer, {
      ...options,
      onBadRow: ({ message }) => told.push(message),
    });
    assert.deepEqual([rows.length, told.length], [1, 1], bad);
  }
});

test('a row with other fields: the message says which it has, and which a row needs', async () => {
  const t = await tokenizer;
  const row = (fields: object) => file('x', JSON.stringify(fields));
  const foreign = row({ id: 7, question: 'a', good: 'b', bad: 'c', empty: null });
  await assert.rejects(
    readPairs(foreign, t, options),
    matching(
      /: line 1: has no "chosen"; it has id, question, good, bad; a pair needs prompt /,
      /\(or instruction, question, query\), chosen \(or chosen_response, .*\), /,
      /rejected \(or rejected_response, .*\); map reads a field from another column$/,
    ),
  );
  await assert.rejects(
    readResponses(foreign, t, options),
    matching(
      /: line 1: has no "response"; it has id, question, good, bad; a row needs prompt \(or instruction, .*\) and /,
      /response \(or output, completion, answer\), or messages, or text; map reads a field from another column$/,
    ),
  );
  const bare = row({ id: 7, ask: 'a', good: 'b', bad: 'c', empty: null });
  await assert.rejects(
    readPrompts(bare, t, { ...options, maxNewTokens: 2 }),
    matching(
      /: line 1: has no "prompt"; it has id, ask, good, bad; /,
      /a row needs prompt \(or instruction, question, query\); map /,
    ),
  );
  await assert.rejects(
    readCandidates(bare, t, options),
    matching(
      /: line 1: has no "prompt"; it has id, ask, good, bad; a row needs prompt \(or instruction, question, query\)/,
      / and chosen, rejected or response; map reads a field from another column$/,
    ),
  );
  await assert.rejects(
    read(row(Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`c${n}`, 1])))),
    /it has c0, .*, c11 and 28 more; a pair needs/,
  );
  await assert.rejects(read(row({ ['n'.repeat(1000)]: 1 })), /it has n{100}…; a pair/);
  await assert.rejects(
    read(row({ prompt: [{ from: 'human', value: 'x' }], chosen: 'a', rejected: 'b' })),
    /"prompt", message 1: has no "role"; it has from, value; a message needs role, content$/,
  );
});

const user = (content: unknown) => ({ role: 'user', content });
const assistant = (content: unknown) => ({ role: 'assistant', content });
const say = { chosen: 'A robin.', rejected: 'Bird.' };
const promptOf = async (row: object) =>
  (await tokenizer).decode((await read(file('x', JSON.stringify({ ...say, ...row }))))[0]!.promptIds);

test('system, history and context become part of the prompt, in every reader', async () => {
  const t = await tokenizer;
  const pirate =
    // chatPrompt's form, by hand
    'Answer as a pirate.\n\n### Instruction:\nHi.\n\n### Response:\nAhoy.\n\n### Instruction:\nName a ' +
    'bird.\n\n### Response:\n';
  const history = [['Hi.', 'Ahoy.']];
  const alpaca = { instruction: 'Name a bird.', input: '', system: 'Answer as a pirate.', history };
  assert.equal(await promptOf(alpaca), pirate);
  assert.equal(await promptOf({ prompt: 'Name a bird.', system: 'Answer as a pirate.', history }), pirate);
  const rows = file('x', JSON.stringify({ ...alpaca, ...say, output: 'A robin.' }));
  assert.equal(t.decode((await readResponses(rows, t, options))[0]!.promptIds), pirate);
  assert.equal(t.decode((await readPrompts(rows, t, { ...options, maxNewTokens: 2 }))[0]!), pirate);
  assert.equal(t.decode((await readCandidates(rows, t, options))[0]!.promptIds), pirate);

  const system = 'Be brief.';
  const asked = chatPrompt([
    { role: 'system', content: system },
    { role: 'user', content: 'Name a bird.' },
  ]);
  for (const row of [
    { prompt: 'Name a bird.', system },
    { prompt: 'Name a bird.', system_prompt: system },
    { instruction: 'Name a bird.', system_message: system, system },
    { prompt: [user('Name a bird.')], system },
    { prompt: [{ role: 'system', content: system }, user('Name a bird.')], system },
    {
      chosen: [user('Name a bird.'), assistant('A robin.')],
      rejected: [user('Name a bird.'), assistant('Bird.')],
      system,
    },
  ])
    assert.equal(await promptOf(row), asked, JSON.stringify(row));
  const messages = file('x', JSON.stringify({ messages: [user('Name a bird.'), assistant('A robin.')], system }));
  assert.equal(t.decode((await readResponses(messages, t, options))[0]!.promptIds), asked);
  const dolly = file(
    'x',
    JSON.stringify({ instruction: 'Name a bird.', context: 'Birds fly.', response: 'A robin.', category: 'open_qa' }),
  );
  assert.deepEqual(await readResponses(dolly, t, options), [
    {
      promptIds: t.encode(alpacaPrompt({ instruction: 'Name a bird.', input: 'Birds fly.' })),
      responses: [t.encode('A robin.<|endoftext|>')],
    },
  ]);
});

test('an empty column is as if it were not there, and so is one whose text the prompt has', async () => {
  const bare = await promptOf({ prompt: 'Name a bird.' });
  assert.equal(bare, 'Name a bird.');
  const empty = {
    system: '',
    history: [],
    tools: null,
    images: [],
    chat_template_kwargs: {},
    context: ' ',
    messages: [],
    input: '',
  };
  assert.equal(await promptOf({ prompt: 'Name a bird.', ...empty }), bare);
  assert.equal(
    await promptOf({ prompt: 'Name a bird.', id: 3, source: 'x', score: 1, category: 'y', margin: 2 }),
    bare,
  );
  assert.equal(
    await promptOf({
      prompt: 'Name a bird.',
      question: 'Name a bird.',
      messages: [user('Name a bird.'), assistant('A robin.')],
    }),
    bare,
  );
  const alpaca = alpacaPrompt({ instruction: 'Name a bird.' });
  const emptySystem = [{ role: 'system', content: '' }, user('Name a bird.')];
  assert.equal(await promptOf({ prompt: emptySystem }), alpaca);
  assert.equal(
    await promptOf({ chosen: [...emptySystem, assistant('a')], rejected: [...emptySystem, assistant('b')] }),
    alpaca,
  );
  assert.equal(
    await promptOf({
      prompt: [
        user([
          { type: 'text', text: 'Name ' },
          { type: 'text', text: 'a bird.' },
        ]),
      ],
      chosen: [assistant([{ type: 'text', text: 'A.' }])],
    }),
    alpaca,
  );
});

test('a column that would be lost is refused by its name', async () => {
  const refused = async (row: object, message: RegExp) =>
    assert.match(await refusal(file('x', JSON.stringify({ ...say, ...row }))), message);
  for (const name of [
    'instruction',
    'input',
    'context',
    'question',
    'documents',
    'tools',
    'images',
    'messages',
    'chat_template_kwargs',
    'conversations',
  ]) {
    await refused(
      { prompt: 'Name a bird.', [name]: name.endsWith('s') ? [{ a: 1 }] : 'Birds fly.' },
      new RegExp(
        `line 1: "${name}" is beside "prompt" and would be lost; move its contents into "prompt", or drop ` +
          'the column$',
      ),
    );
  }
  for (const name of ['choices', 'options', 'premise'])
    await refused(
      { prompt: 'Which?', [name]: ['a', 'b'] },
      new RegExp(`"${name}" is beside "prompt" and would be lost`),
    );
  for (const [name, usual] of [
    ['System', 'system'],
    ['System Prompt', 'system_prompt'],
    ['CONTEXT', 'context'],
    ['chat-history', 'chat_history'],
  ]) {
    await refused(
      { prompt: 'Name a bird.', [name!]: 'Birds fly.' },
      new RegExp(`"${name}" is beside "prompt" and would be lost; call it "${usual}", or drop the column$`),
    );
  }
  await refused({ prompt: 'Name a bird.', context: 'bird' }, /"context" is beside "prompt" and would be lost/);
  await refused({ instruction: 'a', input: 'b', context: 'c' }, /"context" is beside "instruction" and would be lost/);
  await refused(
    { prompt: [user('a')], history: [['x', 'y']] },
    /"history" is beside a list of messages; move its turns into "prompt"/,
  );
  await refused({ prompt: 'a', history: ['x'] }, /"history" is not a list of \[question, answer\]/);
  await refused({ prompt: 'a', system: 3 }, /"system" is not a text$/);
  await refused(
    { prompt: 'a', system: 'x', system_prompt: 'y' },
    /"system" and "system_prompt" differ; drop one of them$/,
  );
  await refused(
    { prompt: [{ role: 'system', content: 'x' }, user('a')], system: 'y' },
    /"system" differs from the prompt's system message; drop one of them$/,
  );
  await refused(
    { prompt: [user([{ type: 'text', text: 'a' }, { type: 'image' }])] },
    /"prompt", message 1: part 2 of "content" is of the type "image"; GPT-2 reads only text: leave the part out$/,
  );
  await refused(
    { prompt: [user('a'), { ...assistant('b'), tool_calls: [{ name: 'f' }] }, user('c')] },
    /"prompt", message 2: has "tool_calls", which would be lost/,
  );
});
