/**
 * Reading, encoding and the reference's log-probs of many pairs: beside the ids and the log-probs themselves, memory
 * does not grow with the number of rows.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { Random } from 'alignbook';

import { root } from '../../scripts/paths';

const folder = mkdtempSync(join(tmpdir(), 'many-'));
after(() => rmSync(folder, { recursive: true }));

const WORDS = 'the a word of more than one letter and some others that a reader may know from any text at all'.split(
  ' ',
);

function file(rows: number): string {
  const random = new Random(1);
  const some = (count: number) => Array.from({ length: count }, () => WORDS[random.integer(WORDS.length)]!).join(' ');
  const path = join(folder, `${rows}.jsonl`);
  const lines = Array.from({ length: rows }, (_, n) =>
    JSON.stringify({ prompt: `${some(40)} ${n}:`, chosen: ` ${some(12)}.`, rejected: ` ${some(11)}.` }),
  );
  writeFileSync(path, lines.join('\n'));
  return path;
}

const CODE = `
const { GPT2, readPairs, referenceLogps, Tokenizer } = require(${JSON.stringify(join(root, 'lib'))});
(async () => {
  const model = await GPT2.fromPretrained('tiny');
  const pairs = await readPairs(process.argv[1], await Tokenizer.fromPretrained('tiny'), { maxLength: 256 });
  const logps = referenceLogps(model, pairs);
  const lists = pairs.flatMap((pair) => [pair.promptIds, pair.chosenIds, pair.rejectedIds]);
  const ids = lists.reduce((sum, list) => sum + list.length, 0);
  console.log(JSON.stringify({ rows: logps.length, ids, peak: process.resourceUsage().maxRSS * 1024 }));
})();
`;

function measured(rows: number): { readonly rows: number; readonly ids: number; readonly peak: number } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', CODE, file(rows)], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as ReturnType<typeof measured>;
}

test('four times as many rows take the memory of their ids, twice at most', () => {
  const [some, many] = [measured(4000), measured(16_000)];
  assert.deepEqual([some.rows, many.rows], [4000, 16_000]);
  const grown = many.peak - some.peak;
  const ids = 8 * (many.ids - some.ids); // a number in a list of V8 takes 8 bytes
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);
  console.log(
    `${some.rows} rows: peak ${megabytes(some.peak)} MB; ${many.rows} rows: ${megabytes(many.peak)} MB; ` +
      `grown by ${megabytes(grown)} MB, the ids take ${megabytes(ids)} MB`,
  );
  // Lists that grow have spare room, and V8 collects garbage when it likes: 100 MB for that.
  assert.ok(grown < 2 * ids + 100e6, `grown by ${grown} bytes, ids ${ids}`);
});
