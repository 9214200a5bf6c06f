/** A model's name -> its folder, with its config and tokenizer checked before its weights are downloaded. */
import { join } from 'node:path';

import { readConfig, type GPT2Config } from '../formats/config';
import { downloadWhole, modelFiles, type ModelFiles } from '../hub/modelFolder';
import type { DownloadOptions } from '../hub/repository';
import { readTokenizerFiles } from '../text/tokenizerFiles';

/** If config.json or the tokenizer of a model on the hub is not supported, nothing large is downloaded. */
const CHECKS = { config: readConfig, tokenizer: readTokenizerFiles } as const;

/**
 * @param model as for `modelFolder`.
 * @returns its folder, with its weights and its tokenizer; for an adapter, also those of its base model.
 * @throws as `modelFiles`, `readConfig` and `readTokenizerFiles` do.
 */
export function gpt2Files(model: string, options: DownloadOptions = {}): Promise<ModelFiles> {
  return modelFiles(model, ['tokenizer', 'weights'], { ...options, checks: CHECKS });
}

/** The same, without the tokenizer. */
export function weightsFiles(model: string, options: DownloadOptions = {}): Promise<ModelFiles> {
  return modelFiles(model, ['weights'], { ...options, checks: CHECKS });
}

/**
 * Downloads a complete model, and asks the hub whether a cached one is still current for its revision. Cached files are
 * checked against their hashes: those that were cut short or changed are downloaded again.
 *
 * @param model as for `GPT2.fromPretrained`; a local model stays where it is.
 * @returns its folder.
 * @throws as `gpt2Files` does.
 */
export function downloadModel(model: string, options: DownloadOptions = {}): Promise<string> {
  return downloadWhole(model, { ...options, checks: CHECKS });
}

/** The architecture of a model, with its weights and its tokenizer in place. @throws as `gpt2Files` does. */
export async function configOf(model: string): Promise<GPT2Config> {
  return readConfig(join((await gpt2Files(model)).folder, 'config.json'));
}
