/** A model's folder, looked at before its weights are downloaded. */
import { join } from 'node:path';

import { readConfig, type GPT2Config } from '../formats/config';
import type { DownloadOptions } from '../hub/download';
import { downloadWhole, modelFolder } from '../hub/modelFolder';
import { readTokenizerFiles } from '../text/tokenizerFiles';

/** A hub's model that its config.json or its tokenizer rules out ends there, with nothing large downloaded. */
const CHECKS = { config: readConfig, tokenizer: readTokenizerFiles } as const;

/**
 * @param model as for `modelFolder`.
 * @returns its folder, with its weights and its tokenizer.
 * @throws as `modelFolder`, `readConfig` and `readTokenizerFiles` do.
 */
export function gpt2Folder(model: string, options: DownloadOptions = {}): Promise<string> {
  return modelFolder(model, ['tokenizer', 'weights'], { ...options, checks: CHECKS });
}

/** The same, with the weights alone. */
export function weightsFolder(model: string, options: DownloadOptions = {}): Promise<string> {
  return modelFolder(model, ['weights'], { ...options, checks: CHECKS });
}

/**
 * Downloads a whole model, and asks the hub whether a cached one is still what its revision stands for. What the cache
 * holds is checked
 * against its hashes: files that were cut or changed since are downloaded again.
 *
 * @param model as for `GPT2.fromPretrained`; a model that is no hub's is where it is.
 * @returns its folder.
 * @throws as `gpt2Folder` does.
 */
export function downloadModel(model: string, options: DownloadOptions = {}): Promise<string> {
  return downloadWhole(model, { ...options, checks: CHECKS });
}

/** The architecture of a model, with its weights and its tokenizer in place. @throws as `gpt2Folder` does. */
export async function configOf(model: string): Promise<GPT2Config> {
  return readConfig(join(await gpt2Folder(model), 'config.json'));
}
