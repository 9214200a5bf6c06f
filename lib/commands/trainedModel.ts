/** Builds the models that training commands train. */
import { InputError } from '../errors';
import { GPT2 } from '../model/gpt2';
import { lora } from '../model/lora';
import { hasScoreHead, RewardModel } from '../model/rewardModel';
import { Random } from '../random';
import { withDefaults, type OptionsOf } from '../training/declare';
import { trainSettings } from '../training/options';
import { UsageError } from './commandLine';
import type { loraSettings } from './runSettings';

type ModelOptions = OptionsOf<typeof loraSettings> & { readonly frozen?: readonly string[]; readonly seed?: number };

/** `base` itself, or a view of it with adapters. @throws UsageError or InputError if settings are incompatible. */
export function trainedModel(
  base: GPT2,
  { loraRank: rank, loraAlpha: alpha, loraTargets: targets, frozen, ...options }: ModelOptions,
): GPT2 {
  if (rank === undefined) {
    if ((alpha ?? targets) !== undefined)
      throw new UsageError('loraAlpha and loraTargets describe adapters, but there is no loraRank; give it, too');
    return base;
  }
  if (frozen !== undefined)
    throw new InputError('loraRank: with adapters all weights stay as they are; leave out frozen');
  const { seed } = withDefaults(options, trainSettings);
  return lora(base, { rank, ...(alpha !== undefined && { alpha }), ...(targets && { targets }) }, new Random(seed));
}

/**
 * Adds a score head to a language model, with the score read where TRL's RewardTrainer would train it. A reward model
 * keeps its own position.
 */
export async function rewardModelOf(
  source: string,
  folder: string,
  seed: number,
  padTokenId: number,
): Promise<RewardModel> {
  if (hasScoreHead(folder)) return RewardModel.fromPretrained(source);
  const base = await GPT2.fromPretrained(source);
  const model = RewardModel.begin(base, new Random(seed), padTokenId);
  base.dispose();
  return model;
}
