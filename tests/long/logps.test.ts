/**
 * `npx alignbook logps` on GPT-2s of several shapes that transformers saved, whole, in shards and in 16 bits, token by
 * token.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { root } from '../../scripts/paths';
import { sameLine, type Line } from '../logpsLines';
import { oracle } from './oracle';

/**
 * Float32 here, float64 there, on log-probs down to -19. Greatest difference seen: 2.9e-6; another processor sums in
 * another
 * order: allow four times that.
 */
const TOLERANCE = 1.2e-5;
const SHAPES = 6;

const CLI = join(root, 'lib', 'bin', 'alignbook.js');
const folder = mkdtempSync(join(tmpdir(), 'logps-'));
after(() => rmSync(folder, { recursive: true }));
before(() => oracle('logps.py', '--seed', process.env.LOGPS_SEED ?? '1', folder));

for (let shape = 0; shape < SHAPES; shape += 1) {
  test(`shape ${shape}: ids, tokens and log-probs are transformers'`, () => {
    const model = join(folder, `${shape}`);
    const sharded = readdirSync(model).includes('model.safetensors.index.json');
    assert.equal(sharded, shape === 0, 'the first is in shards');
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [CLI, 'logps', '--model', model, '--data', join(model, 'rows.jsonl'), '--batch-size', `${1 + shape}`],
      { encoding: 'utf8' },
    );
    assert.deepEqual([status, stderr], [0, '']);
    const expected = JSON.parse(readFileSync(join(model, 'expected.json'), 'utf8')) as Line[];
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
    assert.equal(lines.length, expected.length);
    const differences = lines.map((line, n) => sameLine(line, expected[n]!, TOLERANCE));
    const least = Math.min(...expected.flatMap(({ chosen, rejected }) => [...chosen.logps, ...rejected.logps]));
    console.log(
      `shape ${shape}: greatest difference of a token ${Math.max(...differences).toExponential(1)}, log-probs ` +
        `down to ${least.toFixed(1)}`,
    );
  });
}
