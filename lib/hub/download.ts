/**
 * Downloads a repository's files into a snapshot in the cache, with the same protocol as huggingface_hub: one request
 * for the commit and the list of files, then for each file a HEAD request (hash and size) and a GET request.
 *
 * It uses fetch() rather than @huggingface/hub. That package writes the same layout, but it reads none of the
 * environment variables and has no lock, no check of size or hash, and no resume, so everything here would still be
 * needed.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { FileError, HubError, InputError } from '../errors';
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, requirePeftConfig } from '../formats/peftAdapter';
import { fetchBlob } from './blob';
import { CachedRepository } from './cache';
import { Connection, type ConnectionOptions } from './connection';
import { INDEX, isAdditionalTemplate, shards, type Part } from './modelFiles';
import { COMMIT } from './modelName';
import { defaultProgress, type OnProgress } from './progress';
import type { HubSettings } from './settings';

export interface DownloadOptions extends ConnectionOptions {
  /**
   * Called for every piece that arrives. Default: a progress bar on stderr if that is a terminal, and nothing in a
   * notebook.
   */
  readonly onProgress?: OnProgress;
}

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
  const { onProgress = defaultProgress() } = options;
  const connection = new Connection(settings.endpoint, settings.token, options);
  const cached = new CachedRepository(settings.cache, repository);
  const persistent = <T>(file: string, attempt: () => Promise<T>) =>
    connection.persist(attempt, { tell: (pause) => onProgress({ file, received: 0, total: null, pause }) });

  const { commit, files } = await persistent(repository, () => listing(connection, repository, revision));
  const folder = cached.snapshot(commit);

  const fetchFile = async (file: string) => {
    if (existsSync(join(folder, file))) return; // a commit's files never change
    const path = `/${repository}/resolve/${commit}/${file.split('/').map(encodeURIComponent).join('/')}`;
    const subject = { repository, revision, file };
    const { etag, size } = await persistent(file, () => metadata(connection, path, subject, commit));
    await fetchBlob(cached.blobs, cached.lock(etag), { path, subject, etag, size }, connection, onProgress);
    cached.link(commit, file, etag);
  };
  const fetchPart = async (part: Part) => {
    const templates = part === 'tokenizer' ? [...files].filter(isAdditionalTemplate).sort() : [];
    for (const file of [...templates, ...FILES[part]]) if (files.has(file)) await fetchFile(file);
  };

  try {
    if (files.has('config.json')) await fetchFile('config.json');
    if (files.has(ADAPTER_CONFIG) && !files.has('model.safetensors') && !files.has(INDEX)) {
      await fetchFile(ADAPTER_CONFIG);
      requirePeftConfig(folder);
      if (!files.has(ADAPTER_WEIGHTS))
        throw new InputError(
          `"${repository}" is an adapter without ${ADAPTER_WEIGHTS}; save it again with Python's peft, as safetensors`,
        );
      await fetchPart('tokenizer');
      if (parts.includes('weights')) await fetchFile(ADAPTER_WEIGHTS);
      cached.pin(revision, commit);
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
      await fetchFile(INDEX);
      const names = shards(join(folder, INDEX));
      if (names.length === 0)
        throw new FileError(
          join(folder, INDEX),
          'its "weight_map" names no safetensors files; download another revision',
        );
      for (const shard of names) await fetchFile(shard);
    }
    cached.pin(revision, commit);
  } catch (error) {
    throw unwritable(error, settings.cache);
  }
  return folder;
}

/** The commit that a revision points to, and the names of its files. */
function listing(connection: Connection, repository: string, revision: string) {
  const path = `/api/models/${repository}/revision/${encodeURIComponent(revision)}`;
  return connection.request(
    path,
    { repository, revision },
    async (_answer, bytes) => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of bytes) chunks.push(chunk);
      try {
        const { sha, siblings } = JSON.parse(Buffer.concat(chunks).toString()) as {
          sha: unknown;
          siblings: { rfilename: string }[];
        };
        if (typeof sha === 'string' && COMMIT.test(sha) && (!COMMIT.test(revision) || sha === revision)) {
          return { commit: sha, files: new Set(siblings.map(({ rfilename }) => rfilename)) };
        }
      } catch {
        // not JSON, or not the hub's: the error below reports it
      }
      throw noHub(connection.endpoint, `no list of "${repository}"'s files`);
    },
    { most: connection.bounds.list },
  );
}

/** A file's hash and size, from the hub's headers. */
function metadata(
  connection: Connection,
  path: string,
  subject: { repository: string; revision: string; file: string },
  commit: string,
) {
  return connection.request(
    path,
    subject,
    async ({ status, headers }) => {
      const etag = (headers.get('x-linked-etag') ?? headers.get('etag') ?? '').replace(/^W\//, '').replaceAll('"', '');
      const length = headers.get('x-linked-size') ?? (status === 200 ? headers.get('content-length') : null);
      if (headers.get('x-repo-commit') !== commit) throw noHub(connection.endpoint, `no commit for ${subject.file}`);
      if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(etag))
        throw noHub(connection.endpoint, `no hash for ${subject.file}, so the download could not be verified`);
      return { etag, size: length !== null && /^\d+$/.test(length) ? Number(length) : null };
    },
    { method: 'HEAD', most: connection.bounds.list },
  );
}

function noHub(endpoint: string, what: string): HubError {
  return new HubError(
    `${endpoint} gives ${what}: it is not a Hugging Face hub, or a proxy answers instead; check HF_ENDPOINT and ` +
      'the network',
  );
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

/** Adds the remedy to an error of the file system; returns any other error unchanged. */
function unwritable(error: unknown, cache: string): unknown {
  const { code, path: from, dest } = error as NodeJS.ErrnoException & { dest?: string };
  const path = dest ?? from; // `dest`: the new path in a rename
  const inTheWay: Readonly<Record<string, string>> = {
    ENOTDIR: 'a file where a folder should be',
    EEXIST: 'a file where a folder should be',
    EISDIR: 'a folder where a file should be',
    ENOTEMPTY: 'a folder where a file should be',
  };
  if (Object.hasOwn(inTheWay, String(code)))
    return new FileError(
      path ?? cache,
      `is, or leads through, ${inTheWay[String(code)]} (${code}); remove that, or set HF_HOME to another folder`,
      { cause: error },
    );
  if (!['EACCES', 'EPERM', 'EROFS'].includes(String(code))) return error;
  return new FileError(
    path ?? cache,
    `cannot be written (${code}); make it writable, or set HF_HOME to a folder that is`,
    { cause: error },
  );
}
