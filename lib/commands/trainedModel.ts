/** Builds the models that training commands train. */
import { InputError } from '../errors';
import { baseOfAdapter } from '../hub/adapter';
import { configOf, gpt2Files } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { loadAdapter, lora } from '../model/lora';
import { hasScoreHead, RewardModel } from '../model/rewardModel';
import { Random } from '../random';
import { withDefaults, type OptionsOf } from '../training/declare';
import { trainSettings } from '../training/options';
import { UsageError } from './commandLine';
import { memoryNotes } from './memoryNote';
import type { loraSettings } from './runSettings';
import { printNotes } from './trainNotes';

type ModelOptions = OptionsOf<typeof loraSettings> & { readonly frozen?: readonly string[]; readonly seed?: number };

/**
 * The model that a training begins with, before any adapters. A note says if it will not fit into memory.
 *
 * @param reference whether a reference model is held beside it.
 * @throws UsageError if it would be held in BF16 without adapters on it; also whatever `GPT2.fromPretrained` throws.
 */
export async function baseModel(
  source: string,
  config: ModelOptions,
  { reference = false }: { reference?: boolean } = {},
): Promise<GPT2> {
  const { baseDtype: dtype, loraRank, continueAdapter } = config;
  if (dtype === 'BF16' && loraRank === undefined && continueAdapter !== true)
    throw new UsageError(
      'baseDtype BF16 holds the model under adapters, and there are none; give loraRank, or leave baseDtype out',
    );
  printNotes(memoryNotes(await configOf(source), config, { reference }));
  return GPT2.fromPretrained(source, { dtype });
}

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
  {
    loraRank: rank,
    loraAlpha: alpha,
    loraTargets: targets,
    continueAdapter,
    baseDtype,
    frozen,
    ...options
  }: ModelOptions,
): Promise<GPT2> {
  if (continueAdapter) {
    if ((rank ?? alpha ?? targets) !== undefined)
      throw new UsageError(
        'continueAdapter trains the adapter that model is, with its own rank, alpha and matrices; ' +
          'leave out loraRank, loraAlpha and loraTargets',
      );
    if (baseDtype === 'BF16')
      throw new UsageError(
        'continueAdapter with baseDtype BF16 would compare the policy with a reference that is rounded otherwise; ' +
          'leave out baseDtype',
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
