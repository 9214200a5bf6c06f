/**
 * The Hugging Face cache on disk, with the layout of Python's huggingface_hub:
 *
 *     models--openai-community--gpt2/
 *       blobs/<etag>                      the files' bytes, named by their hash
 *       refs/<revision>                   a commit
 *       snapshots/<commit>/<file>         -> ../../blobs/<etag>, with one more ../ for a file in a subfolder
 *
 * A data set's folder begins with `datasets--`, and also has the list of a commit's files (dataSetList.ts).
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';

import { fileDigest } from '../formats/fileBytes';
import { replaceEntry } from '../formats/replace';
import { COMMIT } from './modelName';

/** The paths of one repository's files in the cache. */
export class CachedRepository {
  readonly folder: string;

  constructor(
    readonly cache: string,
    readonly repository: string,
    readonly kind: 'model' | 'dataset' = 'model',
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
    return `${this.kind}s--${this.repository.replace('/', '--')}`;
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
    replaceEntry(path, (temporary) => writeFileSync(temporary, commit));
  }

  /** Gives a blob, which must exist and be complete, its name in a snapshot. */
  link(commit: string, file: string, etag: string): void {
    const path = join(this.snapshot(commit), file);
    const target = relative(dirname(path), join(this.blobs, etag));
    mkdirSync(dirname(path), { recursive: true });
    if (isLinkTo(path, target)) return;
    replaceEntry(path, (temporary) => {
      rmSync(temporary, { force: true }); // left by a killed process that had this one's id
      symlinkSync(target, temporary);
    }); // also replaces a link that leads nowhere
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

/** A sha256, or git's sha1. */
export const ETAG = /^([0-9a-f]{40}|[0-9a-f]{64})$/;

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
