/**
 * Event files, read here without TensorFlow: TFRecords with their checksums, and the part of protobuf that scalars use.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { liveTensors, tensorBoard } from 'alignbook';

const folder = mkdtempSync(join(tmpdir(), 'events-'));
after(() => rmSync(folder, { recursive: true }));

/** CRC-32C (RFC 3720), masked as TensorFlow stores it. */
function maskedCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/**
 * length uint64, its CRC, bytes, their CRC:
 * https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
 */
function records(file: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(file.readBigUInt64LE(at));
    const bytes = file.subarray(at + 12, at + 12 + length);
    assert.equal(file.readUInt32LE(at + 8), maskedCrc(file.subarray(at, at + 8)));
    assert.equal(file.readUInt32LE(at + 12 + length), maskedCrc(bytes));
    found.push(bytes);
    at += 16 + length;
  }
  return found;
}

/** A protobuf message's fields by number: integers, or the bytes of anything else. */
function fields(message: Buffer): Map<number, number | Buffer> {
  const found = new Map<number, number | Buffer>();
  let at = 0;
  const varint = () => {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = message[at++]!;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  const take = (length: number) => message.subarray(at, (at += length));
  while (at < message.length) {
    const key = varint();
    const read = { 0: varint, 1: () => take(8), 2: () => take(varint()), 5: () => take(4) }[key & 7];
    assert.ok(read, `wire type ${key & 7}`);
    found.set(key >>> 3, read());
  }
  return found;
}

/** Event: step 2, file_version 3, summary 5; Summary: value 1; Value: tag 1, simple_value 2. */
function scalarsIn(path: string): [name: string, step: number, value: number][] {
  const events = records(readFileSync(path)).map(fields);
  assert.equal(String(events[0]!.get(3)), 'brain.Event:2');
  return events.slice(1).map((event) => {
    const value = fields(fields(event.get(5) as Buffer).get(1) as Buffer);
    return [String(value.get(1)), event.get(2) as number, (value.get(2) as Buffer).readFloatLE()];
  });
}
const eventFiles = (run: string) =>
  readdirSync(join(folder, run))
    .sort()
    .map((name) => join(folder, run, name));

test('each number of a step is a scalar with the name of its place', () => {
  const write = tensorBoard(join(folder, 'deep', 'run'));
  const tensors = liveTensors();
  write({ step: 1, loss: 0.5, rewards: { chosen: 0.25, margins: -2 }, phase: 'warm-up', skipped: undefined } as {
    step: number;
  });
  write({ step: 1e9, loss: NaN } as { step: number });
  assert.equal(liveTensors(), tensors);
  const [file, ...more] = eventFiles('deep/run');
  assert.deepEqual(more, []);
  assert.deepEqual(scalarsIn(file!), [
    ['loss', 1, 0.5],
    ['rewards/chosen', 1, 0.25],
    ['rewards/margins', 1, -2],
    ['loss', 1e9, NaN],
  ]);
});

test('a killed run keeps what it wrote; a resumed run adds a file', async () => {
  const run = join(folder, 'killed');
  const program = (from: number) => `const { tensorBoard } = require(${JSON.stringify(require.resolve('alignbook'))});
    const write = tensorBoard(${JSON.stringify(run)});
    for (let step = ${from}; step < ${from} + 3; step++) write({ step, loss: step / 2 });
    console.log('written'); setInterval(() => {}, 1000);`;
  for (const from of [1, 3]) {
    const child = spawn(process.execPath, ['-e', program(from)]);
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'close');
  }
  assert.deepEqual(
    eventFiles('killed').map(scalarsIn),
    [
      [1, 2, 3],
      [3, 4, 5],
    ].map((steps) => steps.map((step) => ['loss', step, step / 2])),
  );
});
