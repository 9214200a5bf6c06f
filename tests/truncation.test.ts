/** Rows longer than the limit, held to TRL's collator where the two do the same (tests/oracles/dataset.py). */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { readPairs, readResponses, Tokenizer, type PairIds, type Truncation } from 'alignbook';

import { root } from '../scripts/paths';

interface Sequence {
  ids: number[];
  /** 1 on the response. */
  mask: number[];
}
type Cut = { chosen: Sequence; rejected: Sequence };
interface Fixture {
  maxLength: number;
  rows: { prompt: string; chosen: string; rejected: string }[];
  keep_start: (Cut | null)[];
  keep_end: Cut[];
}
const { truncation: fixture } = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'dataset.json'), 'utf8')) as {
  truncation: Fixture;
};
const { maxLength, rows } = fixture;

const folder = mkdtempSync(join(tmpdir(), 'truncation-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'rows.jsonl');
const tokenizer = Tokenizer.fromPretrained('tiny');

const sequence = (promptIds: readonly number[], ids: readonly number[]): Sequence => ({
  ids: [...promptIds, ...ids],
  mask: [...promptIds.map(() => 0), ...ids.map(() => 1)],
});
const sequences = ({ promptIds, chosenIds, rejectedIds }: PairIds): Cut => ({
  chosen: sequence(promptIds, chosenIds),
  rejected: sequence(promptIds, rejectedIds),
});

/** A row alone: the pair, or why it is refused. */
async function pairOf(row: object, truncation?: Truncation, limit = maxLength): Promise<PairIds | string> {
  writeFileSync(path, JSON.stringify(row));
  return readPairs(path, await tokenizer, { maxLength: limit, ...(truncation && { truncation }) }).then(
    ([pair]) => pair!,
    (error: Error) => error.message.replace(`${path}: line 1: `, ''),
  );
}
async function responseOf(
  { prompt, chosen }: { prompt: string; chosen: string },
  truncation: Truncation,
): Promise<Sequence | string> {
  writeFileSync(path, JSON.stringify({ prompt, response: chosen }));
  return readResponses(path, await tokenizer, { maxLength, truncation }).then(
    ([row]) => sequence(row!.promptIds, row!.responses[0]!),
    (error: Error) => error.message,
  );
}

test(
  "response-end is TRL's keep_start, and refuses the " + 'rows that TRL drops and those that it makes the same',
  async () => {
    const seen = { cut: 0, dropped: 0, same: 0 };
    for (const [n, row] of rows.entries()) {
      const [made, kept] = [await pairOf(row, 'response-end'), fixture.keep_start[n]!];
      if (kept === null) {
        assert.match(made as string, /^a prompt of \d+ tokens leaves no room for a response, the limit is 12; /);
        assert.match(
          (await responseOf(row, 'response-end')) as string,
          /a prompt of \d+ tokens leaves no room for a response/,
        );
        seen.dropped += 1;
        continue;
      }
      assert.deepEqual(await responseOf(row, 'response-end'), kept.chosen);
      if (kept.chosen.ids.join() === kept.rejected.ids.join()) {
        assert.match(
          made as string,
          /^chosen and rejected are the same after truncation, so the pair prefers nothing; leave it out$/,
        );
        seen.same += 1;
      } else {
        assert.deepEqual(sequences(made as PairIds), kept);
        if (kept.chosen.ids.length === maxLength && kept.chosen.ids.at(-1) !== 50256) seen.cut += 1;
      }
    }
    for (const [what, count] of Object.entries(seen)) assert.ok(count > 0, what);
  },
);

test("prompt-start is TRL's keep_end for the longer response, and gives the other one the same prompt", async () => {
  let [cut, shared] = [0, 0];
  for (const [n, row] of rows.entries()) {
    const [made, kept] = [sequences((await pairOf(row, 'prompt-start')) as PairIds), fixture.keep_end[n]!];
    assert.deepEqual(await responseOf(row, 'prompt-start'), kept.chosen);
    const [longer, shorter] =
      made.chosen.ids.length >= made.rejected.ids.length
        ? (['chosen', 'rejected'] as const)
        : (['rejected', 'chosen'] as const);
    assert.deepEqual(made[longer], kept[longer]);
    // TRL keeps more of the prompt for the shorter one.
    const more = kept[shorter].ids.length - made[shorter].ids.length;
    assert.deepEqual({ ids: kept[shorter].ids.slice(more), mask: kept[shorter].mask.slice(more) }, made[shorter]);
    assert.ok(made[longer].ids.length <= maxLength && more >= 0);
    if (made[longer].ids.length === maxLength) cut += 1;
    if (more > 0) shared += 1;
  }
  assert.ok(cut > 0 && shared > 0);
});

test(
  'refuse is the default; at the limit nothing is ' + 'cut, beyond it at least one token of each text stays',
  async () => {
    const row = { prompt: ' a b c', chosen: ' d e', rejected: ' f' }; // 3 tokens, 2 and 1 with their end
    const whole = { promptIds: [257, 275, 269], chosenIds: [288, 304, 50256], rejectedIds: [277, 50256] };
    for (const truncation of ['refuse', 'prompt-start', 'response-end'] as const)
      assert.deepEqual(await pairOf(row, truncation, 6), whole);
    assert.equal(await pairOf(row, undefined, 5), '6 tokens, the limit is 5; shorten its texts or leave it out');
    assert.deepEqual(await pairOf(row, 'prompt-start', 4), { ...whole, promptIds: [269] });
    assert.match(
      (await pairOf(row, 'prompt-start', 3)) as string,
      /^a response of 3 tokens leaves no room for the prompt, the limit is 3; shorten it or leave the row out$/,
    );
    assert.deepEqual(await pairOf(row, 'response-end', 5), { ...whole, chosenIds: [288, 304] });
    assert.deepEqual(await pairOf(row, 'response-end', 4), { ...whole, chosenIds: [288], rejectedIds: [277] });
    assert.match(
      (await pairOf(row, 'response-end', 3)) as string,
      /^a prompt of 3 tokens leaves no room for a response, the limit is 3; shorten it or leave the row out$/,
    );
    assert.match(
      (await pairOf({ ...row, rejected: ' d f' }, 'response-end', 4)) as string,
      /^chosen and rejected are the same after truncation/,
    );
    assert.equal(
      await pairOf(row, 'keep_end' as Truncation),
      'truncation must be one of refuse, prompt-start, response-end, got "keep_end"',
    );
  },
);
