/** Plain text for SFT: which rows and files are texts, their pieces, and what is refused. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';

import { FileError, readCandidates, readPairs, readResponses, Tokenizer } from 'alignbook';
import { readData } from 'alignbook/dist/commands/readData';
import { dataReport } from 'alignbook/dist/text/dataReport';
import { readAny } from 'alignbook/dist/text/dataset';
import { encodedLong, textPieces } from 'alignbook/dist/text/plainText';

import { root } from '../scripts/paths';

const folder = mkdtempSync(join(tmpdir(), 'plain-text-'));
after(() => rmSync(folder, { recursive: true }));
const file = (name: string, content: string | Buffer): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};
const lines = (...rows: readonly unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const tokenizer = Tokenizer.fromPretrained('tiny');
const options = { maxLength: 256 };

test('a text: its first token is the prompt, and all others are predicted, with an end-of-sequence token', async () => {
  const t = await tokenizer;
  const ids = t.encode('One two three.\n');
  const one = { promptIds: [ids[0]], responses: [[...ids.slice(1), 50256]] };
  assert.deepEqual(await readResponses(file('a.jsonl', lines({ text: 'One two three.\n' })), t, options), [one]);
  // other columns do not matter, and null is missing, as in a table
  const wide = lines({ id: 1, title: 'A', text: 'One two three.\n', prompt: null, label: 1 });
  assert.deepEqual(await readResponses(file('b.jsonl', wide), t, options), [one]);
  // an end that is there already is not repeated
  const ended = lines({ text: 'One two three.\n<|endoftext|>' });
  assert.deepEqual(await readResponses(file('c.jsonl', ended), t, options), [one]);

  // "text" beside another form: the row is of that form
  const both = lines({ prompt: 'One', response: ' two', text: 'One two' });
  assert.deepEqual(await readResponses(file('d.jsonl', both), t, options), [
    { promptIds: t.encode('One'), responses: [[...t.encode(' two'), 50256]] },
  ]);
  // texts and responses may be mixed
  const mixed = await readResponses(
    file('e.jsonl', lines({ text: 'One' }, { prompt: 'One', response: 'x' })),
    t,
    options,
  );
  assert.deepEqual(
    mixed.map(({ responses }) => responses[0]!.length),
    [1, 2],
  );
});

test('a .txt file is one text, whole, also under gzip; JSON rows in a file of such a name stay rows', async () => {
  const t = await tokenizer;
  const text = 'Name, age\n\nAnna, 5\r\n"Bob", 6\n'; // not CSV
  const ids = [...t.encode(text), 50256];
  const one = [{ promptIds: [ids[0]], responses: [ids.slice(1)] }];
  assert.deepEqual(await readResponses(file('a.txt', text), t, options), one);
  assert.deepEqual(await readResponses(file('b.txt.gz', gzipSync(text)), t, options), one);
  assert.deepEqual(await readResponses(file('C.TXT', `\ufeff${text}`), t, options), one);
  const rows = lines({ prompt: 'One', response: ' two' });
  const response = [{ promptIds: t.encode('One'), responses: [[...t.encode(' two'), 50256]] }];
  assert.deepEqual(await readResponses(file('d.txt', rows), t, options), response);
  assert.deepEqual(await readResponses(file('e.txt', `\n[${rows.trim()}]`), t, options), response);
});

test('a long text becomes pieces that overlap by one token: every token but the first is predicted once', async () => {
  assert.deepEqual(textPieces([1, 2, 3, 4, 5, 6], 3), [
    { promptIds: [1], responses: [[2, 3]] },
    { promptIds: [3], responses: [[4, 5]] },
    { promptIds: [5], responses: [[6]] },
  ]);
  for (let tokens = 2; tokens < 20; tokens += 1)
    for (let maxLength = 2; maxLength < 20; maxLength += 1) {
      const ids = Array.from({ length: tokens }, (_, n) => n);
      const pieces = textPieces(ids, maxLength);
      assert.deepEqual(
        pieces.flatMap(({ responses }) => responses[0]!),
        ids.slice(1),
      );
      assert.equal(pieces.length, Math.ceil((tokens - 1) / (maxLength - 1)));
      let before = 0;
      for (const { promptIds, responses } of pieces) {
        assert.deepEqual(promptIds, [before]);
        assert.ok(1 + responses[0]!.length <= maxLength);
        before = responses[0]!.at(-1)!;
      }
    }
  const t = await tokenizer;
  const text = 'One two three four five';
  const rows = await readResponses(file('long.txt', text), t, { maxLength: 3, truncation: 'response-end' });
  assert.deepEqual(rows, textPieces([...t.encode(text), 50256], 3));
});

test('a text of millions of characters is encoded in stretches, with the ids of the whole', async () => {
  const t = await tokenizer;
  const text = readFileSync(join(root, 'docs', 'training.md'), 'utf8').slice(0, 30_000);
  const whole = t.encode(text);
  for (const stretch of [1, 2, 7, 1000]) assert.deepEqual(encodedLong(t, text, stretch), whole);
  // a tokenizer whose ids depend on what stands before a gap takes the text at once
  assert.deepEqual(encodedLong({ encode: () => [1], splitsAtGaps: false }, text, 7), [1]);
  const long = 'One two\n\n three. '.repeat(70_000);
  assert.throws(() => t.encode(long), /at most 1000000/);
  const ids = encodedLong(t, long);
  assert.equal(t.decode(ids), long);
  const [one, two] = [t.encode('One two\n\n three.'), t.encode(' One two\n\n three.')];
  assert.equal(ids.length, one.length + 69_999 * two.length + t.encode(' ').length);
});

test('what is wrong with a text is said, with its place', async () => {
  const t = await tokenizer;
  const refused = async (path: string, message: RegExp, read: typeof readResponses = readResponses) =>
    assert.rejects(read(path, t, options), (error: Error) => {
      assert.ok(error instanceof FileError);
      assert.match(error.message, message);
      assert.ok(!error.message.includes('\n'));
      return true;
    });
  await refused(file('f.jsonl', lines({ text: 'a' }, { text: '' })), /f\.jsonl: line 2: text is empty$/);
  await refused(file('g.jsonl', lines({ text: ['a'] })), /g\.jsonl: line 1: "text" is not a text$/);
  await refused(
    file('h.jsonl', lines({ text: '<|endoftext|>' })),
    /line 1: text is only an end-of-sequence token, so there is nothing to predict; leave the row out$/,
  );
  await refused(file('i.jsonl', lines({ text: null })), /line 1: has no "prompt"$/);
  await refused(file('j.txt', ''), /j\.txt: the text: text is empty$/);
  await refused(
    file('k.txt', Buffer.from('caf\xe9', 'latin1')),
    /k\.txt: is not UTF-8; convert it, .*: iconv -f latin1 -t UTF-8 FILE > converted\.txt$/,
  );
  await refused(file('l.txt', 'a\0b'), /l\.txt: holds a NUL byte, so it is not plain text; /);
  await refused(file('m.txt', 'One two'), /m\.txt: the text: has no "response"|has no "prompt"/, readCandidates);
  await assert.rejects(readPairs(file('n.txt', 'One two'), t, options), {
    message: /n\.txt: the text: has no "chosen"; it has text; a pair needs prompt/,
  });
});

test('data: plain texts, those that will be split, and their beginnings and ends', async () => {
  const t = await tokenizer;
  const long = ' word'.repeat(300);
  const path = file('texts.jsonl', lines({ text: 'One two' }, { text: long }, { text: 'One two' }));
  assert.deepEqual(
    (await readAny(path, t, { maxLength: Infinity })).map(({ kind, promptIds, responses }) => [
      kind,
      promptIds.length,
      responses[0]!.length,
    ]),
    [
      ['text', 1, 2],
      ['text', 1, 300],
      ['text', 1, 2],
    ],
  );
  const report = await dataReport(path, t, { blockSize: 256 });
  assert.deepEqual(report.kinds, { pair: 0, labeled: 0, response: 0, prompt: 0, text: 3 });
  assert.deepEqual([report.textLengths, report.promptLengths, report.responseLengths], [[3, 301, 3], [], []]);
  assert.deepEqual([report.tooLong, report.splitTexts, report.duplicates, report.repeatedPrompts], [1, 1, 1, 0]);

  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, 'lib', 'bin', 'alignbook.js'), 'data', path],
    { encoding: 'utf8' },
  );
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(stdout, /^3 plain texts, for train-sft\n/);
  assert.match(stdout, /^ {2}text: median 3, 95 % up to 301, longest 301$/m);
  assert.match(stdout, /^train-sft splits 1 plain text that long into pieces; no token is lost$/m);
  assert.match(stdout, /^text {12}3 {2}"One two<\|endoftext\|>"$/m);
  assert.match(stdout, /^text {10}301 {2}"( word){60}" … "( word){19}<\|endoftext\|>"$/m);
});

test('rows that are left out are counted among the rows of the file, not among the pieces of its texts', async (t) => {
  const said: string[] = [];
  t.mock.method(console, 'error', (line: string) => said.push(line));
  const path = file('left.jsonl', lines({ text: ' word'.repeat(50) }, { text: '' }, { text: 'One' }));
  const of = await tokenizer;
  const sizes = { blockSize: 10, vocabSize: of.vocabSize };
  const rows = await readData({ skipBad: true }, sizes, (more) => readResponses(path, of, more));
  assert.equal(rows.length, 6 + 1); // 50 tokens and an end: 50 predictions, 9 in a piece
  assert.match(said.join('\n'), /^left out: .*: line 2: text is empty\n1 of 3 rows left out$/);
});
