/** The files that a model's folder, or its repository on the hub, consists of. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { ADAPTER_WEIGHTS, holdsAdapter } from '../formats/peftAdapter';

/** The part of a model that a caller is about to read. The tokenizer alone is much smaller than the weights. */
export type Part = 'tokenizer' | 'weights';

export const INDEX = 'model.safetensors.index.json';

/** A folder of additional chat templates, such as those for tools or documents. */
export const ADDITIONAL_TEMPLATES = 'additional_chat_templates';

/** Whether a file, given by its path in the repository, is such a template. */
export const isAdditionalTemplate = (file: string): boolean =>
  /^additional_chat_templates\/\w[\w.-]*\.jinja$/.test(file);

export function hasTokenizer(folder: string): boolean {
  const has = (file: string) => existsSync(join(folder, file));
  return has('tokenizer.json') || (has('vocab.json') && has('merges.txt'));
}

/**
 * Whether a model folder contains every file needed to read the part. An adapter's tokenizer is downloaded before its
 * weights, and may be missing: once the weights are there, nothing else will follow.
 */
export function holds(folder: string, part: Part): boolean {
  const has = (file: string) => existsSync(join(folder, file));
  if (part === 'tokenizer' && hasTokenizer(folder)) return true;
  if (holdsAdapter(folder) && has(ADAPTER_WEIGHTS) && !has('config.json')) return true;
  if (part === 'tokenizer') return false;
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
