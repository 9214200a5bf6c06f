/**
 * The notebooks that are not in tests/play.test.ts, played with in the same way: other texts, another β, every training
 * stopped, every cell twice.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { root } from '../../scripts/paths';
import type { Reply, Seen } from '../kernel';
import { beyondFirst, play } from '../play';
import { otherTexts, played } from '../played';

const near = (got: number, want: number, within: number, what: string) =>
  assert.ok(Math.abs(got - want) <= within, `${what}: ${got}, expected ${want}`);
const displayed = (cell: Seen & Reply) => cell.displays.map((display) => display['text/plain']).join('\n');
/** What the library corrects holds for any texts and any β. */
function corrected(seen: Record<string, Seen & Reply>, atLeast: number): void {
  const lines = Object.values(seen)
    .flatMap(({ stdout }) => stdout.split('\n'))
    .filter((line) => line.startsWith('corrected'));
  assert.ok(lines.length >= atLeast, `${lines.length} corrected forms`);
  assert.deepEqual(
    lines.filter((line) => !line.endsWith(': passes')),
    [],
  );
}

test("notebook 1 with other texts, every cell twice: the tokens are the answer's, from its first", () => {
  const seen = play('01-tokenize', { changes: { 'in-2': otherTexts }, twice: true });
  assert.equal(seen['tokens']!.stdout, `${played.rejectedTokens.join('|')}\n`);
});

test('notebook 2 with other texts, every cell twice', () => {
  const seen = play('02-pad-and-mask', { changes: { repeats: otherTexts }, twice: true });
  assert.equal(
    seen['scored']!.stdout.split('\n')[0],
    `chosen, ${played.scoredTokens.length} tokens: ${JSON.stringify(played.scoredTokens.join(''))}`,
  );
  assert.match(
    seen['template-corrected']!.stdout,
    new RegExp(`tokens: ${JSON.stringify(`${played.chosen}<|endoftext|>`).replace(/[|]/g, '\\|')}`),
  );
  corrected(seen, 3);
});

test('notebook 3, every cell twice', () => {
  corrected(play('03-logprobs', { changes: { repeats: otherTexts }, twice: true }), 4);
});

test('notebook 4 with other texts and another β, every cell twice', () => {
  const seen = play('04-dpo-loss', {
    changes: { repeats: otherTexts, pair: [['beta = 0.1', `beta = ${played.beta}`]] },
    twice: true,
  });
  const wanted = played.lossAt6.toFixed(6);
  assert.match(seen['ln2-corrected']!.stdout, new RegExp(`^loss at h = 6: ${wanted}, by hand ${wanted}\n`));
  // β times 6 nats.
  assert.match(seen['rewards-corrected']!.stdout, new RegExp(`^margin 3\\.0000, -log sigmoid\\(margin\\) ${wanted}\n`));
  const [chosen, rejected] = ['chosen', 'rejected'].map((name) =>
    Number(new RegExp(`^${name}: +(\\S+)`, 'm').exec(seen['batch-logps']!.stdout)![1]),
  );
  near(chosen!, played.chosenLogp, 1e-3, 'chosen'); // printed with three places
  near(rejected!, played.rejectedLogp, 1e-3, 'rejected');
  corrected(seen, 5);
});

test('notebook 5 with other texts and another action, every cell twice', () => {
  const seen = play('05-ppo-loss', {
    changes: {
      repeats: otherTexts.slice(1),
      'ratio-gradient': [["tf.tensor1d([1], 'int32')", "tf.tensor1d([2], 'int32')"]],
    },
    twice: true,
  });
  // Logits 1 2 1 1, then 1 4 1 1; action 2 has e of all, before and after.
  const ratio = (3 * Math.E + Math.E ** 2) / (3 * Math.E + Math.E ** 4);
  near(Number(/^ratio (\S+),/.exec(seen['ratio-corrected']!.stdout)![1]), ratio, 1e-4, 'ratio');
});

