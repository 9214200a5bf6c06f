/** Tables, columns of other names, prompts within texts, and the rows that are taken of a file. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';

import { readLabeled, readPairs, readResponses, Tokenizer } from 'alignbook';
import { readRows } from 'alignbook/dist/text/rows';

import { root } from '../scripts/paths';

interface Fixture {
  readonly tables: readonly { readonly name: string; readonly text: string; readonly rows: readonly object[] }[];
  readonly prompts: readonly {
    readonly given: readonly [string, string];
    readonly split: { readonly prompt: string; readonly chosen: string; readonly rejected: string };
  }[];
}
const fixture = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'data_sets.json'), 'utf8')) as Fixture;

const folder = mkdtempSync(join(tmpdir(), 'tables-'));
after(() => rmSync(folder, { recursive: true }));
const file = (name: string, content: string | Uint8Array): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const jsonl = (...rows: readonly object[]): string =>
  file('rows.jsonl', rows.map((row) => JSON.stringify(row)).join('\n'));
const tokenizer = Tokenizer.fromPretrained('tiny');
const options = { maxLength: 256 };
/** Pairs as texts; the end-of-sequence token is left out. */
const pairs = async (path: string, more = {}) => {
  const t = await tokenizer;
  const text = (ids: readonly number[]) => t.decode(ids).replace(/<\|endoftext\|>$/, '');
  const found = await readPairs(path, t, { ...options, ...more });
  return found.map(({ promptIds, chosenIds, rejectedIds }) => [promptIds, chosenIds, rejectedIds].map(text));
};

test('tables have the rows that datasets reads in them, also under gzip', async () => {
  for (const { name, text, rows } of fixture.tables) {
    for (const path of [file(name, text), file(`${name}.gz`, gzipSync(text)), file(name.replace('.', '-'), text)]) {
      const found = [];
      for await (const { parse } of readRows(path, ['prompt', 'chosen', 'rejected'])) found.push(parse());
      assert.deepEqual(found, rows, path);
    }
  }
});

test('cells: empty ones are missing, flags and numbers are read, lists and other bytes are refused', async () => {
  const labeled = file('a.csv', 'prompt;completion;label;note\nx;y;True;\nx;z;0;n\n');
  const found = await readLabeled(labeled, await tokenizer, options);
  assert.deepEqual(
    found.map(({ desirable }) => desirable),
    [true, false],
  );
  const margins = await readPairs(file('b.csv', 'prompt,chosen,rejected,margin\nx,y,z,1.5\n'), await tokenizer, {
    ...{ ...options, margins: true },
  });
  assert.equal(margins[0]!.margin, 1.5);
  const refused = (text: string | Uint8Array, message: RegExp) => assert.rejects(pairs(file('c.csv', text)), message);
  await refused('prompt,chosen,rejected\nx,,z\n', /c\.csv: line 2: has no "chosen"/);
  await refused(
    "prompt,chosen,rejected\nx,\"[{'role': 'user', 'content': 'a'}]\",z\n",
    /line 2: "chosen" has a list as text, and a table has only texts; write the rows as JSON lines$/,
  );
  await refused(Buffer.from('prompt,chosen,rejected\nx,\xe9,z\n', 'latin1'), /line 2: "chosen" is not UTF-8$/);
  await refused('prompt,chosen,rejected\nx,y,z,more\n', /line 2: has 4 cells, and the header has 3; put a text that/);
  await refused(
    'prompt,chosen,rejected\nx,"y,z\n',
    /c\.csv: line \d: the file ends within a text in double quotes; close/,
  );
  await refused(
    'prompt,chosen,rejected\nx,y"y",z\n',
    /line 2: has a double quote in the middle of a cell; put the whole/,
  );
  await refused('prompt,chosen,chosen\nx,y,z\n', /the header, names the column "chosen" twice; rename one$/);
  await refused('prompt,chosen,rejected\n', /c\.csv: has no rows$/);
  const bad: string[] = [];
  const kept = file('d.csv', ',prompt,chosen,rejected\n0,x,y\n1,x,"y\n2",z\n2,a,b,c\n');
  assert.deepEqual(await pairs(kept, { onBadRow: (_: unknown, { place }: { place: string }) => bad.push(place) }), [
    ['x', 'y\n2', 'z'],
    ['a', 'b', 'c'],
  ]);
  assert.deepEqual(bad, ['line 2']);
});

