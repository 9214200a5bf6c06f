/** A model's name -> the folder that holds it, downloaded on first use. */
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { HubError, InputError, SetupError } from '../errors';
import { recoverFolder } from '../formats/replaceFolder';
import { ADAPTER, adapterOfPeft } from './adapter';
import { CachedRepository, damagedFiles, holds, removeFile, type Part } from './cache';
import { download, type Checks, type DownloadOptions } from './download';
import { parseModelName } from './modelName';
import { hubSettings } from './settings';

/** The embedded model: beside the compiled library in an installed package, else in the repository's data/models. */
const PACKAGED = resolve(__dirname, '..', '..', 'tiny');
const EMBEDDED = existsSync(PACKAGED) ? PACKAGED : resolve(__dirname, '..', '..', '..', 'data', 'models', 'tiny');

/** @throws SetupError if set-up has not made its tokenizer. */
export function embeddedModel(): string {
  if (!existsSync(join(EMBEDDED, 'tokenizer.json')))
    throw new SetupError(`${EMBEDDED} has no tokenizer yet; run "npm run setup"`);
  return EMBEDDED;
}

/**
 * The folder of a model, for one part or for all. What the Hugging Face cache holds, from Python or from here, is used
 * without a request, be the hub's newer or not; what it lacks is downloaded into it.
 *
 * @param model `tiny` (the embedded model), a folder with a config.json (`./gpt2` or `/models/gpt2`), or a name on the
 *   hub such as `gpt2`; with `@` and a branch, tag or commit to pin a revision.
 * @param options `checks`: made before weights are downloaded; a model's are in model/folder.ts.
 * @throws InputError if there is no such model or it is not a GPT-2, HubError if it cannot be downloaded.
 */
export async function modelFolder(
  model: string,
  parts: readonly Part[],
  options: DownloadOptions & { checks: Checks },
): Promise<string> {
  const name = parseModelName(model);
  if (name.kind === 'embedded') return embeddedModel();
  if (name.kind === 'folder') {
    recoverFolder(name.folder); // an export may have been killed while replacing the folder
    requireModelFolder(name.folder);
    return name.folder;
  }

  const { repository, revision } = name;
  const settings = hubSettings();
  const cached = new CachedRepository(settings.cache, repository);
  const commit = cached.commit(revision);
  if (commit !== null && parts.every((part) => holds(cached.snapshot(commit), part))) return cached.snapshot(commit);
  if (settings.offline) {
    throw new HubError(
      `"${model}" is not in the Hugging Face cache (${cached.folder}), and HF_HUB_OFFLINE is set; unset it, or ` +
        'give a folder, such as ./my-model',
    );
  }
  // The tokenizer and the weights of one commit, even if they are first used on different days.
  return download(repository, commit ?? revision, parts, settings, options);
}

/** @throws InputError, which says what the folder is, if it is not a model folder. */
function requireModelFolder(folder: string): void {
  const holdsWeights = () =>
    readdirSync(folder).some((name) =>
      /^(model.*\.safetensors|.*\.safetensors\.index\.json|pytorch_model.*\.bin)$/.test(name),
    );
  if (existsSync(join(folder, 'config.json')) && (!existsSync(join(folder, ADAPTER)) || holdsWeights())) return;
  if (!existsSync(folder))
    throw new InputError(`${folder} is not there; give a model folder, or the name of a model on the Hugging Face hub`);
  const adapter = join(folder, ADAPTER);
  if (!existsSync(adapter)) throw new InputError(`${folder} is not a model folder: it has no config.json`);
  throw new InputError(adapterOfPeft(folder, adapter));
}

/**
 * Downloads a whole model, and asks the hub whether a cached one is still what its revision stands for. What the cache
 * holds is checked against its hashes: files that were cut or changed since are downloaded again.
 *
 * @param model as for `modelFolder`. Local models are not downloaded.
 * @returns its folder.
 */
export async function downloadWhole(model: string, options: DownloadOptions & { checks: Checks }): Promise<string> {
  const name = parseModelName(model);
  const settings = hubSettings();
  const parts = ['tokenizer', 'weights'] as const;
  if (name.kind !== 'hub') return modelFolder(model, parts, options);
  const fetched = () =>
    settings.offline
      ? modelFolder(model, parts, options)
      : download(name.repository, name.revision, parts, settings, options);
  const folder = await fetched();
  const damaged = damagedFiles(folder);
  if (damaged.length === 0) return folder;
  const which =
    `${damaged.join(', ')} of "${model}" in the cache (${folder}) ${damaged.length === 1 ? 'has' : 'have'} been ` +
    'cut or changed';
  if (settings.offline) throw new HubError(`${which}, and HF_HUB_OFFLINE is set; unset it, and download again`);
  console.error(`${which}: downloading again`);
  for (const file of damaged) removeFile(folder, file);
  return fetched();
}