test('notebook 6, every training stopped early: its cells tell of the policy as it is', () => {
  const seen = play('06-train-dpo', {
    changes: {
      data: [
        ["read('train', 800)", "read('train', 48)"],
        ["read('validation', 96)", "read('validation', 6)"],
      ],
      questions: [['.slice(0, 100)', '.slice(0, 4)']],
      ask: [['maxNewTokens: 32', 'maxNewTokens: 8']],
      train: [
        ['batchSize: 16', 'batchSize: 2'],
        ['validateEvery: 10', 'validateEvery: 50'],
      ],
      hasty: [['batchSize: 8', 'batchSize: 2']],
    },
    stop: {
      train: beyondFirst(50),
      hasty: 'step 1 of 30',
      'beta-1': 'step 1 of 30',
      'beta-5': 'step 1 of 30',
      mean: 'step 1 of 50',
      baseline: 'step 1 of 50',
    },
  });
  const displayed = (id: string) => seen[id]!.displays.map((display) => display['text/plain']).join('\n');
  const [, stopped] = /interrupted after step (\d+) of 50/.exec(displayed('train'))!;
  assert.match(
    seen['losses']!.stdout,
    new RegExp(`^first step: loss 0\\.6931\\nvalidation after step ${stopped}: loss 0\\.\\d{4}\\n$`),
  );
  assert.equal(displayed('accuracy'), ''); // stopped before the first validation
  assert.match(displayed('curves-figure'), new RegExp(`^Curves of ${stopped} steps: `));
  assert.match(displayed('beta-table'), /^ *β .*\n *0\.1 +-?\d.*\n *1 .*\n *5 .*$/);
});

test('notebook 7, its trainings stopped', () => {
  const seen = play('07-loss-atlas', {
    changes: {
      'flip-data': [
        ["read('train', 160)", "read('train', 40)"],
        ["read('validation', 100)", "read('validation', 4)"],
      ],
    },
    stop: {
      'flip-sigmoid': beyondFirst(30),
      'flip-cdpo': 'step 1 of 30',
      'flip-robust': 'step 1 of 30',
      'flip-ipo': 'step 1 of 30',
    },
  });
  assert.match(displayed(seen['flip-sigmoid']!), /interrupted after step \d+ of 30/);
  assert.match(seen['flip-data']!.stdout, /^40 pairs to train on, 8 of them flipped/);
  assert.match(displayed(seen['flip-table']!), /^ipo +flipped +\d/m);
});

