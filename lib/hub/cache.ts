/**
 * The Hugging Face cache on disk, with the layout of Python's huggingface_hub:
 *
 *     models--openai-community--gpt2/
 *       blobs/<etag>                      the files' bytes, named by their hash
 *       refs/<revision>                   a commit
 *       snapshots/<commit>/<file>         -> ../../blobs/<etag>, with one more ../ for a file in a subfolder
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';

import { fileDigest } from '../formats/fileDigest';
import { ADAPTER_WEIGHTS, holdsAdapter } from '../formats/peftAdapter';
import { COMMIT } from './modelName';

/** The part of a model that a caller is about to read. The tokenizer alone is much smaller than the weights. */
export type Part = 'tokenizer' | 'weights';

export const INDEX = 'model.safetensors.index.json';

/** A folder of additional chat templates, such as those for tools or documents. */
export const ADDITIONAL_TEMPLATES = 'additional_chat_templates';

/** Whether a file, given by its path in the repository, is such a template. */
export const isAdditionalTemplate = (file: string): boolean =>
  /^additional_chat_templates\/\w[\w.-]*\.jinja$/.test(file);

/** The paths of one repository's files in the cache. */
export class CachedRepository {
  readonly folder: string;

  constructor(
    readonly cache: string,
    readonly repository: string,
  ) {
    this.folder = join(cache, this.name);
  }

  get blobs(): string {
    return join(this.folder, 'blobs');
  }

  /** Path of the lock for one blob, in the same folder as Python's locks. */
  lock(etag: string): string {
    return join(this.cache, '.locks', this.name, `${etag}.alignbook.lock`);
  }

  get name(): string {
    return `models--${this.repository.replace('/', '--')}`;
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit);
  }

  /** The commit that the revision pointed to at the last request to the hub, or null. */
  commit(revision: string): string | null {
    if (COMMIT.test(revision)) return revision;
    try {
      const commit = readFileSync(join(this.folder, 'refs', revision), 'utf8').trim();
      return COMMIT.test(commit) ? commit : null;
    } catch {
      return null;
    }
  }

  /** Records the commit that a revision points to. */
  pin(revision: string, commit: string): void {
    if (revision === commit || this.commit(revision) === commit) return;
    const path = join(this.folder, 'refs', revision);
    mkdirSync(dirname(path), { recursive: true });
    const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
    writeFileSync(temporary, commit);
    try {
      renameSync(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error; // for example, a folder has that name
    }
  }

  /** Gives a blob, which must exist and be complete, its name in a snapshot. */
  link(commit: string, file: string, etag: string): void {
    const path = join(this.snapshot(commit), file);
    const target = relative(dirname(path), join(this.blobs, etag));
    mkdirSync(dirname(path), { recursive: true });
    if (isLinkTo(path, target)) return;
    const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
    symlinkSync(target, temporary);
    try {
      renameSync(temporary, path); // also replaces a link that leads nowhere
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  }
}

/**
 * The files of a cached snapshot whose bytes do not match the hashes that name their blobs: they were cut or changed
 * after the download.
 */
export function damagedFiles(snapshot: string): string[] {
  if (!existsSync(snapshot)) return [];
  return readdirSync(snapshot, { recursive: true, encoding: 'utf8' }).filter((file) => {
    const path = join(snapshot, file);
    const etag = lstatSync(path).isSymbolicLink() ? basename(readlinkSync(path)) : '';
    return ETAG.test(etag) && existsSync(path) && !hasEtag(path, etag);
  });
}

/** Removes the bytes of a file in a snapshot, so that they are downloaded again. */
export function removeFile(snapshot: string, file: string): void {
  const path = join(snapshot, file);
  rmSync(join(dirname(path), readlinkSync(path)), { force: true });
  rmSync(path, { force: true });
}

const ETAG = /^([0-9a-f]{40}|[0-9a-f]{64})$/;

/**
 * Whether a file's contents match the hub's etag: the sha256 of a large file; for a small one, git's object name, which
 * is the sha1 of a header and the bytes.
 */
export function hasEtag(path: string, etag: string): boolean {
  const hash = etag.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${statSync(path).size}\0`);
  return fileDigest(path, hash) === etag;
}

function isLinkTo(path: string, target: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true && readlinkSync(path) === target;
}

export function hasTokenizer(folder: string): boolean {
  const has = (file: string) => existsSync(join(folder, file));
  return has('tokenizer.json') || (has('vocab.json') && has('merges.txt'));
}

/**
 * Whether a model folder contains every file needed to read the part. An adapter's tokenizer is downloaded before its
 * weights, and may be missing there: where the weights are, nothing more is to come.
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
