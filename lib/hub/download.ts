/** Downloads the files of a model's repository into a snapshot in the cache. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { FileError, InputError } from '../errors';
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, requirePeftConfig } from '../formats/peftAdapter';
import { INDEX, isAdditionalTemplate, shards, type Part } from './modelFiles';
import { RemoteRepository, type DownloadOptions } from './repository';
import type { HubSettings } from './settings';

/**
 * What a caller checks before anything large is downloaded. Each check throws for a model that the caller cannot read.
 */
export interface Checks {
  /** Receives the path of config.json. */
  readonly config?: (path: string) => unknown;
  /** Receives the folder, once the tokenizer's files are there. */
  readonly tokenizer?: (folder: string) => unknown;
}

/** Each part's files. A download may stop after any file, so files that others depend on come first. */
const FILES: Record<Part, readonly string[]> = {
  tokenizer: [
    'special_tokens_map.json',
    'added_tokens.json',
    'tokenizer_config.json',
    'chat_template.jinja',
    'tokenizer.json',
    'vocab.json',
    'merges.txt',
  ],
  weights: ['generation_config.json', 'model.safetensors'],
};

/**
 * Downloads those files of a repository's parts that the cache lacks, and records the commit that the revision points
 * to.
 *
 * @returns the snapshot's folder.
 * @throws HubError, InputError if the repository is not a GPT-2 or has no safetensors, FileError if the cache cannot be
 *   written.
 */
export async function download(
  repository: string,
  revision: string,
  parts: readonly Part[],
  settings: HubSettings,
  { checks, ...options }: DownloadOptions & { checks: Checks },
): Promise<string> {
  const remote = await RemoteRepository.open(repository, { kind: 'model', revision }, settings, options);
  const { folder } = remote;
  const files = new Set(remote.list.map(({ rfilename }) => rfilename));
  const fetchPart = async (part: Part) => {
    const templates = part === 'tokenizer' ? [...files].filter(isAdditionalTemplate).sort() : [];
    for (const file of [...templates, ...FILES[part]]) if (files.has(file)) await remote.fetch(file);
  };

  if (files.has('config.json')) await remote.fetch('config.json');
  if (files.has(ADAPTER_CONFIG) && !files.has('model.safetensors') && !files.has(INDEX)) {
    await remote.fetch(ADAPTER_CONFIG);
    requirePeftConfig(folder);
    if (!files.has(ADAPTER_WEIGHTS))
      throw new InputError(
        `"${repository}" is an adapter without ${ADAPTER_WEIGHTS}; save it again with Python's peft, as safetensors`,
      );
    await fetchPart('tokenizer');
    if (parts.includes('weights')) await remote.fetch(ADAPTER_WEIGHTS);
    remote.pin();
    return folder;
  }
  if (parts.includes('weights')) {
    refuseOthers(repository, folder, files);
    checks.config?.(join(folder, 'config.json'));
  }
  for (const part of parts) {
    if (part === 'weights' && parts.includes('tokenizer')) checks.tokenizer?.(folder);
    await fetchPart(part);
  }
  if (parts.includes('weights') && !files.has('model.safetensors')) {
    await remote.fetch(INDEX);
    const names = shards(join(folder, INDEX));
    if (names.length === 0)
      throw new FileError(
        join(folder, INDEX),
        'its "weight_map" names no safetensors files; download another revision',
      );
    for (const shard of names) await remote.fetch(shard);
  }
  remote.pin();
  return folder;
}

/** Refuses a model that this library cannot read, before its weights are downloaded. */
function refuseOthers(repository: string, folder: string, files: ReadonlySet<string>): void {
  if (!files.has('config.json'))
    throw new InputError(
      `"${repository}" is not a transformers model: it has no config.json; name another, such as gpt2`,
    );
  const config = join(folder, 'config.json');
  let type: unknown;
  try {
    type = (JSON.parse(readFileSync(config, 'utf8')) as { model_type?: unknown }).model_type;
  } catch (cause) {
    throw new FileError(config, `cannot be read as JSON (${(cause as Error).message})`, { cause });
  }
  if (type !== 'gpt2')
    throw new InputError(
      `"${repository}" has the model type ${JSON.stringify(type)}; only GPT-2 models can be loaded, ` +
        'such as gpt2 or distilgpt2',
    );

  if (files.has('model.safetensors') || files.has(INDEX)) return;
  const pickled = ['pytorch_model.bin', 'pytorch_model.bin.index.json'].find((file) => files.has(file));
  if (pickled === undefined)
    throw new InputError(`"${repository}" has no model.safetensors; name another, such as gpt2`);
  throw new InputError(
    `"${repository}" has its weights only as ${pickled}, a Python pickle, which cannot be read here; convert it ` +
      `with Python's transformers: ` +
      `GPT2LMHeadModel.from_pretrained("${repository}").save_pretrained("my-model"), the same with ` +
      'GPT2TokenizerFast, and give ./my-model',
  );
}
