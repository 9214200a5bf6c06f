/** A training's metrics as TensorBoard reads them, written by TensorFlow itself. */
import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';

import { tf } from '../tf';
import { flat } from './metrics';

/**
 * Writes the numbers of each step as scalars, named by their place: `loss`, `rewards/chosen`.
 *
 * A process writes one file of events into `folder`; one that goes on with a run adds a file, in which steps after the
 * checkpoint come again. What is written is on its way to the disk when the function returns: a killed run keeps it.
 *
 * @param folder made if it is not there.
 */
export function tensorBoard(folder: string): (step: { readonly step: number }) => void {
  const path = resolve(folder); // a writer is known by its path for as long as the process lives
  mkdirSync(path, { recursive: true });
  const writer = tf.node.summaryFileWriter(path);
  return (step) => {
    for (const [name, value] of flat(step)) if (name !== 'step') writer.scalar(name, value, step.step);
    writer.flush();
  };
}
