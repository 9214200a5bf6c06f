/**
 * The reader against Python's safetensors on many thousand files, most of them damaged. FUZZ_COUNT and FUZZ_SEED choose
 * others.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { check, type SafetensorsCase } from '../safetensorsCases';
import { oracle } from './oracle';

const COUNT = Number(process.env.FUZZ_COUNT ?? 12_000);
const SEED = process.env.FUZZ_SEED ?? '1';

const folder = mkdtempSync(join(tmpdir(), 'safetensors-'));
after(() => rmSync(folder, { recursive: true }));

/** Every error that Python has for a file, by its message; those that serde_json finds begin with `JSON:`. */
const CLASSES = [
  'header too small',
  'header too large',
  'invalid header length',
  'invalid UTF-8 in header',
  'invalid offset for tensor',
  'invalid shape, data type, or offset for tensor',
  'incomplete metadata, file not fully covered',
  'overflow computing buffer size',
  'The slice is slicing for subbytes dtypes',
  ...[
    'EOF while parsing',
    'control character',
    'duplicate field',
    'expected `,` or `]`',
    'expected `,` or `}`',
    'expected `:`',
    'expected ident',
    'expected value',
    'invalid escape',
    'invalid length',
    'invalid number',
    'invalid type',
    'invalid value',
    'key must be a string',
    'lone leading surrogate in hex escape',
    'missing field',
    'number out of range',
    'recursion limit exceeded',
    'trailing characters',
    'trailing comma',
    'unexpected end of hex escape',
    'unknown variant',
  ].map((name) => `JSON: ${name}`),
];

test(`${COUNT} files are read or refused as Python does it, seed ${SEED}`, () => {
  const path = join(folder, 'cases.jsonl');
  oracle('safetensors_cases.py', '--count', `${COUNT}`, '--seed', SEED, path);
  const cases = readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as SafetensorsCase);
  assert.equal(cases.length, COUNT);
  for (const item of cases) check(item, join(folder, 'case.safetensors'));

  const counts = new Map<string, number>();
  for (const { error, stricter } of cases) {
    const verdict = error ?? (stricter === null ? 'read' : `read by Python alone: ${stricter}`);
    counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  }
  for (const [verdict, count] of [...counts].sort(([a], [b]) => (a < b ? -1 : 1)))
    console.log(`${`${count}`.padStart(6)}  ${verdict}`);

  const share = (holds: (item: SafetensorsCase) => boolean) => cases.filter(holds).length / COUNT;
  assert.ok(share(({ kind }) => kind !== 'sound' && kind !== 'file') >= 0.5, 'half have a changed header');
  assert.ok(share(({ error }) => error !== null) >= 0.4, 'Python refuses 40 %');
  assert.ok(share(({ tensors }) => tensors !== null) >= 0.2, 'a fifth is read');
  for (const name of CLASSES) assert.ok(counts.has(name), `no case reaches Python's error "${name}"`);
});
