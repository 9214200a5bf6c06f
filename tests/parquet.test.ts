/** Parquet files as pyarrow writes them (tests/oracles/dataset.py): the same rows as from JSON lines, or one error. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { FileError, readPairs, readResponses, Tokenizer } from 'alignbook';
import { parquetRows } from 'alignbook/dist/text/parquet';

import { root } from '../scripts/paths';

const FIXTURES = join(root, 'tests', 'fixtures');
const { files } = JSON.parse(readFileSync(join(FIXTURES, 'dataset.json'), 'utf8')) as {
  files: Record<string, object[]>;
};
const parquet = (name: string) => join(FIXTURES, 'parquet', `${name}.parquet`);

const folder = mkdtempSync(join(tmpdir(), 'parquet-'));
after(() => rmSync(folder, { recursive: true }));
const path = (name: string) => join(folder, name);
const options = { maxLength: 256 };
const tokenizer = Tokenizer.fromPretrained('tiny');

for (const [name, read] of [
  ['none', readPairs],
  ['snappy', readPairs],
  ['zstd', readPairs],
  ['gzip', readResponses],
  ['brotli', readResponses],
] as const) {
  test(`${name}: the rows of every row group, as from JSON lines`, async () => {
    writeFileSync(path('rows.jsonl'), files[name]!.map((row) => JSON.stringify(row)).join('\n'));
    const rows = await read(parquet(name), await tokenizer, options);
    assert.deepEqual(rows, await read(path('rows.jsonl'), await tokenizer, options));
    assert.ok(rows.length >= 3, 'more than one row group of two');
  });
}

for (const [name, read, kept] of [
  ['bad', readPairs, 2],
  ['badMessages', readResponses, 2],
] as const) {
  test(`${name}: a row that is wrong is refused by its number, for the same reasons as in JSON lines`, async () => {
    writeFileSync(path('bad.jsonl'), files[name]!.map((row) => JSON.stringify(row)).join('\n'));
    const told = async (file: string) => {
      const errors: string[] = [];
      const rows = await read(file, await tokenizer, {
        ...options,
        onBadRow: ({ message }) => errors.push(message.replace(`${file}: `, '')),
      });
      assert.equal(rows.length, kept);
      return errors;
    };
    const errors = await told(parquet(name));
    assert.deepEqual(
      errors,
      (await told(path('bad.jsonl'))).map((error) => error.replace(/^line/, 'row')),
    );
    assert.deepEqual(
      errors.map((error) => error.split(':')[0]),
      files[name]!.slice(kept).map((_, n) => `row ${n + 2}`),
    );
    await assert.rejects(
      read(parquet(name), await tokenizer, options),
      (error) => error instanceof FileError && error.message === `${parquet(name)}: ${errors[0]}`,
    );
  });
}

test('a text that is not UTF-8 loses its row alone', async () => {
  const told: string[] = [];
  const pairs = await readPairs(parquet('notUtf8'), await tokenizer, {
    ...options,
    onBadRow: ({ message }) => told.push(message),
  });
  assert.deepEqual(told, [`${parquet('notUtf8')}: row 2: "prompt" is not UTF-8`]);
  assert.deepEqual(
    pairs.map(({ promptIds }) => promptIds),
    [[64], [65]],
  );
});

test('Parquet is known by its name or its first bytes, and not read from a pipe', async () => {
  copyFileSync(parquet('none'), path('no-ending'));
  assert.equal((await readPairs(path('no-ending'), await tokenizer, options)).length, 5);
  const command = [join(root, 'lib', 'bin', 'alignbook.js'), 'logps', '--model', 'tiny', '--data', '-'];
  const { status, stderr } = spawnSync(process.execPath, command, {
    encoding: 'utf8',
    input: readFileSync(parquet('none')),
  });
  assert.deepEqual(
    [status, stderr],
    [1, 'alignbook: standard input: is Parquet, which is read from its end: give a file, not a pipe\n'],
  );
});

test('no rows, no such column, no such file', async () => {
  await assert.rejects(readPairs(parquet('empty'), await tokenizer, options), /empty\.parquet: has no rows$/);
  await assert.rejects(readPairs(parquet('gzip'), await tokenizer, options), /gzip\.parquet: row 1: has no "chosen"$/);
  await assert.rejects(
    readPairs(parquet('badMessages'), await tokenizer, options),
    /badMessages\.parquet: row 1: has no "chosen"$/,
  );
  await assert.rejects(
    readPairs(path('absent.parquet'), await tokenizer, options),
    /absent\.parquet: cannot be read \(ENOENT.*\)$/,
  );
});

test('damage that shows is one FileError, wherever it is', async () => {
  const whole = readFileSync(parquet('snappy'));
  const damaged = path('damaged.parquet');
  const refused = async (bytes: Uint8Array, message: RegExp) => {
    writeFileSync(damaged, bytes);
    await assert.rejects(
      readPairs(damaged, await tokenizer, options),
      (error) => error instanceof FileError && error.path === damaged && message.test(error.message),
      `${bytes.length} bytes`,
    );
  };
  for (const length of [0, 3, 4, 11, 100, whole.length - 1])
    await refused(whole.subarray(0, length), /damaged\.parquet: cannot be read as Parquet \(.+\)$/);
  await refused(Buffer.from('{"prompt":"a","chosen":"b","rejected":"c"}'), /cannot be read as Parquet/);
  // The first page, the beginning of the schema in the footer, the length of the footer.
  for (const at of [4, 30, whole.length - whole.readUInt32LE(whole.length - 8) - 4, whole.length - 7]) {
    await refused(
      Buffer.concat([whole.subarray(0, at), Buffer.alloc(4, 0xff), whole.subarray(at + 4)]),
      /cannot be read as Parquet/,
    );
  }
  // A column in a row group that the schema does not name.
  const renamed = Buffer.from(whole);
  renamed.write('x', whole.lastIndexOf('rejected'));
  await refused(renamed, /cannot be read as Parquet \(parquet struct missing child data\)$/);
});

test('a wrong count that would keep hyparquet busy for hours ends when patience does', async () => {
  const bytes = readFileSync(parquet('none'));
  // "two values that are there": 2 bytes, a run of 2, level 1
  const levels = bytes.indexOf(Buffer.of(2, 0, 0, 0, 4, 1));
  bytes.set([0xfe, 0xff, 0xff, 0xff, 0x07], levels + 4); // a run of 2^30
  writeFileSync(path('endless.parquet'), bytes);
  const rows = parquetRows(path('endless.parquet'), ['id', 'prompt', 'chosen', 'rejected'], 2000);
  await assert.rejects(
    rows.next(),
    (error) =>
      error instanceof FileError &&
      error.message.endsWith('endless.parquet: cannot be read as Parquet (not decoded in 2 s)'),
  );
});
