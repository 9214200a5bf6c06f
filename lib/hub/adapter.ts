/** Finds the model that a PEFT adapter belongs to. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { FileError, InputError } from '../errors';
import { ADAPTER_CONFIG, adapterBase, holdsAdapter } from '../formats/peftAdapter';
import { parseModelName } from './modelName';

const WEIGHTS = /^(model.*\.safetensors|.*\.safetensors\.index\.json|pytorch_model.*\.bin)$/;

/** Whether a folder is an adapter: it has an adapter's configuration, and no weights of a model beside it. */
export const isAdapter = (folder: string): boolean =>
  holdsAdapter(folder) && !readdirSync(folder).some((name) => WEIGHTS.test(name));

/**
 * The name of an adapter's base model, as `GPT2.fromPretrained` takes it, with its revision if one is given.
 *
 * @throws FileError if the adapter names no base model, or a folder that does not exist.
 */
export function baseOfAdapter(folder: string): string {
  const path = join(folder, ADAPTER_CONFIG);
  const remedy = `set "base_model_name_or_path" in ${ADAPTER_CONFIG} to its name on the hub or its folder`;
  const base = adapterBase(folder);
  if (base === null) throw new FileError(path, `names no base model; ${remedy}`);
  let name;
  try {
    name = parseModelName(base.name);
  } catch (cause) {
    if (cause instanceof InputError) throw new FileError(path, `its base model ${cause.message}`, { cause });
    throw cause;
  }
  if (name.kind === 'folder' && !existsSync(name.folder))
    throw new FileError(path, `its base model ${name.folder} is not there; ${remedy}`);
  return name.kind === 'hub' && base.revision !== null && !base.name.includes('@')
    ? `${base.name}@${base.revision}`
    : base.name;
}
