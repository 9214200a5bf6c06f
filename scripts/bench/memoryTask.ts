/** The tasks that memory.ts gives its workers, and the random models for them. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { configJson, Random, writeSafetensors, type GPT2Config, type TrainingShape } from 'alignbook';
import { weightShapes } from 'alignbook/dist/model/weightShapes';

/** OpenAI's four sizes of GPT-2. */
export const SIZES = {
  gpt2: { nLayer: 12, nHead: 12, nEmbd: 768 },
  'gpt2-medium': { nLayer: 24, nHead: 16, nEmbd: 1024 },
  'gpt2-large': { nLayer: 36, nHead: 20, nEmbd: 1280 },
  'gpt2-xl': { nLayer: 48, nHead: 25, nEmbd: 1600 },
} as const;
export type Size = keyof typeof SIZES;

export const configFor = (size: Size): GPT2Config => ({
  ...SIZES[size],
  blockSize: 1024,
  vocabSize: 50257,
  layerNormEpsilon: 1e-5,
});

export const METHODS = ['sft', 'dpo', 'reward', 'ppo', 'grpo'] as const;
export type Method = (typeof METHODS)[number];

/** The ways to train: everything, or adapters of rank 8 on attn.c_attn, over a base in float32 or in bfloat16. */
export const WAYS = ['full', 'lora', 'lora-bf16'] as const;
export type Way = (typeof WAYS)[number];

export interface MemoryTask {
  readonly size: Size;
  readonly method: Method;
  readonly way: Way;
  readonly gradientCheckpointing: boolean;
  /** The folder of a model of this size. */
  readonly model: string;
}

/** The peak of the resident memory in a phase, and the memory at its end, in bytes. */
export type Phases = Readonly<Record<'started' | 'loaded' | 'step', { readonly peak: number; readonly now: number }>>;

export const LORA_RANK = 8;

/** The work of a step: 512 tokens with each method. */
export const WORK = { rows: 2, promptLength: 128, responseLength: 128, pairs: 1, pairResponseLength: 192 } as const;

/** What one step computes at once, as the estimate takes it. */
export function shapeOf(method: Method): TrainingShape {
  const { rows, promptLength, responseLength, pairs, pairResponseLength } = WORK;
  if (method === 'dpo' || method === 'reward') {
    const rowLength = promptLength + 2 * pairResponseLength; // a shared row: the prompt, then both responses
    const scored = method === 'reward' ? 0 : 2 * pairs * pairResponseLength;
    return { tokens: pairs * rowLength, rows: pairs, rowLength, scored };
  }
  const rowLength = promptLength + responseLength;
  return { tokens: rows * rowLength, rows, rowLength, scored: rows * responseLength };
}

/** Random numbers that are repeated: drawing a billion would take minutes, and memory does not depend on them. */
const PERIOD = 2 ** 20;

/** Writes a model of random weights, one tensor at a time. */
export function writeModel(folder: string, size: Size): void {
  const config = configFor(size);
  const random = new Random(1);
  const some = Float32Array.from({ length: PERIOD }, () => 0.02 * random.normal());
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), configJson(config));
  const tensors = [...weightShapes(config)].map(([name, shape]) => ({
    name,
    shape,
    get values() {
      const length = shape.reduce((product, side) => product * side, 1);
      const values = new Float32Array(length);
      if (/ln_\w+\.weight$/.test(name)) return values.fill(1);
      for (let start = 0; start < length; start += PERIOD) values.set(some.subarray(0, length - start), start);
      return values;
    },
  }));
  writeSafetensors(join(folder, 'model.safetensors'), tensors);
}
