/** The model that a training command trains. */
import { InputError } from '../errors';
import type { GPT2 } from '../model/gpt2';
import { lora } from '../model/lora';
import { Random } from '../random';
import type { OptionsOf } from '../training/declare';
import { UsageError } from './commandLine';
import type { loraSettings } from './runSettings';

type ModelOptions = OptionsOf<typeof loraSettings> & { readonly frozen?: readonly string[]; readonly seed?: number };

/** `base` itself, or a view of it with adapters. @throws UsageError or InputError if settings do not go together. */
export function trainedModel(
  base: GPT2,
  { loraRank: rank, loraAlpha: alpha, loraTargets: targets, frozen, seed = 0 }: ModelOptions,
): GPT2 {
  if (rank === undefined) {
    if ((alpha ?? targets) !== undefined)
      throw new UsageError('loraAlpha and loraTargets describe adapters, but there is no loraRank; give it, too');
    return base;
  }
  if (frozen !== undefined)
    throw new InputError('loraRank: with adapters all weights stay as they are; leave out frozen');
  return lora(base, { rank, ...(alpha !== undefined && { alpha }), ...(targets && { targets }) }, new Random(seed));
}
