/** The models of tests/fixtures/engine as model folders. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { GPT2, SafetensorsFile, writeSafetensors, type PromptResponses } from 'alignbook';

import { root } from '../scripts/paths';

const FIXTURES = join(root, 'tests', 'fixtures', 'engine');

export interface Expected {
  config: Record<string, unknown>;
  rows: PromptResponses[];
  /** For each response, in order. */
  logps: number[][];
  weights: number[][];
  hidden: number[][][];
}

export const engineModels = readdirSync(FIXTURES)
  .filter((file) => file.endsWith('.json'))
  .map((file) => file.slice(0, -'.json'.length));

/** The model, its expected results, and any tensor in its fixture. */
export async function loadEngineModel(
  name: string,
): Promise<{ model: GPT2; expected: Expected; stored: (name: string) => Float32Array }> {
  const expected = JSON.parse(readFileSync(join(FIXTURES, `${name}.json`), 'utf8')) as Expected;
  const tensors = new Map<string, { shape: readonly number[]; values: Float32Array }>();
  using file = new SafetensorsFile(join(FIXTURES, `${name}.safetensors`));
  for (const [key, { shape }] of file.tensors) tensors.set(key, { shape, values: file.float32(key) });
  const weights = [...tensors]
    .filter(([key]) => key.startsWith('weight.'))
    .map(([key, { shape, values }]) => ({ name: key.slice('weight.'.length), shape, values }));

  const folder = mkdtempSync(join(tmpdir(), 'engine-'));
  try {
    writeSafetensors(join(folder, 'model.safetensors'), weights);
    writeFileSync(join(folder, 'config.json'), JSON.stringify(expected.config));
    return { model: await GPT2.fromPretrained(folder), expected, stored: (key) => tensors.get(key)!.values };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
