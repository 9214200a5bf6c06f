/** Writes the numbers of each step for TensorBoard, into event files that a resumed run continues. */
import { mkdirSync, readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { tf } from '../tf';
import { flat } from './stepNumbers';

/**
 * Writes the numbers of each step as TensorBoard scalars, by TensorFlow itself. Their tags are the names that `flat`
 * gives, below `validation/` or `train/`, the two groups that TensorBoard shows.
 *
 * A process writes one event file into `folder`; a process that resumes a run adds another. When the function returns,
 * the step's numbers are on their way to the disk, so a killed run keeps them.
 *
 * @param folder created if it does not exist.
 * @param options.after the step after which a run is resumed: what `folder` has of later steps, which will be computed
 *   again, is removed. Default: nothing is removed.
 */
export function tensorBoard(
  folder: string,
  { after = Infinity }: { after?: number } = {},
): (step: { readonly step: number }) => void {
  const path = resolve(folder); // TensorFlow keeps one writer per path for the life of the process
  mkdirSync(path, { recursive: true });
  if (after < Infinity) removeLater(path, after);
  const writer = tf.node.summaryFileWriter(path);
  return (step) => {
    for (const [name, value] of flat(step))
      if (name !== 'step') writer.scalar(name.startsWith('validation/') ? name : `train/${name}`, value, step.step);
    writer.flush();
  };
}

/** Cuts each event file before its first record of a later step, or before a record that was not written whole. */
function removeLater(folder: string, step: number): void {
  for (const name of readdirSync(folder).filter((each) => each.includes('tfevents'))) {
    const path = join(folder, name);
    const bytes = readFileSync(path);
    const end = endOf(bytes, step);
    if (end < bytes.length) truncateSync(path, end);
  }
}

/**
 * A record is its length as uint64, the length's CRC, the bytes, and their CRC
 * (https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details).
 */
function endOf(file: Buffer, step: number): number {
  let at = 0;
  while (at + 12 <= file.length) {
    const next = at + 16 + Number(file.readBigUInt64LE(at));
    if (next > file.length || stepOf(file.subarray(at + 12, next - 4)) > step) break;
    at = next;
  }
  return at;
}

/**
 * The step of an Event, field 2 of the message; 0 without one
 * (https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto). TensorFlow writes the fields
 * in their order, so only field 1, the time as a double, may come before it.
 */
function stepOf(event: Buffer): number {
  let at = event[0] === ((1 << 3) | 1) ? 9 : 0;
  if (event[at++] !== 2 << 3) return 0;
  let step = 0;
  for (let factor = 1; ; factor *= 128) {
    const byte = event[at++]!;
    step += (byte & 127) * factor;
    if (byte < 128) return step;
  }
}
