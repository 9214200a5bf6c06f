import { existsSync, statSync } from 'node:fs';

import { Checkpoint } from '../model/checkpoint';
import { SafetensorsFile } from '../model/safetensors';
import { UsageError } from './usage';

export const usage = `  weights FILE|DIR    the tensors of a safetensors file, or of a model folder's checkpoint`;

export function run(args: readonly string[]): void {
  const [path, ...others] = args;
  if (path === undefined || path.startsWith('-') || others.length > 0) throw new UsageError('weights takes one file or folder');
  using checkpoint = existsSync(path) && statSync(path).isDirectory() ? Checkpoint.open(path) : new SafetensorsFile(path);
  const rows = [...checkpoint.tensors].map(([name, { dtype, shape }]) => [name, dtype, `[${shape.join(', ')}]`] as const);
  const width = (column: 0 | 1 | 2) => Math.max(0, ...rows.map((row) => row[column].length));
  for (const [name, dtype, shape] of rows) console.log(`${name.padEnd(width(0))}  ${dtype.padEnd(width(1))}  ${shape.padStart(width(2))}`);
  const parameters = [...checkpoint.tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((size, length) => size * length, 1), 0);
  console.log(`${rows.length} tensors, ${parameters.toLocaleString('en')} parameters`);
}
