/** `npx alignbook …`: a thin layer over the library. Exit codes: 0 done, 1 the input is wrong, 2 usage. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { diagnose } from './doctor';
import { FileError, InputError, SetupError } from './errors';
import { SafetensorsFile } from './model/safetensors';

const USAGE = `Usage: npx alignbook COMMAND

  doctor              what is installed, which device computes, what is missing and how to get it
  weights FILE|DIR    the tensors of a safetensors file, or of a model folder's model.safetensors`;

class UsageError extends Error {}

function doctor(): void {
  const { lines, healthy } = diagnose();
  const width = Math.max(...lines.map(([what]) => what.length));
  for (const [what, how] of lines) console.log(`${what.padEnd(width)}  ${how}`);
  if (!healthy) process.exitCode = 1;
}

function weights(path: string): void {
  const file = existsSync(path) && statSync(path).isDirectory() ? join(path, 'model.safetensors') : path;
  using checkpoint = new SafetensorsFile(file);
  const rows = [...checkpoint.tensors].map(([name, { dtype, shape }]) => [name, dtype, `[${shape.join(', ')}]`] as const);
  const width = (column: 0 | 2) => Math.max(0, ...rows.map((row) => row[column].length));
  for (const [name, dtype, shape] of rows) console.log(`${name.padEnd(width(0))}  ${dtype.padEnd(7)}  ${shape.padStart(width(2))}`);
  const parameters = [...checkpoint.tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((size, length) => size * length, 1), 0);
  console.log(`${rows.length} tensors, ${parameters.toLocaleString('en')} parameters`);
}

function main(argv: readonly string[]): void {
  const { values, positionals } = parse(argv);
  const [command, ...rest] = positionals;
  if (values.help) return console.log(USAGE);
  if (command === 'doctor' && rest.length === 0) return doctor();
  if (command === 'weights' && rest.length === 1) return weights(rest[0]!);
  throw new UsageError(command === undefined ? 'no command given' : `cannot do "${positionals.join(' ')}"`);
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: { help: { type: 'boolean', short: 'h' } }, allowPositionals: true });
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause });
  }
}

try {
  main(process.argv.slice(2));
} catch (error) {
  if (error instanceof UsageError) {
    console.error(`alignbook: ${error.message}\n\n${USAGE}`);
    process.exitCode = 2;
  } else if (error instanceof InputError || error instanceof FileError || error instanceof SetupError) {
    console.error(`alignbook: ${error.message}`);
    process.exitCode = 1;
  } else {
    throw error;
  }
}
