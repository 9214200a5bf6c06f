/** The files that a model's folder, or its repository on the hub, consists of. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { readJsonObject } from '../formats/jsonFile';

/** The part of a model that a caller is about to read. The tokenizer alone is much smaller than the weights. */
export type Part = 'tokenizer' | 'weights';

export const INDEX = 'model.safetensors.index.json';

/** A folder of additional chat templates, such as those for tools or documents. */
export const ADDITIONAL_TEMPLATES = 'additional_chat_templates';

/** Whether a file, given by its path in the repository, is such a template. */
export const isAdditionalTemplate = (file: string): boolean =>
  /^additional_chat_templates\/\w[\w.-]*\.jinja$/.test(file);

/** Whether a model folder contains every file needed to read the part. */
export function holds(folder: string, part: Part): boolean {
  const has = (file: string) => existsSync(join(folder, file));
  if (part === 'tokenizer') return has('tokenizer.json') || (has('vocab.json') && has('merges.txt'));
  if (!has('config.json')) return false;
  if (has('model.safetensors')) return true;
  const files = has(INDEX) ? shards(join(folder, INDEX)) : [];
  return files.length > 0 && files.every(has);
}

/**
 * The files that contain a sharded checkpoint's tensors, according to its model.safetensors.index.json. Empty if the
 * index is malformed or names a file outside its own folder.
 */
export function shards(index: string): string[] {
  let map: unknown;
  try {
    map = (JSON.parse(readFileSync(index, 'utf8')) as { weight_map?: unknown }).weight_map;
  } catch {
    return [];
  }
  const files = [...new Set(typeof map === 'object' && map !== null ? Object.values(map) : [])];
  return files.every((file): file is string => typeof file === 'string' && /^\w[\w.-]*\.safetensors$/.test(file))
    ? files.sort()
    : [];
}

export const ADAPTER = 'adapter_config.json';

/**
 * Explains, for a folder that contains a PEFT adapter, how to merge it into a model that can be loaded here.
 *
 * @param name the name of the folder, or of the repository on the hub.
 * @param path the path of its adapter_config.json.
 * @returns one sentence that says what the folder is and what to do.
 */
export function adapterOfPeft(name: string, path: string): string {
  const { base_model_name_or_path: base, task_type: task } = readJsonObject(path);
  const model = typeof base === 'string' && base !== '' ? base : 'its base model';
  const [auto, more] =
    task === 'SEQ_CLS'
      ? ['AutoPeftModelForSequenceClassification', ', num_labels=1']
      : ['AutoPeftModelForCausalLM', ''];
  return (
    `${name} is a PEFT adapter for ${model}, not a model; merge it with Python: ` +
    `peft.${auto}.from_pretrained("${name}"${more}).merge_and_unload().save_pretrained("merged"), and give ` +
    `./merged with the tokenizer's files of ${model}`
  );
}
