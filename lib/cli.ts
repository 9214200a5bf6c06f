/** `npx alignbook …`: a thin layer over the library. Exit codes: 0 done, 1 the input is wrong, 2 usage. */
import { existsSync, statSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { diagnose } from './doctor';
import { FileError, HubError, InputError, SetupError } from './errors';
import { downloadModel } from './hub/modelFolder';
import { progressPrinter } from './hub/progress';
import { checkpointPath, openCheckpoint } from './model/checkpoint';

const USAGE = `Usage: npx alignbook COMMAND

  doctor              what is installed, which device computes, what is missing and how to get it
  download MODEL      a model of the Hugging Face hub (gpt2, distilgpt2, ORGANISATION/NAME, with @REVISION to pin one) into
                      Hugging Face's cache, shared with Python; prints its folder. First use in a notebook does the same
  weights FILE|DIR    the tensors of a safetensors file, or of a model folder's`;

class UsageError extends Error {}

function doctor(): void {
  const { lines, healthy } = diagnose();
  const width = Math.max(...lines.map(([what]) => what.length));
  for (const [what, how] of lines) console.log(`${what.padEnd(width)}  ${how}`);
  if (!healthy) process.exitCode = 1;
}

async function download(model: string): Promise<void> {
  console.log(await downloadModel(model, { onProgress: progressPrinter(process.stderr) }));
}

function weights(path: string): void {
  using checkpoint = openCheckpoint(existsSync(path) && statSync(path).isDirectory() ? checkpointPath(path) : path);
  const rows = [...checkpoint.tensors].map(([name, { dtype, shape }]) => [name, dtype, `[${shape.join(', ')}]`] as const);
  const width = (column: 0 | 2) => Math.max(0, ...rows.map((row) => row[column].length));
  for (const [name, dtype, shape] of rows) console.log(`${name.padEnd(width(0))}  ${dtype.padEnd(7)}  ${shape.padStart(width(2))}`);
  const parameters = [...checkpoint.tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((size, length) => size * length, 1), 0);
  console.log(`${rows.length} tensors, ${parameters.toLocaleString('en')} parameters`);
}

async function main(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parse(argv);
  const [command, ...rest] = positionals;
  if (values.help) return console.log(USAGE);
  if (command === 'doctor' && rest.length === 0) return doctor();
  if (command === 'download' && rest.length === 1) return download(rest[0]!);
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

main(process.argv.slice(2)).catch((error: unknown) => {
  if (error instanceof UsageError) {
    console.error(`alignbook: ${error.message}\n\n${USAGE}`);
    process.exitCode = 2;
  } else if ([FileError, HubError, InputError, SetupError].some((kind) => error instanceof kind)) {
    console.error(`alignbook: ${(error as Error).message}`);
    process.exitCode = 1;
  } else {
    throw error;
  }
});