test('notebook 8 shows how far its training is; stopped before the first validation it says so', () => {
  const folder = mkdtempSync(join(tmpdir(), 'play-'));
  try {
    const data = join(folder, 'pairs.jsonl');
    writeFileSync(
      data,
      readFileSync(join(root, 'data', 'preferences', 'validation.jsonl'), 'utf8')
        .split('\n')
        .slice(0, 50)
        .join('\n'),
    );
    const changes = {
      '*': [['../runs', folder]],
      settings: [
        ['validateEvery: 5', 'validateEvery: 100'],
        ['epochs: 2', 'epochs: 8'],
      ],
      ask: [['maxNewTokens: 40', 'maxNewTokens: 4']],
    } as const;
    const stop = { dpo: 'step 1 of 40', 'thumbs-dpo': 'step 1 of 12', 'thumbs-kto': 'step 1 of 12' };
    const seen = play('08-your-own-data', { changes, stop }, '--env', `DATA=${data}`);
    const [, stopped] = /interrupted after step (\d+) of 40/.exec(displayed(seen['dpo']!))!;
    assert.ok(Number(stopped) < 40);
    assert.equal(seen['dpo-check']!.stdout, `stopped before the first validation, after step ${stopped}\n`);
    assert.equal(seen['reopen']!.stdout, '0\n');
    assert.match(seen['report']!.stdout, /^50 pairs, for train-dpo/);
    assert.equal(seen['thumbs']!.stdout, '40 pairs are 80 rows, 40 with a thumb up\n');
    assert.match(displayed(seen['thumbs-table']!), /^KTO, thumbs +-?\d(\.\d\d)? +\d/m);
    assert.ok(seen['dpo']!.drawn.filter((mimes) => mimes.includes('image/png')).length > 0); // the curve so far
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('notebook 9, its training stopped, the normalization twice', () => {
  const changes = { data: [['.slice(0, 96)', '.slice(0, 8)']] } as const;
  const seen = play('09-reward-model', { changes, stop: { train: beyondFirst(50) } });
  assert.match(displayed(seen['train']!), /interrupted after step \d+ of 50/);
  assert.match(displayed(seen['losses']!), /^trained +\d/m);
  const again = play('09-reward-model', {
    changes: {
      ...changes,
      normalize: [
        [
          'judge.normalize(found);',
          'judge.normalize(found);\njudge.normalize(scoreNormalization(judge, samples.slice(0, ' +
            '4)));\njudge.normalize(scoreNormalization(judge, samples));',
        ],
      ],
    },
    stop: { train: beyondFirst(50) },
  });
  assert.match(displayed(again['normalize']!), /^after +0(\.00)? +1(\.00)?$/m);
});

test('notebook 10, its trainings stopped', () => {
  const seen = play('10-train-ppo', {
    changes: { options: [['batchSize: 32', 'batchSize: 8']], questions: [['.slice(0, 100)', '.slice(0, 8)']] },
    stop: { train: beyondFirst(10), hack: 'step 1 of 5', held: 'step 1 of 5', value: 'step 1 of 5' },
  });
  assert.match(displayed(seen['train']!), /interrupted after step \d+ of 10/);
  assert.match(seen['padding']!.stdout, /^\d+ tokens on 8 x \d+ positions/);
  assert.match(displayed(seen['value-numbers']!), /^iteration .*score, 10\n +1 /);
});

test('notebook 10 with another λ: by hand and by the library it is the same', () => {
  const seen = play('10-train-ppo', {
    changes: {
      options: [
        ['gaeLambda: 0.95', 'gaeLambda: 0.5'],
        ['batchSize: 32', 'batchSize: 8'],
      ],
      questions: [['.slice(0, 100)', '.slice(0, 4)']],
    },
    stop: { train: beyondFirst(10), hack: 'step 1 of 5', held: 'step 1 of 5', value: 'step 1 of 5' },
  });
  const rows = displayed(seen['gae']!).split('\n').slice(1);
  assert.ok(rows.length > 1);
  for (const row of rows) assert.match(row, / (\S+) +\1$/); // by hand, library
  assert.match(seen['padding-score']!.stdout, /\n0\.5 to the power of \d+: /);
  const [wrong, power] = [/wrong mask: (\S+)/, /power of \d+: (\S+)/].map(
    (line) => line.exec(seen['padding-score']!.stdout)![1],
  );
  assert.equal(wrong, power);
});

test('notebook 11, its trainings stopped, with two samples a prompt', () => {
  const seen = play('11-dpo-or-ppo', {
    changes: {
      reviews: [["read('test')", "read('test').slice(0, 8)"]],
      samples: [
        ['perPrompt = 4', 'perPrompt = 2'],
        ['.slice(0, 64)', '.slice(0, 16)'],
      ],
    },
    stop: { sft: beyondFirst(100), dpo: 'step 1 of 15', grpo: 'step 1 of 8' },
  });
  assert.match(displayed(seen['sft']!), /interrupted after step \d+ of 100/);
  assert.match(seen['pairs']!.stdout, /^\d+ of 16 pairs differ\n$/);
  assert.match(displayed(seen['best-of-n']!), /\n +1 .*\n +2 [^\n]*$/);
  assert.match(displayed(seen['measure']!), /^best of 2 /m);
});
