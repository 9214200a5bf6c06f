/** `alignbook weights`: lists the tensors of a file. */
import { existsSync, statSync } from 'node:fs';

import { plural } from '../errors';
import { Checkpoint } from '../formats/checkpoint';
import { SafetensorsFile } from '../formats/safetensors';
import { largest } from '../ranges';
import type { OptionsOf } from '../training/declare';
import type { weightsSettings } from './commandSettings';

export function run({ path }: OptionsOf<typeof weightsSettings>): void {
  using checkpoint =
    existsSync(path) && statSync(path).isDirectory() ? Checkpoint.open(path) : new SafetensorsFile(path);
  const rows = [...checkpoint.tensors].map(
    ([name, { dtype, shape }]) => [name, dtype, `[${shape.join(', ')}]`] as const,
  );
  const widths = ([0, 1, 2] as const).map((column) => largest(rows.map((row) => row[column].length))) as [
    number,
    number,
    number,
  ];
  for (const [name, dtype, shape] of rows)
    console.log(`${name.padEnd(widths[0])}  ${dtype.padEnd(widths[1])}  ${shape.padStart(widths[2])}`);
  const parameters = [...checkpoint.tensors.values()].reduce(
    (sum, { shape }) => sum + shape.reduce((size, length) => size * length, 1),
    0,
  );
  console.log(`${plural(rows.length, 'tensor')}, ${parameters.toLocaleString('en')} parameters`);
}
