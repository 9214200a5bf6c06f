/** `npx alignbook …`: a thin layer over the library. Exit codes: 0 done, 1 the input is wrong, 2 usage. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs, type ParseArgsConfig } from 'node:util';

import { diagnose } from './doctor';
import { FileError, InputError, SetupError } from './errors';
import { modelFolder } from './hub';
import { Checkpoint } from './model/checkpoint';
import { readConfig } from './model/config';
import { exportModel } from './model/export';
import { GPT2 } from './model/gpt2';
import { mayReplace } from './model/replaceFolder';
import { SafetensorsFile } from './model/safetensors';
import { FLOAT_DTYPES } from './model/safetensorsWriter';
import { scorePairs } from './model/scorePairs';
import { replaceFile } from './replaceFile';
import { readPairs } from './text/pairRows';
import { Tokenizer } from './text/tokenizer';

const USAGE = `Usage: npx alignbook COMMAND

  doctor              what is installed, which device computes, what is missing and how to get it
  weights FILE|DIR    the tensors of a safetensors file, or of a model folder's checkpoint
  logps --model M --data FILE
                      log-probs of the tokens of preference pairs, one JSON line a row; FILE holds rows
                      {"prompt", "chosen", "rejected"}, - is the standard input
      --batch-size N  rows computed together (default 8)
      --output FILE   write there instead of the standard output, all or nothing
  export --model M --out DIR
                      a Hugging Face folder that transformers opens
      --dtype D       F32 (default), F16 or BF16
      --force         replace the model folder that is there

M is tiny (the embedded model), the name of a model in the Hugging Face cache, or a folder such as ./my-gpt2.`;

class UsageError extends Error {}

function doctor(): void {
  const { lines, healthy } = diagnose();
  const width = Math.max(...lines.map(([what]) => what.length));
  for (const [what, how] of lines) console.log(`${what.padEnd(width)}  ${how}`);
  if (!healthy) process.exitCode = 1;
}

function weights(path: string): void {
  using checkpoint = existsSync(path) && statSync(path).isDirectory() ? Checkpoint.open(path) : new SafetensorsFile(path);
  const rows = [...checkpoint.tensors].map(([name, { dtype, shape }]) => [name, dtype, `[${shape.join(', ')}]`] as const);
  const width = (column: 0 | 1 | 2) => Math.max(0, ...rows.map((row) => row[column].length));
  for (const [name, dtype, shape] of rows) console.log(`${name.padEnd(width(0))}  ${dtype.padEnd(width(1))}  ${shape.padStart(width(2))}`);
  const parameters = [...checkpoint.tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((size, length) => size * length, 1), 0);
  console.log(`${rows.length} tensors, ${parameters.toLocaleString('en')} parameters`);
}

async function logps(args: readonly string[]): Promise<void> {
  const { model: name, data, 'batch-size': size = '8', output } = options(args, { model: TEXT, data: TEXT, 'batch-size': TEXT, output: TEXT });
  if (name === undefined || data === undefined) throw new UsageError('logps needs --model and --data');
  if (!/^[1-9]\d{0,5}$/.test(size)) throw new UsageError(`--batch-size must be a number from 1 up, got "${size}"`);
  const tokenizer = await Tokenizer.fromPretrained(name);
  const { blockSize } = readConfig(join(await modelFolder(name), 'config.json'));
  const pairs = await readPairs(data, tokenizer, { maxLength: blockSize });
  const model = await GPT2.fromPretrained(name);
  const write = (append: (line: string) => void): void => {
    let done = 0;
    for (const score of scorePairs(model, tokenizer, pairs, { batchSize: Number(size) })) {
      append(`${JSON.stringify(score)}\n`);
      done += 1;
      progress(`${done} of ${pairs.length} rows`);
    }
    progress('');
  };
  if (output === undefined) write((line) => process.stdout.write(line));
  else replaceFile(output, write);
}

/** One line on a terminal, in place of the one before; nothing elsewhere. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

async function exportTo(args: readonly string[]): Promise<void> {
  const { model: name, out, dtype: asked = 'F32', force = false } = options(args, { model: TEXT, out: TEXT, dtype: TEXT, force: FLAG });
  if (name === undefined || out === undefined) throw new UsageError('export needs --model and --out');
  const dtype = FLOAT_DTYPES.find((known) => known === asked);
  if (dtype === undefined) throw new UsageError(`--dtype must be one of ${FLOAT_DTYPES.join(', ')}, got "${asked}"`);
  mayReplace(out, { force });
  await exportModel(await GPT2.fromPretrained(name), out, { source: name, dtype, force });
  console.log(`${name} is in ${out}, as ${dtype}`);
}

const TEXT = { type: 'string' } as const;
const FLAG = { type: 'boolean' } as const;

/** A command's options by name; it takes nothing else. */
function options<const T extends NonNullable<ParseArgsConfig['options']>>(args: readonly string[], known: T) {
  try {
    return parseArgs({ args: [...args], options: known }).values;
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause });
  }
}

async function main([command, ...args]: readonly string[]): Promise<void> {
  if (command === '--help' || command === '-h' || args.includes('--help')) return console.log(USAGE);
  if (command === 'doctor' && args.length === 0) return doctor();
  if (command === 'weights' && args.length === 1 && !args[0]!.startsWith('-')) return weights(args[0]!);
  if (command === 'logps') return logps(args);
  if (command === 'export') return exportTo(args);
  throw new UsageError(command === undefined ? 'no command given' : `cannot do "${[command, ...args].join(' ')}"`);
}

/** A file or folder that the system refuses (no such folder, no space, no permission) is the input's fault, not ours. */
const ofSystem = (error: unknown): error is NodeJS.ErrnoException => error instanceof Error && 'syscall' in error;

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0); // whoever read us has enough, such as `head`
});

main(process.argv.slice(2)).catch((error: unknown) => {
  if (error instanceof UsageError) {
    console.error(`alignbook: ${error.message}\n\n${USAGE}`);
    process.exitCode = 2;
  } else if (error instanceof InputError || error instanceof FileError || error instanceof SetupError || ofSystem(error)) {
    console.error(`alignbook: ${error.message}`);
    process.exitCode = 1;
  } else {
    throw error;
  }
});
