/**
 * GPT-2 beside PyTorch, and a LoRA adapter beside PEFT, on the same weights: what tests/oracles/exactness.py wrote,
 * computed here, and the greatest differences.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import {
  computePolicy,
  generate,
  GPT2,
  loadAdapter,
  responseBatch,
  SafetensorsFile,
  tf,
  type Layout,
  type PromptResponses,
} from 'alignbook';
import { plural } from 'alignbook/dist/errors';

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
  /** `margins`: how far PyTorch's likeliest logit lies above the next, for each token. */
  greedy: { prompts: number[][]; ids: number[][]; margins: number[][] };
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
    throw new Error(`${what}: ${plural(actual.length, 'value')} instead of ${expected.length}`);
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

/** The columns of the lines that `compare` tells. */
export const HEAD = `${''.padEnd(47)} absolute  relative   largest`;

type Tell = (line: string, within: boolean) => void;

/** Tells a difference, and whether what was measured of it is within the bound. */
const reporter =
  (shape: string, tell: Tell) =>
  ({ what, absolute, relative, largest }: Difference, bound: number, measured: number): void => {
    const within = measured <= bound;
    const columns = [
      absolute.toExponential(1).padStart(8),
      relative.toExponential(1).padStart(9),
      largest.toPrecision(3).padStart(9),
    ];
    tell(`${shape.padEnd(12)} ${what.padEnd(34)} ${columns.join(' ')}  ${within ? 'ok' : `above ${bound}`}`, within);
  };

const ints = (values: number[][]) => tf.tensor2d(values, undefined, 'int32');
const forwardOptions = ({ attentionMask, positionIds }: Omit<Batch['inputs'][string], 'inputIds'>) => ({
  ...(attentionMask && { attentionMask: ints(attentionMask) }),
  ...(positionIds && { positionIds: ints(positionIds) }),
});

/**
 * @param folder as exactness.py left it.
 * @param tell takes each line, and whether it is within its bound.
 */
export async function compare(shape: string, folder: string, tell: Tell): Promise<void> {
  const batch = JSON.parse(readFileSync(join(folder, 'batch.json'), 'utf8')) as Batch;
  using expected = new SafetensorsFile(join(folder, 'outputs.safetensors'));
  const model = await GPT2.fromPretrained(join(folder, 'model'));
  const report = reporter(shape, tell);

  for (const [name, { inputIds, ...more }] of Object.entries(batch.inputs)) {
    const options = forwardOptions(more);
    const mask = more.attentionMask?.flat();
    for (const kind of ['logits', 'hidden'] as const) {
      const tensor =
        kind === 'logits' ? model.forward(ints(inputIds), options).logits : model.hidden(ints(inputIds), options);
      const width = tensor.shape[2];
      // values at padding mean nothing
      const real = (element: number) => mask?.[Math.floor(element / width)] !== 0;
      const found = difference(`${kind}, ${name}`, tensor.dataSync(), expected.float32(`${kind} ${name}`), real);
      report(found, bounds[kind], found.absolute);
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
    // the log-prob of an unlikely token is a difference of large numbers
    report(found, bounds.logps * Math.max(1, found.largest / 10), found.absolute);
    using gradients = recording.backward(tf.tensor2d(padded(batch.weights)));
    const all = gradients.names.map((name) =>
      difference(`gradient, ${layout}, ${name}`, gradients.values(name), expected.float32(`gradient ${name}`)),
    );
    const worst = all.reduce((a, b) => (b.relative <= a.relative ? a : b));
    report(worst, bounds.gradient, worst.relative);
  }
  if (computePolicy === 'fp32') await compareGreedy(shape, model, batch.greedy, tell); // other products turn near ties
  model.dispose();
}

/**
 * The logits of a LoRA adapter in the folder, beside its base and merged into it, against PEFT's.
 *
 * @param folder as `exactness.py --adapter` left it.
 */
export async function compareAdapter(shape: string, folder: string, tell: Tell): Promise<void> {
  const { inputs } = JSON.parse(readFileSync(join(folder, 'batch.json'), 'utf8')) as Batch;
  const { inputIds, ...more } = inputs['padded left']!;
  const mask = more.attentionMask!.flat();
  using file = new SafetensorsFile(join(folder, 'adapter.safetensors'));
  const expected = file.float32('logits');
  const report = reporter(shape, tell);
  const check = (what: string, model: GPT2): void => {
    const { logits } = model.forward(ints(inputIds), forwardOptions(more));
    const real = (element: number) => mask[Math.floor(element / logits.shape[2])] !== 0;
    const found = difference(what, logits.dataSync(), expected, real);
    report(found, bounds.logits, found.absolute);
    logits.dispose();
  };
  const base = await GPT2.fromPretrained(join(folder, 'model'));
  const adapted = loadAdapter(base, join(folder, 'adapter'));
  check('logits, LoRA adapter', adapted);
  adapted.dispose();
  base.dispose();
  const merged = await GPT2.fromPretrained(join(folder, 'adapter'));
  check('logits, LoRA adapter merged', merged);
  merged.dispose();
}

async function compareGreedy(
  shape: string,
  model: GPT2,
  { prompts, ids, margins }: Batch['greedy'],
  tell: Tell,
): Promise<void> {
  const made = await generate(model, prompts, { maxNewTokens: ids[0]!.length });
  const places = made.map((row, n) => ids[n]!.findIndex((id, place) => id !== row.ids[place]));
  const equal = places.every((place) => place === -1);
  const text = places.flatMap((place, n) =>
    place === -1
      ? []
      : [
          `row ${n} differs from token ${place} on, where PyTorch's two likeliest logits lie ` +
            `${margins[n]![place]!.toExponential(1)} apart`,
        ],
  );
  tell(
    `${shape.padEnd(12)} greedy generation, ${plural(made.length, 'row')} of ${plural(ids[0]!.length, 'token')}: ` +
      `${equal ? 'equal' : text.join('; ')}`,
    equal,
  );
}
