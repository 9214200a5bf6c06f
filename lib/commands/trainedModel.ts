/** Builds the models that training commands train. */
import { InputError } from '../errors';
import { baseOfAdapter } from '../hub/adapter';
import { gpt2Files } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { loadAdapter, lora } from '../model/lora';
import { hasScoreHead, RewardModel } from '../model/rewardModel';
import { Random } from '../random';
import { withDefaults, type OptionsOf } from '../training/declare';
import { trainSettings } from '../training/options';
import { UsageError } from './commandLine';
import type { loraSettings } from './runSettings';

type ModelOptions = OptionsOf<typeof loraSettings> & { readonly frozen?: readonly string[]; readonly seed?: number };

/**
 * `base` itself, or a view of it with adapters. With `continueAdapter` the view is over the adapter's own base model,
 * which is loaded besides.
 *
 * @param source the name that `base` was loaded by.
 * @throws UsageError or InputError if settings are incompatible.
 */
export async function trainedModel(
  source: string,
  base: GPT2,
  { loraRank: rank, loraAlpha: alpha, loraTargets: targets, continueAdapter, frozen, ...options }: ModelOptions,
): Promise<GPT2> {
  if (continueAdapter) {
    if ((rank ?? alpha ?? targets) !== undefined)
      throw new UsageError(
        'continueAdapter trains the adapter that model is, with its own rank, alpha and matrices; ' +
          'leave out loraRank, loraAlpha and loraTargets',
      );
    requireNothingFrozen('continueAdapter', frozen);
    const { adapter } = await gpt2Files(source);
    if (adapter === null)
      throw new InputError(`continueAdapter: ${source} is not an adapter but a model; give loraRank for new adapters`);
    return loadAdapter(await GPT2.fromPretrained(baseOfAdapter(adapter)), adapter);
  }
  if (rank === undefined) {
    if ((alpha ?? targets) !== undefined)
      throw new UsageError('loraAlpha and loraTargets describe adapters, but there is no loraRank; give it, too');
    return base;
  }
  requireNothingFrozen('loraRank', frozen);
  const { seed } = withDefaults(options, trainSettings);
  return lora(base, { rank, ...(alpha !== undefined && { alpha }), ...(targets && { targets }) }, new Random(seed));
}

function requireNothingFrozen(setting: string, frozen: readonly string[] | undefined): void {
  if (frozen !== undefined)
    throw new InputError(`${setting}: with adapters all weights stay as they are; leave out frozen`);
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
