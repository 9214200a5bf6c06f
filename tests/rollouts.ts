/** Shared by the tests of PPO and GRPO: a tokenizer as small as the fixtures' models, and rollouts of the fixtures. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Tokenizer, writeSafetensors, type AdamW, type GPT2, type PerToken, type Sample } from 'alignbook';

import { root } from '../scripts/paths';
import { loadEngineModel } from './engineFixtures';
import { near } from './trainingSteps';

export function fixture<Contents>(name: string): Contents {
  return JSON.parse(readFileSync(join(root, 'tests', 'fixtures', name), 'utf8')) as Contents;
}

const END = '<|endoftext|>';
const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** 0 is the end of text, 1 is `a`, 2 is `b`, and so on to the model's last id. */
export async function letterTokenizer(vocabSize: number): Promise<Tokenizer> {
  const folder = mkdtempSync(join(tmpdir(), 'letters-'));
  try {
    writeLetterTokenizer(folder, vocabSize);
    writeFileSync(join(folder, 'config.json'), '{}');
    return await Tokenizer.fromPretrained(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function writeLetterTokenizer(folder: string, vocabSize: number): void {
  const vocab = Object.fromEntries([END, ...LETTERS].slice(0, vocabSize).map((token, id) => [token, id]));
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const json = {
    version: '1.0',
    added_tokens: [
      { id: 0, content: END, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
    ],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: byteLevel,
    decoder: byteLevel,
    model: { type: 'BPE', unk_token: null, vocab, merges: [] },
  };
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json));
  writeFileSync(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ eos_token: END, tokenizer_class: 'GPT2Tokenizer' }),
  );
}

/** Prompts in the letters of `writeLetterModel`, each with a chosen and a rejected response. */
export const LETTER_PAIRS = [
  ['abc', 'de', 'fgh'],
  ['d', 'ij', 'k'],
  ['xyz0', 'l', 'mno'],
  ['hello', 'pq', 'rs'],
] as const;

/** The model a-group with its letters as tokens, as a model folder that the commands open. */
export async function writeLetterModel(folder: string): Promise<void> {
  mkdirSync(folder);
  const { model, expected } = await loadEngineModel('a-group');
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...expected.config, bos_token_id: 0, eos_token_id: 0 }));
  writeSafetensors(
    join(folder, 'model.safetensors'),
    model.weights.names.map((name) => ({ name, shape: model.weights.shape(name), values: model.weights.values(name) })),
  );
  writeLetterTokenizer(folder, model.config.vocabSize);
  model.dispose();
}

export interface ScriptedRow {
  promptIds: number[];
  responseIds: number[];
}

/** Samples of the fixtures, whose end of text is 0; each prompt has `groupSize` of them. */
export function scripted(rows: readonly ScriptedRow[], groupSize = 1): Sample[] {
  return rows.map(({ promptIds, responseIds }, n) => ({
    prompt: Math.floor(n / groupSize),
    promptIds,
    ids: responseIds,
    text: '',
    ended: responseIds.at(-1) === 0,
  }));
}

export const float32 = (rows: readonly (readonly number[])[]): PerToken => rows.map((row) => Float32Array.from(row));

export function nearAll(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  assert.equal(actual.length, expected.length, `${what}: length`);
  for (let n = 0; n < expected.length; n += 1) near(actual[n]!, expected[n]!, tolerance, `${what}, element ${n}`);
}

export function nearRows(
  actual: PerToken,
  expected: readonly (readonly number[])[],
  tolerance: number,
  what: string,
): void {
  assert.equal(actual.length, expected.length, `${what}: rows`);
  actual.forEach((row, n) => nearAll(row, expected[n]!, tolerance, `${what}, row ${n}`));
}

/** Compares gradients relative to the largest element of each parameter's, since float32 sums are no more precise. */
export function nearGradients(
  actual: (name: string) => ArrayLike<number>,
  expected: Readonly<Record<string, number[]>>,
  tolerance: number,
  what: string,
): void {
  for (const [name, values] of Object.entries(expected)) {
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-3);
    nearAll(actual(name), values, tolerance * largest, `${what}: ${name}`);
  }
}

export function nearWeights(
  { weights: { trained } }: GPT2,
  expected: Readonly<Record<string, number[]>>,
  tolerance: number,
): void {
  assert.deepEqual([...trained.names].sort(), Object.keys(expected).sort());
  for (const [name, values] of Object.entries(expected)) nearAll(trained.values(name), values, tolerance, name);
}

/** The gradients that an update used, from the running mean that it left: m' = beta1 m + (1 - beta1) g. */
export function lastGradients(
  optimizer: AdamW,
  before: ReadonlyMap<string, Float32Array>,
  beta1: number,
): Map<string, Float32Array> {
  return new Map(
    [...firstMoments(optimizer)].map(([name, m]) => [
      name,
      m.map((value, n) => (value - beta1 * before.get(name)![n]!) / (1 - beta1)),
    ]),
  );
}

export const firstMoments = (optimizer: AdamW): Map<string, Float32Array> =>
  new Map(optimizer.names.map((name) => [name, optimizer.moment('m', name)]));

/** The values of a head, from a fixture. */
export function setHead({ weights: { trained } }: GPT2, { weight, bias }: { weight: number[]; bias: number[] }): void {
  trained.assign('v_head.weight', Float32Array.from(weight));
  trained.assign('v_head.bias', Float32Array.from(bias));
}

export const copyOf = ({ weights: { trained } }: GPT2): Map<string, Float32Array> =>
  new Map(trained.names.map((name) => [name, trained.values(name)]));
