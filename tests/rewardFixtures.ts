/** tests/fixtures/reward: results of PyTorch and TRL for reward models on the engine's test models. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { RewardModel, SafetensorsFile, Weights, type PairIds, type PromptResponses } from 'alignbook';

import { root } from '../scripts/paths';
import { loadEngineModel, type Expected } from './engineFixtures';

export const FOLDER = join(root, 'tests', 'fixtures', 'reward');

interface Step {
  loss: number;
  gradNorm: number;
  lr: number;
  accuracy: number;
  margin: number;
  meanScore: number;
}

export const fixtures = JSON.parse(readFileSync(join(FOLDER, 'reward.json'), 'utf8')) as {
  models: Record<string, { scores: number[]; weights: number[] }>;
  pairs: Required<PairIds>[];
  trainings: Record<'plain' | 'margins', { margins: boolean; centerRewards: number; steps: Step[] }>;
  positions: { model: string; rows: PromptResponses[]; scores: Record<'null' | '0' | '22', number[]> };
  calibration: { margins: number[]; calibrationError: number; brier: number };
  begin: { seed: number; normals: number[] };
};

/** A tensor of gradients.safetensors or trained.safetensors. */
export function stored(file: 'gradients' | 'trained', name: string): Float32Array {
  using tensors = new SafetensorsFile(join(FOLDER, `${file}.safetensors`));
  return tensors.float32(name);
}

/** One of the engine's test models, with a score head. */
export async function rewardModel(
  name: string,
  head: Float32Array,
  padTokenId: number | null = null,
): Promise<{ model: RewardModel; rows: Expected['rows'] }> {
  const { model: base, expected } = await loadEngineModel(name);
  const values = new Map(base.weights.names.map((weight) => [weight, base.weights.values(weight)]));
  const model = new RewardModel(
    base.config,
    Weights.from(values.set('score.weight', head), base.config, { scoreHead: true }),
    padTokenId,
  );
  base.dispose();
  return { model, rows: expected.rows };
}
