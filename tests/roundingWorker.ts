/**
 * A worker of rounding.test.ts: what models compute with bfloat16 products, as hashes, and how many casts that takes.
 * Under ALIGNBOOK_COMPUTE=bf16 the engine decides what it rounds, and when. Under fp32, with the argument `each`, the
 * engine computes in float32, and every product that it calls rounds both factors itself and widens its result.
 */
import { createHash } from 'node:crypto';

import {
  generate,
  GPT2,
  lora,
  profile,
  Random,
  responseBatch,
  RewardModel,
  tf,
  trainDpo,
  withValueHead,
  type Gradients,
  type Layout,
  type LoraTarget,
  type PairIds,
  type ResponseBatch,
} from 'alignbook';
import { scope, type Handle } from 'alignbook/dist/engine/handle';
import { bfloat16By, binding } from 'alignbook/dist/tf';

import { engineModels, loadEngineModel } from './engineFixtures';
import { collect } from './trainingSteps';

import call = require('alignbook/dist/engine/call'); // the module itself, whose functions can be replaced

/** A part of the work: the hash of all bits that it computed, and the casts and products that it called. */
export interface Outcome {
  readonly hash: string;
  readonly casts: number;
  readonly products: number;
  /** The square root of the sum of the squares of all numbers. */
  readonly size: number;
}

export interface Report {
  readonly bfloat16By: typeof bfloat16By;
  readonly outcomes: Readonly<Record<string, Outcome>>;
}

const LAYOUTS: readonly Layout[] = ['padded', 'shared', 'packed', 'fitted'];
const PRODUCTS: readonly string[] = ['MatMul', 'BatchMatMulV2'];

/** From now on, each product rounds its factors for itself alone. */
function roundEachProduct(): void {
  const { op } = call;
  const BFLOAT16 = 14;
  const cast = (x: Handle, to: number) => op('Cast', [call.type('DstT', to)], x);
  call.op = (name, attributes, ...inputs) => {
    if (!PRODUCTS.includes(name)) return op(name, attributes, ...inputs);
    return scope(() => {
      const product = op(name, attributes, ...inputs.map((input) => cast(input, BFLOAT16)));
      return cast(product, binding.TF_FLOAT);
    });
  };
}

const outcomes: Record<string, Outcome> = {};

type Numbers = Float32Array | Float64Array;

async function noted(name: string, work: () => (Numbers | string)[] | Promise<(Numbers | string)[]>): Promise<void> {
  const hash = createHash('sha256');
  let squares = 0;
  const { result, ops } = await profile(work);
  for (const part of result) {
    hash.update(typeof part === 'string' ? part : new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
    if (typeof part !== 'string') for (const value of part) squares += value * value;
  }
  const calls = (names: readonly string[]) =>
    ops.reduce((sum, { op, calls: count }) => sum + (names.includes(op) ? count : 0), 0);
  outcomes[name] = {
    hash: hash.digest('hex'),
    casts: calls(['Cast']),
    products: calls(PRODUCTS),
    size: Math.sqrt(squares),
  };
}

/** Random numbers in the shape of a tensor, as the gradient of a loss or as weights. */
function normal(shape: readonly number[]): Float32Array {
  const random = new Random(5);
  return Float32Array.from({ length: tf.util.sizeFromShape([...shape]) }, () => random.normal());
}

const allOf = (gradients: Gradients): Numbers[] => [
  Float64Array.of(gradients.norm()), // first, while the head's gradient is still in factors
  ...gradients.names.map((name) => gradients.values(name)),
];

/** Log-probs, values if there are any, and the gradients of all trained weights. */
function forwardAndBackward(model: GPT2, batch: ResponseBatch, gradientCheckpointing: boolean): Numbers[] {
  using pass = model.record(batch, { gradientCheckpointing });
  const slope = tf.tensor2d(normal(pass.perTokenLogps.shape), pass.perTokenLogps.shape);
  using gradients = pass.backward(slope, () => true, pass.values && slope);
  slope.dispose();
  const scores = [pass.perTokenLogps, ...(pass.values ? [pass.values] : [])];
  return [...scores.map((tensor) => tensor.dataSync<'float32'>().slice()), ...allOf(gradients)];
}

const EVERYWHERE: readonly LoraTarget[] = ['attn.c_attn', 'attn.c_proj', 'mlp.c_fc', 'mlp.c_proj'];

async function smallModels(): Promise<void> {
  for (const name of engineModels) {
    const { model, expected } = await loadEngineModel(name);
    const maxLength = model.config.blockSize;
    for (const layout of LAYOUTS) {
      const batch = responseBatch(expected.rows, { layout, maxLength });
      for (const checkpointed of [false, true])
        await noted(`${name}, ${layout}${checkpointed ? ', checkpointed' : ''}`, () =>
          forwardAndBackward(model, batch, checkpointed),
        );
    }
    model.dispose();
  }
}

async function otherHeads(): Promise<void> {
  const { model: base, expected } = await loadEngineModel('a-group');
  const batch = responseBatch(expected.rows, { maxLength: base.config.blockSize });
  const adapted = lora(base, { rank: 2, targets: EVERYWHERE }, new Random(3));
  const { trained } = adapted.weights;
  for (const name of trained.names) trained.assign(name, normal(trained.shape(name)));
  await noted('adapters and a value head', () => forwardAndBackward(withValueHead(adapted), batch, false));
  const judge = RewardModel.begin(base, new Random(4));
  await noted('a reward model', () => {
    using pass = judge.record(batch);
    using gradients = pass.backward(tf.tensor1d(normal(pass.scores.shape)));
    return [pass.scores.dataSync<'float32'>().slice(), ...allOf(gradients)];
  });
}

async function tiny(): Promise<void> {
  const random = new Random(2);
  const ids = (length: number) => Array.from({ length }, () => random.integer(50257));
  const pairs: PairIds[] = Array.from({ length: 4 }, (_, n) => ({
    promptIds: ids(5 + n),
    chosenIds: ids(4 + n),
    rejectedIds: ids(7 - n),
  }));
  const reference = pairs.map(() => ({ refChosenLogps: -50, refRejectedLogps: -60 }));
  for (const [name, options] of [
    ['one step of DPO', { steps: 1 }],
    ['two steps of DPO, each in two parts', { steps: 2, accumulation: 2 }],
  ] as const) {
    const model = await GPT2.fromPretrained('tiny');
    const common = { lr: 1e-3, schedule: 'constant', batchSize: 4, maxGradNorm: 0.1 } as const;
    await noted(name, async () => {
      const steps = await collect(trainDpo(model, pairs, { ...common, ...options }, { reference }));
      return [Float64Array.from(steps.flatMap(({ loss, gradNorm }) => [loss, gradNorm]))];
    });
    await noted(`${name}: the weights`, () => [model.weights.digest()]);
    model.dispose();
  }

  const model = await GPT2.fromPretrained('tiny');
  const prompts = pairs.map(({ promptIds }) => promptIds);
  const sampled = async () =>
    (await generate(model, prompts, { maxNewTokens: 70, temperature: 1, seed: 7, samples: 2 })).map(({ ids: made }) =>
      made.join(),
    );
  const greedy = async () => (await generate(model, prompts, { maxNewTokens: 30 })).map(({ ids: made }) => made.join());
  await noted('sampled', sampled);
  await noted('greedy', greedy);
}

async function main(each: boolean): Promise<void> {
  if (each) roundEachProduct();
  await smallModels();
  await otherHeads();
  await tiny();
  console.log(JSON.stringify({ bfloat16By, outcomes } satisfies Report));
}

if (require.main === module) void main(process.argv[2] === 'each');
