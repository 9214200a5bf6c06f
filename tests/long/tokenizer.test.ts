/**
 * The tokenizer against Python's tokenizers on many random strings, and on every character. TOKENIZER_SEED chooses
 * other strings.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { Tokenizer } from 'alignbook';
import { letters, numbers, spaces } from 'alignbook/dist/text/characterClasses';

import { oracle } from './oracle';

const COUNT = 20_000;
const SEED = process.env.TOKENIZER_SEED ?? '1';
const folder = mkdtempSync(join(tmpdir(), 'tokenizer-'));
after(() => rmSync(folder, { recursive: true }));

test(`${COUNT} random strings have Python's ids, and ${COUNT} lists of random ids its text, seed ${SEED}`, async () => {
  const path = join(folder, 'rows.jsonl');
  oracle('tokenizer.py', '--count', `${COUNT}`, '--seed', SEED, path);
  const rows = readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as [string, number[]]);
  assert.equal(rows.length, 2 * COUNT);
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  for (const [text, ids] of rows.slice(0, COUNT)) assert.deepEqual(tokenizer.encode(text), ids, JSON.stringify(text));
  for (const [text, ids] of rows) assert.equal(tokenizer.decode(ids), text, ids.join());
  assert.ok(
    rows.slice(COUNT).filter(([text]) => text.includes('\ufffd')).length > COUNT / 4,
    'many lists cut characters in two',
  );
});

test('letters, numbers and white space are the characters that Python takes for them', () => {
  const path = join(folder, 'classes.json');
  oracle('character_classes.py', path);
  assert.deepEqual({ letters, numbers, spaces }, JSON.parse(readFileSync(path, 'utf8')));
});
