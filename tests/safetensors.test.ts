import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { FileError, SafetensorsFile, writeSafetensors } from 'alignbook';
import { float32ToBfloat16, float32ToFloat16 } from 'alignbook/dist/formats/halfFloats';

import { root } from '../scripts/paths';
import { check, type SafetensorsCase } from './safetensorsCases';

const FIXTURES = join(root, 'tests', 'fixtures', 'gpt2');
const folder = mkdtempSync(join(tmpdir(), 'safetensors-'));
after(() => rmSync(folder, { recursive: true }));

/** A file made of a header and data; `length` overrides the header length stated in the prefix. */
function fileOf(header: unknown, data: Uint8Array = new Uint8Array(0), { length }: { length?: bigint } = {}): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(json.length));
  const path = join(folder, 'file.safetensors');
  writeFileSync(path, Buffer.concat([prefix, json, data]));
  return path;
}

const f32 = (shape: number[], begin: number, end: number) => ({ dtype: 'F32', shape, data_offsets: [begin, end] });

test('reads what Python wrote: names, shapes, metadata', () => {
  using file = new SafetensorsFile(join(FIXTURES, 'float16.safetensors'));
  assert.deepEqual(file.metadata, { format: 'pt' });
  assert.equal(file.tensors.get('wte.weight')!.dtype, 'F16');
  assert.deepEqual(file.tensors.get('h.0.attn.c_attn.weight')!.shape, [15, 45]);
  assert.equal(file.tensors.size, 3 * 12 + 4);
});

test('F16 and BF16 are read as the same numbers in float32', () => {
  // By IEEE 754: the sign, exponent and fraction of each pattern, computed by hand.
  const half: [number, number][] = [
    [0x0000, 0],
    [0x8000, -0],
    [0x3c00, 1],
    [0xc000, -2],
    [0x3555, 0.333251953125],
    [0x7bff, 65504],
    [0x0400, 2 ** -14],
    [0x0001, 2 ** -24],
    [0x83ff, -1023 * 2 ** -24],
    [0x7c00, Infinity],
    [0xfc00, -Infinity],
    [0x7e00, NaN],
  ];
  const brain: [number, number][] = [
    [0x0000, 0],
    [0x8000, -0],
    [0x3f80, 1],
    [0xc000, -2],
    [0x3eab, 0.333984375],
    [0x7f7f, 3.3895313892515355e38],
    [0x0001, 2 ** -133],
    [0x7f80, Infinity],
    [0xff80, -Infinity],
    [0x7fc0, NaN],
  ];
  for (const [dtype, table] of [
    ['F16', half],
    ['BF16', brain],
  ] as const) {
    const bytes = new Uint8Array(Uint16Array.from(table, ([bits]) => bits).buffer);
    using file = new SafetensorsFile(
      fileOf({ x: { dtype, shape: [table.length], data_offsets: [0, bytes.length] } }, bytes),
    );
    assert.deepEqual(
      [...file.float32('x')],
      table.map(([, value]) => value),
      dtype,
    );
  }
});

test('a part of a tensor is read into an array of its length, from any type', () => {
  const values = Float32Array.of(0.5, -1, 2, 96, 0.25); // exact in 8 bits of fraction
  for (const [dtype, stored] of [
    ['F32', values],
    ['F16', float32ToFloat16(values)],
    ['BF16', float32ToBfloat16(values)],
  ] as const) {
    const bytes = new Uint8Array(stored.buffer);
    using file = new SafetensorsFile(
      fileOf(
        { before: f32([1], 0, 4), x: { dtype, shape: [5], data_offsets: [4, 4 + bytes.length] } },
        Buffer.concat([Buffer.alloc(4), bytes]),
      ),
    );
    const array = new Float32Array(6);
    const part = array.subarray(2, 5);
    assert.equal(file.readFloat32('x', 1, part), part);
    assert.deepEqual(array, Float32Array.of(0, 0, -1, 2, 96, 0), dtype);
  }
});

test('what is written is read back, scalars and empty tensors too', () => {
  const path = join(folder, 'written.safetensors');
  writeSafetensors(path, [
    { name: 'matrix', shape: [2, 3], values: Float32Array.of(1, -2, 3.5, 0, -0, 1e-40) },
    { name: 'scalar', shape: [], values: Float32Array.of(7) },
    { name: 'empty', shape: [0, 4], values: new Float32Array(0) },
  ]);
  using file = new SafetensorsFile(path);
  assert.deepEqual(file.float32('matrix'), Float32Array.of(1, -2, 3.5, 0, -0, 1e-40));
  assert.deepEqual(file.float32('scalar'), Float32Array.of(7));
  assert.deepEqual(file.tensors.get('empty')!.shape, [0, 4]);
  assert.equal((8 + Number(readFileSync(path).readBigUInt64LE())) % 8, 0, 'data begin at a multiple of 8 bytes');
});

