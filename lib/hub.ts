/** A model's name -> the folder that holds it. */
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

import { InputError, SetupError } from './errors';

/** The embedded models, in this repository's data/models. */
const EMBEDDED = resolve(__dirname, '..', '..', 'data', 'models');

/** The Hugging Face cache, where Python's huggingface_hub keeps it. */
function cacheFolder(): string {
  const { HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = process.env;
  if (HF_HUB_CACHE) return HF_HUB_CACHE;
  return join(HF_HOME ?? join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'huggingface'), 'hub');
}

/**
 * @param model `tiny` (the embedded model), a folder with a config.json, or the name of a model in the Hugging Face
 *   cache, such as `gpt2`. A folder must look like one: `./gpt2` or `/models/gpt2`, so that it hides no hub name.
 * @throws InputError if there is no such model, saying how to get it.
 */
export function modelFolder(model: string): string {
  if (model === 'tiny') {
    const folder = join(EMBEDDED, model);
    if (!existsSync(join(folder, 'config.json'))) throw new SetupError(`${folder} is not made yet; run "npm run setup"`);
    return folder;
  }
  if (/^(\.{0,2}|~|[A-Za-z]:)[\\/]/.test(model)) {
    const folder = resolve(model);
    if (!existsSync(join(folder, 'config.json'))) throw new InputError(`${folder} is not a model folder: it has no config.json`);
    return folder;
  }
  if (!/^[\w.-]+(\/[\w.-]+)?$/.test(model)) throw new InputError(`"${model}" is neither a model's name nor a folder`);

  const repository = join(cacheFolder(), `models--${model.replace('/', '--')}`);
  const reference = join(repository, 'refs', 'main');
  const folder = existsSync(reference) && join(repository, 'snapshots', readFileSync(reference, 'utf8').trim());
  if (!folder || !existsSync(join(folder, 'config.json'))) {
    throw new InputError(
      `"${model}" is not in the Hugging Face cache (${repository}); download it with "hf download ${model}", ` +
        'or give a folder, such as ./my-model',
    );
  }
  return folder;
}