test('columns of other names: common ones, and those that map names', async () => {
  const asked = { question: 'Why?', chosen_response: ' a', rejected_response: ' b', id: 1 };
  assert.deepEqual(await pairs(jsonl(asked)), [['Why?', ' a', ' b']]);
  const map = ['prompt=ask', 'chosen=better one', 'rejected=chosen'];
  const mapped = file('mapped.jsonl', JSON.stringify({ ask: 'Why?', 'better one': ' a', chosen: ' b' }));
  assert.deepEqual(await pairs(mapped, { map }), [['Why?', ' a', ' b']]);
  assert.deepEqual(await pairs(file('m.csv', 'ask,better one,chosen\nWhy?, a, b\n'), { map }), [['Why?', ' a', ' b']]);
  const answered = await readResponses(jsonl({ query: 'Why?', answer: 'So.' }), await tokenizer, options);
  assert.equal((await tokenizer).decode(answered[0]!.responses[0]!), 'So.<|endoftext|>');
  const refused = (entries: readonly string[], message: RegExp) =>
    assert.rejects(pairs(mapped, { map: entries }), message);
  await refused(['chosen'], /^InputError: map has "chosen"; write FIELD=COLUMN/);
  await refused(
    ['choosen=x'],
    /^InputError: map names the field "choosen", which no row has; .* did you mean chosen\?$/,
  );
  await refused(['prompt=ask', 'prompt=x'], /map names the field "prompt" twice/);
  await refused(
    ['prompt=asks'],
    /line 1: has no "asks", the column that map gives for prompt; it has ask, better one, chosen/,
  );
  await assert.rejects(
    pairs(jsonl({ instruction: 'Do.', question: 'Why?', chosen: 'a', rejected: 'b' })),
    /"question" is beside "instruction" and would be lost/,
    'a second prompt is not dropped',
  );
});

test("responseField chosen takes a pair's chosen response, for SFT", async () => {
  const t = await tokenizer;
  const path = jsonl({ prompt: 'Why?', chosen: ' a', rejected: ' b' });
  const [row] = await readResponses(path, t, { ...options, responseField: 'chosen' });
  assert.deepEqual(
    [row!.promptIds, row!.responses[0]].map((ids) => t.decode(ids!)),
    ['Why?', ' a<|endoftext|>'],
  );
  await assert.rejects(
    readResponses(path, t, options),
    /line 1: has no "response" but a pair; responseField chosen takes its chosen one$/,
  );
});

test("prompts within whole texts: TRL's, but for words that it cuts; and transcripts by their turns", async () => {
  for (const { given, split } of fixture.prompts) {
    const [chosen, rejected] = given;
    const expected = /\S$/.test(split.prompt) && /^\S/.test(split.chosen) ? undefined : Object.values(split);
    if (expected) assert.deepEqual(await pairs(jsonl({ chosen, rejected })), [expected]);
  }
  const told: string[] = [];
  const cut = jsonl({ chosen: 'The sky is blue.', rejected: 'The sky is black.', score: 3, source: 'x' });
  assert.deepEqual(await pairs(cut, { onMessages: (text: string) => told.push(text) }), [
    ['The sky is', ' blue.', ' black.'],
  ]);
  assert.match(told.join(), /what chosen and rejected share at their beginning is the prompt$/);
  await assert.rejects(
    pairs(jsonl({ ask: 'Which color?', chosen: 'The sky is blue.', rejected: 'The sky is red.' })),
    /has no "prompt"; it has ask, chosen, rejected; .*; map reads a field from another column$/,
    'a column that may be the prompt is not passed over',
  );
  const begun = jsonl({ chosen: 'Say yes: Yes', rejected: 'Say yes: Yes sure' });
  assert.deepEqual(await pairs(begun), [['Say yes:', ' Yes', ' Yes sure']], 'TRL cuts within "Yes"');
  await assert.rejects(pairs(jsonl({ chosen: 'Yes.', rejected: 'No.' })), /has no "prompt"/);
  const turn = '\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Why?\n\nAssistant:';
  const transcript = { chosen: `${turn} So it is.`, rejected: `${turn} So what?` };
  assert.deepEqual(
    await pairs(jsonl(transcript)),
    [[turn, ' So it is.', ' So what?']],
    'shared words stay in the responses',
  );
  const longer = { ...transcript, rejected: `${turn} No.\n\nHuman: Oh.\n\nAssistant: Yes.` };
  await assert.rejects(pairs(jsonl(longer)), /line 1: "rejected" goes on with another turn .* leave the row out$/);
  const apart = { chosen: '\n\nHuman: A\n\nAssistant: x', rejected: '\n\nHuman: B\n\nAssistant: y' };
  await assert.rejects(pairs(jsonl(apart)), /are transcripts that share no turn of the assistant$/);
});

test('limit and shuffleSeed: the first rows, or some by a seed, of which fewer are the beginning of more', async () => {
  const path = jsonl(...Array.from({ length: 50 }, (_, n) => ({ prompt: `${n}`, chosen: 'a', rejected: 'b' })));
  const prompts = async (more: object) => (await pairs(path, more)).map(([prompt]) => Number(prompt));
  const all = Array.from({ length: 50 }, (_, n) => n);
  assert.deepEqual(await prompts({ limit: 3 }), [0, 1, 2]);
  assert.deepEqual(await prompts({ limit: 60 }), all);
  const shuffled = await prompts({ shuffleSeed: 1 });
  assert.notDeepEqual(shuffled, all);
  assert.deepEqual(
    [...shuffled].sort((a, b) => a - b),
    all,
  );
  for (const limit of [1, 7, 49]) assert.deepEqual(await prompts({ shuffleSeed: 1, limit }), shuffled.slice(0, limit));
  assert.notDeepEqual(await prompts({ shuffleSeed: 2 }), shuffled);
  await assert.rejects(prompts({ limit: 0 }), /limit must be/);
});