test('a write that fails leaves the old file and no temporary one', () => {
  const path = join(folder, 'kept.safetensors');
  writeSafetensors(path, [{ name: 'x', shape: [1], values: Float32Array.of(1) }]);
  const before = readFileSync(path);
  const unreadable = {
    name: 'x',
    shape: [1],
    get values(): Float32Array {
      throw new Error('disk');
    },
  };
  assert.throws(() => writeSafetensors(path, [unreadable]));
  assert.throws(() => writeSafetensors(join(folder, 'no', 'such', 'folder'), []));
  assert.deepEqual(readFileSync(path), before);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.endsWith('.tmp')),
    [],
  );
});

test('a malformed file is refused, with its path and the reason', () => {
  const four = new Uint8Array(4);
  const refused = (path: string, reason: RegExp) =>
    assert.throws(
      () => new SafetensorsFile(path),
      (error) => error instanceof FileError && error.path === path && reason.test(error.message),
      `${reason}`,
    );

  refused(join(folder, 'absent'), /cannot be opened \(ENOENT\)/);
  writeFileSync(join(folder, 'short'), 'abc');
  refused(join(folder, 'short'), /3 bytes, too short/);
  refused(fileOf('', four, { length: 2n ** 63n }), /a header of 9223372036854775808 bytes/);
  refused(fileOf('{}', four, { length: 100n }), /cut short: a header of 100 bytes/);
  refused(fileOf('{"x"'), /header is not JSON/);
  refused(fileOf(`{"x":[${'0,'.repeat(4_000_000)}0]}`), /it holds more than 4000000 values at character \d+$/);
  refused(folder, /is not a file$/);
  refused(fileOf('[]'), /header is not a JSON object/);
  refused(fileOf(' {}'), /header is not a JSON object/);
  refused(fileOf('\ufeff{}'), /header is not JSON/);
  refused(fileOf({ __metadata__: { a: 1 } }), /__metadata__ is not a map of strings/);
  refused(fileOf({ x: null }), /tensor "x" is not described by an object/);
  refused(fileOf({ x: { ...f32([1], 0, 4), dtype: 'F31' } }, four), /unknown dtype "F31"/);
  refused(fileOf({ x: { ...f32([1], 0, 4), dtype: 'toString' } }, four), /unknown dtype "toString"/);
  refused(fileOf({ x: f32([-1], 0, 4) }, four), /bad shape \[-1\]/);
  refused(fileOf({ x: f32([0.5], 0, 4) }, four), /bad shape \[0\.5\]/);
  refused(fileOf({ x: { dtype: 'F32', shape: [1], data_offsets: [0] } }, four), /bad data_offsets \[0\]/);
  refused(fileOf({ x: f32([2], 0, 4) }, four), /takes 4 bytes, but F32 \[2\] needs 8/);
  refused(fileOf({ x: f32([2 ** 40, 2 ** 40], 0, 4) }, four), /takes 4 bytes/);
  refused(
    fileOf({ x: f32([2 ** 40, 2 ** 40, 0], 0, 0) }),
    /takes 0 bytes, but F32 \[\d+, \d+, 0\] needs 2\^64 or more/,
  );
  // nothing overflows: it is 0 from the start
  new SafetensorsFile(fileOf({ x: f32([0, 2 ** 40, 2 ** 40], 0, 0) }))[Symbol.dispose]();
  refused(fileOf({ x: f32([1], 4, 8) }, new Uint8Array(8)), /tensor "x" begins at 4, expected 0/);
  refused(fileOf({ x: f32([1], 0, 4), y: f32([1], 0, 4) }, four), /tensor "y" begins at 0, expected 4/);
  refused(fileOf({ x: f32([1], 0, 4) }, new Uint8Array(5)), /take 4 bytes, but it holds 5/);
  refused(fileOf({ x: f32([1], 0, 4) }, new Uint8Array(3)), /take 4 bytes, but it holds 3/);
});

test('a tensor that is not there, or not of floats, is refused by name', () => {
  using file = new SafetensorsFile(
    fileOf({ x: { dtype: 'I32', shape: [1], data_offsets: [0, 4] } }, new Uint8Array(4)),
  );
  assert.throws(() => file.float32('y'), /has no tensor "y"/);
  assert.throws(() => file.float32('x'), /tensor "x" is I32, not F32, F16 or BF16/);
});

test('sound and damaged files are read or refused as Python does it', () => {
  const cases = JSON.parse(readFileSync(join(FIXTURES, '..', 'safetensors.json'), 'utf8')) as SafetensorsCase[];
  for (const item of cases) check(item, join(folder, 'case.safetensors'));
  assert.ok(cases.filter(({ tensors }) => tensors !== null).length >= 100);
  assert.ok(new Set(cases.map(({ error }) => error ?? '')).size >= 32); // npm run test:long requires every class
  assert.equal(new Set(cases.map(({ stricter }) => stricter ?? '')).size, 5);
});
