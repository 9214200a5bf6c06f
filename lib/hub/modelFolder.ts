/** Finds the folder of a model by its name, and downloads the model on first use. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { FileError, HubError, InputError, SetupError } from '../errors';
import { requireWholeAdapter } from '../formats/peftAdapter';
import { recoverFolder } from '../formats/replace';
import { baseOfAdapter, isAdapter } from './adapter';
import { CachedRepository, damagedFiles, removeFile } from './cache';
import { download, type Checks } from './download';
import { hasTokenizer, holds, type Part } from './modelFiles';
import { parseModelName } from './modelName';
import type { DownloadOptions } from './repository';
import { hubSettings } from './settings';

/**
 * Folder of the embedded model: beside the compiled library in an installed package, otherwise the repository's
 * data/models.
 */
const PACKAGED = resolve(__dirname, '..', '..', 'tiny');
const EMBEDDED = existsSync(PACKAGED) ? PACKAGED : resolve(__dirname, '..', '..', '..', 'data', 'models', 'tiny');

/** @throws SetupError if set-up has not yet created its tokenizer. */
export function embeddedModel(): string {
  if (!existsSync(join(EMBEDDED, 'tokenizer.json')))
    throw new SetupError(`${EMBEDDED} has no tokenizer yet; run "npm run setup"`);
  return EMBEDDED;
}

/**
 * The folder of a model or of a PEFT adapter, with one part or all of them. Files that the Hugging Face cache
 * contains, whether from Python or from here, are used without a request, even if the hub has newer ones; missing
 * files are downloaded into it.
 *
 * @param model `tiny` (the embedded model), a folder with a config.json (`./gpt2` or `/models/gpt2`), or a name on the
 *   hub such as `gpt2`, optionally followed by `@` and a branch, tag or commit to pin a revision.
 * @param options `checks`: run before weights are downloaded; those of a model are in model/folder.ts.
 * @throws InputError if the model does not exist or is not a GPT-2, HubError if it cannot be downloaded.
 */
async function modelFolder(
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
  // Take the tokenizer and the weights from one commit, even if they are first used on different days.
  return download(repository, commit ?? revision, parts, settings, options);
}

/** @throws InputError, saying what the folder is, if it is neither a model nor an adapter. */
function requireModelFolder(folder: string): void {
  if (!existsSync(folder))
    throw new InputError(`${folder} is not there; give a model folder, or the name of a model on the Hugging Face hub`);
  if (!existsSync(join(folder, 'config.json')) && !isAdapter(folder))
    throw new InputError(`${folder} is not a model folder: it has no config.json`);
}

/** Where a model's files are. */
export interface ModelFiles {
  /** config.json and the weights: of the model, or of an adapter's base. */
  readonly folder: string;
  /** The tokenizer: the adapter's own if it has one, otherwise the model's. */
  readonly tokenizer: string;
  /** A PEFT adapter, to be added to the weights; null for a plain model. */
  readonly adapter: string | null;
}

/**
 * The files of a model or, where `model` names a PEFT adapter, of that adapter and its base model.
 *
 * @throws as `modelFolder` does; FileError if an adapter is not supported, names no base model, or one that is an
 *   adapter too.
 */
export async function modelFiles(
  model: string,
  parts: readonly Part[],
  options: DownloadOptions & { checks: Checks },
): Promise<ModelFiles> {
  const found = await modelFolder(model, parts, options);
  if (!isAdapter(found)) return { folder: found, tokenizer: found, adapter: null };
  if (parts.includes('weights')) requireWholeAdapter(found);
  const base = baseOfAdapter(found);
  const folder = await modelFolder(base, parts, options);
  if (isAdapter(folder))
    throw new FileError(found, `its base model, ${base}, is an adapter too; merge that one first, with export`);
  return { folder, tokenizer: hasTokenizer(found) ? found : folder, adapter: found };
}

/**
 * Downloads a whole model, and asks the hub whether the revision still points to the cached commit. Cached files are
 * checked against their hashes, and those that were cut or changed are downloaded again.
 *
 * @param model the same as for `modelFolder`. Local models are not downloaded.
 * @returns the model's folder.
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
  if (isAdapter(folder)) await downloadWhole(baseOfAdapter(folder), options);
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
