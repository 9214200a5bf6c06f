/** As tests/halfFloats.test.ts, on random patterns. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { writtenAs } from '../halves';
import { oracle } from './oracle';

const COUNT = 4_000_000;
const folder = mkdtempSync(join(tmpdir(), 'halves-'));
after(() => rmSync(folder, { recursive: true }));

test(`F16 and BF16 of ${COUNT} random float32 patterns are PyTorch's`, () => {
  const path = join(folder, 'expected');
  oracle('half_floats.py', '--count', `${COUNT}`, path);
  const { buffer } = Uint8Array.from(readFileSync(path));
  const values = new Float32Array(buffer, 0, COUNT);
  (['F16', 'BF16'] as const).forEach((dtype, n) => {
    const wanted = Buffer.from(buffer, COUNT * (4 + 2 * n), COUNT * 2);
    const { halves } = writtenAs(dtype, values, join(folder, 'file'));
    assert.ok(Buffer.from(halves.buffer).equals(wanted), dtype);
  });
});
