/** Where the time goes: the operations of a forward pass, counted by hand. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

import { GPT2, profile, profileTable, responseBatch } from 'alignbook';

import { root } from '../scripts/paths';

/** Those of matrices: of five tokens they may be this project's own operation. */
const productsIn = (ops: readonly { op: string; calls: number }[]): number =>
  ops.reduce((sum, { op, calls }) => sum + (op === 'MatMul' || op === 'AlignbookFewRows' ? calls : 0), 0);

test('a profile counts the operations inside it; one within it counts its own, also where it fails', async () => {
  const model = await GPT2.fromPretrained('tiny');
  const batch = responseBatch([{ promptIds: [1, 2, 3], responses: [[4, 5]] }]);
  const scored = () => model.score(batch).dispose();
  scored();
  const { ops, seconds, result } = await profile(async () => {
    scored();
    const inner = await profile(scored);
    await assert.rejects(
      profile(() => {
        throw new RangeError('wrong');
      }),
      RangeError,
    );
    scored(); // counted here again, after the inner ones have ended
    return productsIn(inner.ops);
  });
  scored();
  const products = 4 * model.config.nLayer + 1; // qkv, attention's output, up, down; and the head
  assert.deepEqual([productsIn(ops), result], [2 * products, products]);
  assert.equal(ops.find(({ op }) => op === 'Softmax')!.calls, 2 * model.config.nLayer);
  const inside = ops.reduce((sum, op) => sum + op.seconds, 0);
  assert.ok(inside > 0 && inside < seconds, `${inside} of ${seconds} s`);
  assert.deepEqual(
    ops.map((op) => op.seconds),
    ops.map((op) => op.seconds).sort((a, b) => b - a),
  );
  model.dispose();
});

test('the table: shares, the rest, the sum', () => {
  const table = profileTable({ seconds: 4, ops: [{ op: 'MatMul', calls: 12, seconds: 3 }] })
    .split('\n')
    .map((line) => line.trim().split(/  +/));
  assert.deepEqual(table, [
    ['MatMul', '75.0 %', '3.000 s', '12'],
    ['everything else', '25.0 %', '1.000 s'],
    ['in all', '100.0 %', '4.000 s'],
  ]);
});

test('any command takes --profile', () => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [
      join(root, 'lib', 'bin', 'alignbook.js'),
      'generate',
      '--model',
      'tiny',
      '--prompt',
      'A',
      '--max-new-tokens',
      '2',
      '--profile',
    ],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
  assert.match(stderr, /^BatchMatMulV2 +\d+\.\d % +\d+\.\d{3} s +\d+$/m);
  assert.doesNotMatch(stdout, /MatMul/);
});
