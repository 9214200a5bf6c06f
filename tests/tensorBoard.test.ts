/**
 * Event files, read here without TensorFlow: TFRecords with their checksums, and the part of protobuf that scalars use.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { liveTensors, tensorBoard } from 'alignbook';

import { at, interrupt, metrics, samples, takeStatus, train } from './letterRuns';

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

test('each number of a step is a scalar with the name of its place, in one of two groups', () => {
  const write = tensorBoard(join(folder, 'deep', 'run'));
  const tensors = liveTensors();
  write({ step: 1, loss: 0.5, rewards: { chosen: 0.25, margins: -2 }, phase: 'warm-up', skipped: undefined } as {
    step: number;
  });
  write({ step: 2, validation: { loss: 4, rewards: { chosen: 8 } } } as { step: number });
  write({ step: 1e9, loss: NaN } as { step: number });
  assert.equal(liveTensors(), tensors);
  const [file, ...more] = eventFiles('deep/run');
  assert.deepEqual(more, []);
  assert.deepEqual(scalarsIn(file!), [
    ['train/loss', 1, 0.5],
    ['train/rewards/chosen', 1, 0.25],
    ['train/rewards/margins', 1, -2],
    ['validation/loss', 2, 4],
    ['validation/rewards/chosen', 2, 8],
    ['train/loss', 1e9, NaN],
  ]);
});

test('a killed run keeps what it wrote; a resumed one adds a file, and removes what it computes again', async () => {
  const run = join(folder, 'killed');
  const program = (after: number) => `const { tensorBoard } = require(${JSON.stringify(require.resolve('alignbook'))});
    const write = tensorBoard(${JSON.stringify(run)}, { after: ${after} });
    for (let step = ${after} + 1; step <= ${after} + 300; step++) write({ step, loss: step / 2 });
    console.log('written'); setInterval(() => {}, 1000);`;
  const ended = async (after: number) => {
    const child = spawn(process.execPath, ['-e', program(after)]);
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'close');
  };
  const losses = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, n) => ['train/loss', from + n, (from + n) / 2]);
  await ended(0);
  const [first] = eventFiles('killed') as [string];
  assert.deepEqual(scalarsIn(first), losses(1, 300));
  truncateSync(first, statSync(first).size - 5); // the last record was not written whole
  await ended(250); // steps of two bytes, and of one
  const both = [first, ...eventFiles('killed').filter((path) => path !== first)]; // a name has the second and the pid
  assert.deepEqual(both.map(scalarsIn), [losses(1, 250), losses(251, 550)]);
  tensorBoard(run, { after: 299 });
  assert.deepEqual(both.map(scalarsIn), [losses(1, 250), losses(251, 299)]);
  tensorBoard(run, { after: 100 });
  assert.deepEqual(both.map(scalarsIn), [losses(1, 100), []]);
});

test('Ctrl-C while held-out prompts are answered: the same command completes the step, on the board, too', async () => {
  const settings = {
    ...{ steps: 3, tensorBoard: true, sampleEvery: 2, validation: at('pairs.jsonl'), validateEvery: 2 },
    ...{ metrics: 'length', bestBy: 'length' },
  };
  const board = (run: string) =>
    readdirSync(at(run, 'tensorboard'))
      .flatMap((name) => scalarsIn(at(run, 'tensorboard', name)))
      .filter(([name]) => name !== 'train/seconds')
      .map((scalar) => scalar.join(' '))
      .sort();
  await train('train-dpo', 'undisturbed', settings);
  const cut = await train('train-dpo', 'cut', settings, (line) => {
    if (line.startsWith('step 1 ')) setImmediate(interrupt); // runs within step 2
  });
  assert.equal(takeStatus(), 130);
  assert.match(cut, /^interrupted; step 2 is saved in /m);
  const [, second] = metrics('cut') as { validation?: object; unmeasured?: object }[];
  assert.deepEqual([second!.validation, Object.keys(second!.unmeasured!)[0]], [undefined, 'loss']);
  assert.ok(!board('cut').some((scalar) => scalar.startsWith('validation/')));

  await train('train-dpo', 'cut', settings);
  assert.deepEqual([metrics('cut'), samples('cut')], [metrics('undisturbed'), samples('undisturbed')]);
  assert.deepEqual(board('cut'), board('undisturbed'));
});
