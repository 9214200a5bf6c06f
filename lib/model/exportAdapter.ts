/** The adapters of a model -> a folder that PEFT opens without changes. */
import { writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';

import { InputError } from '../errors';
import type { JsonObject } from '../formats/jsonFile';
import { adapterCard } from '../formats/modelCard';
import { readPeftAdapter, writePeftAdapter, type BaseModel, type LowRank } from '../formats/peftAdapter';
import { replaceFolder } from '../formats/replace';
import { stacked } from './adapters';
import { exportCompanions, withoutGeneration, writeFiles, type Companions, type ExportOptions } from './export';
import { adaptersOf } from './lora';
import type { Trainable } from './weights';

/**
 * Writes the adapters of a model that `lora` or `loadAdapter` made: adapter_config.json, adapter_model.safetensors, the
 * tokenizer's files and a model card. The base model is named with its commit if it came from the hub. If the model
 * began as one that had an adapter merged, the folder holds both as one adapter, so that it belongs to the same base.
 *
 * @param options.source the model that the base of `model` was loaded from.
 * @throws InputError if `model` has no adapters, or as `exportModel` does.
 */
export async function exportAdapter(
  model: Trainable,
  folder: string,
  { source, force = false }: Omit<ExportOptions, 'dtype'>,
): Promise<void> {
  if (adaptersOf(model) === undefined)
    throw new InputError('the model has no adapters; make them with lora, or write it with exportModel');
  writeAdapter(model, folder, await exportCompanions(model, source), { force });
}

/** The same, with companions already read. @returns false if the model has no adapters, so that nothing is written. */
export function writeAdapter(
  model: Trainable,
  folder: string,
  { base, adapter, files, origin }: Companions,
  { force = false }: { force?: boolean } = {},
): boolean {
  const own = adaptersOf(model);
  if (own === undefined) return false;
  const differences =
    adapter === null || own.continued
      ? own.differences
      : stacked(readPeftAdapter(adapter).differences, own.differences);
  replaceFolder(folder, { force }, (out) => {
    writeFiles(out, withoutGeneration(files));
    writeFileSync(join(out, 'README.md'), adapterCard(basename(resolve(folder)), base, origin));
    writePeftAdapter(out, differences, peftConfig(differences, model.config.nLayer, base));
  });
  return true;
}

/** The fields of adapter_config.json that describe some differences; PEFT fills in the others. */
function peftConfig(differences: ReadonlyMap<string, LowRank>, nLayer: number, base: BaseModel): JsonObject {
  const all = [...differences].map(([name, { rank, scale }]) => ({
    module: name.replace(/\.weight$/, ''),
    rank,
    alpha: scale * rank,
  }));
  const [{ rank, alpha }] = all as [(typeof all)[0]];
  const pattern = (of: 'rank' | 'alpha', usual: number) =>
    Object.fromEntries(
      all.filter((each) => each[of] !== usual).map((each) => [`transformer.${each.module}`, each[of]]),
    );
  const targets = [...new Set(all.map(({ module }) => module.replace(/^h\.\d+\./, '')))];
  const everywhere = all.length === targets.length * nLayer;
  return {
    alpha_pattern: pattern('alpha', alpha),
    base_model_name_or_path: base.name,
    bias: 'none',
    fan_in_fan_out: true,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: alpha,
    lora_dropout: 0,
    peft_type: 'LORA',
    r: rank,
    rank_pattern: pattern('rank', rank),
    revision: base.revision,
    target_modules: everywhere ? targets : all.map(({ module }) => `transformer.${module}`),
    task_type: 'CAUSAL_LM',
    use_rslora: false,
  };
}
