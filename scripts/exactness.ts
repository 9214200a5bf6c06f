/**
 * `npm run test:exact`: GPT-2 at full size against PyTorch and transformers, on the same random weights. Needs the
 * oracles.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { computePolicy, GPT2, responseBatch, SafetensorsFile, tf, type Layout, type PromptResponses } from 'alignbook';

import { root } from './paths';

const usage = `Usage: npm run test:exact -- [SHAPE…]

Prints the greatest differences from PyTorch in float32; SHAPE is gpt2 (124M) or gpt2-medium (355M), default both.
With ALIGNBOOK_COMPUTE=bf16 it shows what bfloat16 products cost, under bounds of their own.
Exit status: 0 all within the bounds, 1 not, 2 usage.`;

const shapes = ['gpt2', 'gpt2-medium'];

/**
 * For logits, hidden states and log-probs the absolute difference counts, for a gradient that relative to its largest
 * element.
 */
const bounds = {
  /** Two float32 implementations, each with its own order of summing. */
  fp32: { logits: 1e-4, hidden: 1e-4, logps: 1e-4, gradient: 1e-3 },
  /** Not tried yet: it takes a GPU. Eight times as fine as bfloat16. */
  tf32: { logits: 0.02, hidden: 0.02, logps: 0.02, gradient: 0.01 },
  /** bfloat16 keeps 8 significant bits: 0.4 % of each factor, and errors of both signs cancel in part. */
  bf16: { logits: 0.1, hidden: 0.1, logps: 0.1, gradient: 0.05 },
}[computePolicy];

interface Batch {
  inputs: Record<string, { inputIds: number[][]; attentionMask?: number[][]; positionIds?: number[][] }>;
  rows: PromptResponses[];
  weights: number[][];
}

interface Difference {
  readonly what: string;
  readonly absolute: number;
  /** Of the expected tensor's largest element. */
  readonly relative: number;
  readonly largest: number;
}

function difference(
  what: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  counts: (element: number) => boolean = () => true,
): Difference {
  if (actual.length !== expected.length)
    throw new Error(`${what}: ${actual.length} values instead of ${expected.length}`);
  let absolute = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i += 1) {
    if (!counts(i)) continue;
    const distance = Math.abs(actual[i]! - expected[i]!);
    absolute = distance <= absolute ? absolute : distance; // a NaN stays
    largest = Math.max(largest, Math.abs(expected[i]!));
  }
  return { what, absolute, relative: absolute / largest, largest };
}

async function compare(shape: string, folder: string): Promise<boolean> {
  const batch = JSON.parse(readFileSync(join(folder, 'batch.json'), 'utf8')) as Batch;
  using expected = new SafetensorsFile(join(folder, 'outputs.safetensors'));
  const model = await GPT2.fromPretrained(join(folder, 'model'));
  const ints = (values: number[][]) => tf.tensor2d(values, undefined, 'int32');
  const report = ({ what, absolute, relative, largest }: Difference, bound: number, measured: number): boolean => {
    const within = measured <= bound;
    console.log(
      `${shape.padEnd(12)} ${what.padEnd(34)} ${absolute.toExponential(1).padStart(8)} ${relative.toExponential(1).padStart(9)} ${largest.toPrecision(3).padStart(9)}  ${within ? 'ok' : `above ${bound}`}`,
    );
    return within;
  };
  let within = true;

  for (const [name, { inputIds, attentionMask, positionIds }] of Object.entries(batch.inputs)) {
    const options = {
      ...(attentionMask && { attentionMask: ints(attentionMask) }),
      ...(positionIds && { positionIds: ints(positionIds) }),
    };
    const mask = attentionMask?.flat();
    for (const kind of ['logits', 'hidden'] as const) {
      const tensor =
        kind === 'logits' ? model.forward(ints(inputIds), options).logits : model.hidden(ints(inputIds), options);
      const width = tensor.shape[2];
      // what padding computes means nothing
      const real = (element: number) => mask?.[Math.floor(element / width)] !== 0;
      const found = difference(`${kind}, ${name}`, tensor.dataSync(), expected.float32(`${kind} ${name}`), real);
      within = report(found, bounds[kind], found.absolute) && within;
      tensor.dispose();
    }
  }

  const L = Math.max(...batch.weights.map((row) => row.length));
  const padded = (rows: ArrayLike<number>[]) =>
    rows.map((row) => [...Array.from(row), ...Array<number>(L - row.length).fill(0)]);
  const logps = padded(batch.weights.map((_, n) => expected.float32(`logps ${n}`))).flat();
  for (const layout of ['padded', 'shared', 'packed'] satisfies Layout[]) {
    using recording = model.record(responseBatch(batch.rows, { layout }));
    const found = difference(`log-probs, ${layout}`, recording.perTokenLogps.dataSync(), logps);
    within = report(found, bounds.logps, found.absolute) && within;
    using gradients = recording.backward(tf.tensor2d(padded(batch.weights)));
    const all = gradients.names.map((name) =>
      difference(`gradient, ${layout}, ${name}`, gradients.values(name), expected.float32(`gradient ${name}`)),
    );
    const worst = all.reduce((a, b) => (b.relative <= a.relative ? a : b));
    within = report(worst, bounds.gradient, worst.relative) && within;
  }
  model.dispose();
  return within;
}

async function main(names: readonly string[]): Promise<number> {
  console.log(`${''.padEnd(47)} absolute  relative   largest`);
  let within = true;
  for (const shape of names) {
    const folder = mkdtempSync(join(tmpdir(), 'exactness-'));
    try {
      const python = join(root, '.alignbook', 'oracles', 'bin', 'python');
      const { status } = spawnSync(
        python,
        [join(root, 'tests', 'oracles', 'exactness.py'), '--shape', shape, '--out', folder],
        { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, TQDM_DISABLE: '1' } },
      );
      if (status !== 0) throw new Error('the oracle failed; run "npm run setup -- --oracles"');
      within = (await compare(shape, folder)) && within;
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  return within ? 0 : 1;
}

async function run(): Promise<number> {
  let names: string[];
  try {
    const { values, positionals } = parseArgs({
      options: { help: { type: 'boolean', short: 'h' } },
      allowPositionals: true,
    });
    if (values.help) {
      console.log(usage);
      return 0;
    }
    const unknown = positionals.find((name) => !shapes.includes(name));
    if (unknown !== undefined) throw new Error(`no shape "${unknown}"`);
    names = positionals;
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`);
    return 2;
  }
  return main(names.length > 0 ? names : shapes);
}

run().then(
  (status) => (process.exitCode = status),
  (error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
  },
);
