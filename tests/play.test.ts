/**
 * Notebooks are there to be played with: another prompt, a training that is stopped. No cell fails, and what is shown belongs to what
 * was changed. Numbers are transformers' in float64 (tests/oracles/play.py), within 1e-4 + 1e-5 of their size, as elsewhere between two
 * ways of adding up float32. The notebooks that train longer are played with in tests/long/play.test.ts.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { root } from '../scripts/notebooks/execute';
import { beyondFirst, play } from './play';
import { otherTexts, played } from './played';

const near = (got: number, want: number, what: string) => assert.ok(Math.abs(got - want) <= 1e-4 + 1e-5 * Math.abs(want), `${what}: ${got}, expected ${want}`);
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

test('notebook 3 with another prompt and another answer: its figure shows that answer, its means are of its tokens', () => {
  const seen = play('03-logprobs', { changes: { repeats: otherTexts } });
  const { data } = seen['picture']!.displays[0]!['application/vnd.plotly.v1+json'] as unknown as { data: { x: string[]; y: number[] }[] };
  assert.deepEqual(data[0]!.x, played.scoredTokens.map((token, n) => `${n} ${JSON.stringify(token).slice(1, -1)}`));
  for (const [n, wanted] of [played.before, played.itself].entries()) {
    assert.equal(data[n]!.y.length, wanted.length);
    data[n]!.y.forEach((value, t) => near(value, wanted[t]!, `bar ${t} of trace ${n}`));
  }
  const [, itself, next] = /itself: (\S+) a token\nnext: +(\S+) a token/.exec(seen['shift-model']!.stdout)!.map(Number);
  near(itself!, mean(played.itself), 'itself');
  near(next!, mean(played.before), 'next');
  near(Number(/loss: (\S+)/.exec(seen['check-corrected']!.stdout)![1]), -mean(played.before), 'loss');
  assert.match(seen['check-published']!.stdout, /the check sees wrong logits: fails/);
  assert.match(seen['check-corrected']!.stdout, /the check sees wrong logits: passes/);
});

test('notebook 6, every training stopped early: its cells tell of the policy as it is', () => {
  const seen = play('06-train-dpo', {
    changes: {
      data: [["readPairs(`${folder}/train.jsonl`, tokenizer, limit);", "(await readPairs(`${folder}/train.jsonl`, tokenizer, limit)).slice(0, 48);"], ['.slice(0, 96)', '.slice(0, 6)'], ['= await (await', '= (await']],
      questions: [['.slice(0, 100)', '.slice(0, 4)']],
      ask: [['maxNewTokens: 32', 'maxNewTokens: 8']],
      train: [['batchSize: 16', 'batchSize: 2'], ['validateEvery: 10', 'validateEvery: 50']],
    },
    stop: { train: beyondFirst(50), hasty: 'step 1 of 30', 'beta-1': 'step 1 of 30', 'beta-5': 'step 1 of 30', mean: 'step 1 of 50', baseline: 'step 1 of 50' },
  });
  const displayed = (id: string) => seen[id]!.displays.map((display) => display['text/plain']).join('\n');
  const [, stopped] = /interrupted after step (\d+) of 50/.exec(displayed('train'))!;
  assert.match(seen['losses']!.stdout, new RegExp(`^first step: loss 0\\.6931\\nvalidation after step ${stopped}: loss 0\\.\\d{4}\\nreward accuracy at least 0\\.95 from step none on: false\\n$`));
  assert.match(displayed('curves'), new RegExp(`^Curves of ${stopped} steps: `));
  assert.match(seen['beta-table']!.stdout, /^β = 0\.1: h = -?\d+\.\d nats, right .*\nβ = 1: .*\nβ = 5: .*\n$/);
});

test('notebook 8 shows how far its training is; stopped before the first validation it says so', () => {
  const folder = mkdtempSync(join(tmpdir(), 'play-'));
  try {
    const data = join(folder, 'pairs.jsonl');
    writeFileSync(data, readFileSync(join(root, 'data', 'preferences', 'validation.jsonl'), 'utf8').split('\n').slice(0, 50).join('\n'));
    const changes = { '*': [['../runs', folder]], settings: [['validateEvery: 5', 'validateEvery: 100'], ['epochs: 2', 'epochs: 8']], ask: [['maxNewTokens: 40', 'maxNewTokens: 4']] } as const;
    const seen = play('08-your-own-data', { changes, stop: { dpo: 'step 1 of 40' } }, '--env', `DATA=${data}`);
    const displayed = seen['dpo']!.displays.map((display) => display['text/plain']).join('\n');
    const [, stopped] = /interrupted after step (\d+) of 40/.exec(displayed)!;
    assert.ok(Number(stopped) < 40);
    assert.equal(seen['dpo-check']!.stdout, `stopped before the first validation, after step ${stopped}\n`);
    assert.equal(seen['reopen']!.stdout, 'the same log-probs: true\n');
    assert.ok(seen['dpo']!.drawn.filter((mimes) => mimes.includes('image/png')).length > 0); // the curve so far
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
