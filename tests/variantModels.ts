/** Variants of GPT-2 in use besides OpenAI's (tests/oracles/variants.py), as model folders. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { SafetensorsFile, writeSafetensors, type PromptResponses } from 'alignbook';

import { root } from '../scripts/paths';

const FIXTURES = join(root, 'tests', 'fixtures', 'variants');
const TINY = join(root, 'data', 'models', 'tiny');

/** What transformers computes for a variant. */
export interface Expected {
  config: Record<string, unknown>;
  rows: PromptResponses[];
  logps: number[][];
  weights: number[][];
  greedy: number[][];
}
export const names = readdirSync(FIXTURES)
  .filter((file) => file.endsWith('.json'))
  .map((file) => file.slice(0, -'.json'.length));
assert.equal(names.length, 12);

/** Writes the model folder of a variant. @returns the folder, and any of the tensors that transformers computed. */
export function written(
  name: string,
  folder: string,
): { expected: Expected; stored: (kind: string, weight: string) => Float32Array } {
  const expected = JSON.parse(readFileSync(join(FIXTURES, `${name}.json`), 'utf8')) as Expected;
  mkdirSync(folder, { recursive: true });
  using file = new SafetensorsFile(join(FIXTURES, `${name}.safetensors`));
  const tensors = new Map(
    [...file.tensors].map(([key, { shape }]) => [key, { name: key, shape, values: file.float32(key) }]),
  );
  writeSafetensors(
    join(folder, 'model.safetensors'),
    [...tensors.values()].filter(({ name: key }) => !/^(gradient|trained)\./.test(key)),
  );
  writeFileSync(join(folder, 'config.json'), JSON.stringify(expected.config));
  for (const each of ['tokenizer.json', 'tokenizer_config.json', 'vocab.json', 'merges.txt'])
    writeFileSync(join(folder, each), readFileSync(join(TINY, each)));
  const stored = (kind: string, weight: string) =>
    (tensors.get(`${kind}.transformer.${weight}`) ?? tensors.get(`${kind}.${weight}`))!.values;
  return { expected, stored };
}
