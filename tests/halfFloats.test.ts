/** The writer's F16 and BF16 against PyTorch's rounding, bit by bit: ties, overflow, subnormals, NaN. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { root } from '../scripts/paths';
import { writtenAs } from './halves';

const folder = mkdtempSync(join(tmpdir(), 'halves-'));
after(() => rmSync(folder, { recursive: true }));
const expected = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'half-floats.json'), 'utf8')) as Record<
  'F32' | 'F16' | 'BF16',
  number[]
>;
const values = new Float32Array(Uint32Array.from(expected.F32).buffer);

for (const dtype of ['F16', 'BF16'] as const) {
  test(`${dtype}: written with PyTorch's bits, read as the same numbers`, () => {
    const { halves, read } = writtenAs(dtype, values, join(folder, 'file'));
    halves.forEach((half, i) => assert.equal(half, expected[dtype][i], `${values[i]}`));
    const again = writtenAs(dtype, read, join(folder, 'file'));
    assert.deepEqual(again.read, read); // a number of that type is the same after writing and reading
    assert.ok(
      read.some((value) => value !== 0 && Math.abs(value) < 2 ** -14) &&
        read.includes(-Infinity) &&
        read.some(Number.isNaN),
      'the table has its edges',
    );
  });
}
