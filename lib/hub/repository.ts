/**
 * A repository on the hub, as it is at one commit: the list of its files, and each file downloaded into a snapshot in
 * the cache. The protocol is huggingface_hub's: one request for the commit and the list, then for each file a HEAD
 * request (hash and size) and a GET request.
 *
 * It uses fetch() rather than @huggingface/hub. That package writes the same layout, but it reads none of the
 * environment variables and has no lock, no check of size or hash, and no resume, so everything here would still be
 * needed.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { FileError, HubError, quoted } from '../errors';
import { fetchBlob } from './blob';
import { CachedRepository, ETAG } from './cache';
import { Connection, type ConnectionOptions, type Subject } from './connection';
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

export type RepositoryKind = 'model' | 'dataset';

/** What the hub's list says of a file besides its name; only lists of data sets are asked for it. */
export interface ListedFile {
  readonly rfilename: string;
  readonly size?: number;
  readonly blobId?: string;
  readonly lfs?: { readonly sha256: string; readonly size: number };
}

export class RemoteRepository {
  private constructor(
    readonly name: string,
    readonly kind: RepositoryKind,
    readonly revision: string,
    readonly commit: string,
    readonly list: readonly ListedFile[],
    readonly cached: CachedRepository,
    readonly connection: Connection,
    readonly onProgress: OnProgress,
  ) {}

  /**
   * Asks the hub for the commit that a revision points to, and for the list of its files.
   *
   * @throws HubError if the hub has no such repository or revision, or cannot be reached.
   */
  static async open(
    name: string,
    { kind, revision }: { readonly kind: RepositoryKind; readonly revision: string },
    settings: HubSettings,
    options: DownloadOptions,
  ): Promise<RemoteRepository> {
    const { onProgress = defaultProgress() } = options;
    const connection = new Connection(settings.endpoint, settings.token, options);
    const { commit, list } = await persistent(connection, name, onProgress, () =>
      listing(connection, { repository: name, kind, revision }),
    );
    const cached = new CachedRepository(settings.cache, name, kind);
    return new RemoteRepository(name, kind, revision, commit, list, cached, connection, onProgress);
  }

  get folder(): string {
    return this.cached.snapshot(this.commit);
  }

  /**
   * Downloads a file into the snapshot, unless it is there: a commit's files never change.
   *
   * @throws HubError if it cannot be downloaded, FileError if the cache cannot be written.
   */
  async fetch(file: string): Promise<void> {
    if (file.split(/[\\/]/).some((part) => /^\.{0,2}$/.test(part)))
      throw new HubError(
        `${this.connection.endpoint} lists the file ${quoted(file)} of "${this.name}", a path that leads out of the ` +
          'cache: it is not a Hugging Face hub; check HF_ENDPOINT',
      );
    if (existsSync(join(this.folder, file))) return;
    const { connection, cached, commit, onProgress } = this;
    const prefix = this.kind === 'dataset' ? '/datasets' : '';
    const path = `${prefix}/${this.name}/resolve/${commit}/${file.split('/').map(encodeURIComponent).join('/')}`;
    const subject = { repository: this.name, kind: this.kind, revision: this.revision, file };
    const { etag, size } = await persistent(connection, file, onProgress, () =>
      metadata(connection, path, subject, commit),
    );
    try {
      await fetchBlob(cached.blobs, cached.lock(etag), { path, subject, etag, size }, connection, onProgress);
      cached.link(commit, file, etag);
    } catch (error) {
      throw unwritable(error, cached.cache);
    }
  }

  /** Records that the revision points to this commit: what was asked for is in the cache. */
  pin(): void {
    try {
      this.cached.pin(this.revision, this.commit);
    } catch (error) {
      throw unwritable(error, this.cached.cache);
    }
  }
}

/** Attempts again after a temporary failure, and reports the pause as a file's progress. */
const persistent = <T>(connection: Connection, file: string, onProgress: OnProgress, attempt: () => Promise<T>) =>
  connection.persist(attempt, { tell: (pause) => onProgress({ file, received: 0, total: null, pause }) });

/** The commit that a revision points to, and its files. */
function listing(connection: Connection, subject: Subject & { readonly kind: RepositoryKind }) {
  const { repository, kind, revision } = subject;
  const details = kind === 'dataset' ? '?blobs=true' : '';
  const path = `/api/${kind}s/${repository}/revision/${encodeURIComponent(revision)}${details}`;
  return connection.request(
    path,
    subject,
    async (_answer, bytes) => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of bytes) chunks.push(chunk);
      try {
        const { sha, siblings } = JSON.parse(Buffer.concat(chunks).toString()) as {
          sha: unknown;
          siblings: ListedFile[];
        };
        const named = siblings.every(({ rfilename }) => typeof rfilename === 'string');
        if (named && typeof sha === 'string' && COMMIT.test(sha) && (!COMMIT.test(revision) || sha === revision))
          return { commit: sha, list: siblings };
      } catch {
        // not JSON, or not the hub's: the error below reports it
      }
      throw noHub(connection.endpoint, `no list of "${repository}"'s files`);
    },
    { most: connection.bounds.list },
  );
}

/** A file's hash and size, from the hub's headers. */
function metadata(connection: Connection, path: string, subject: Subject & { readonly file: string }, commit: string) {
  return connection.request(
    path,
    subject,
    async ({ status, headers }) => {
      const etag = (headers.get('x-linked-etag') ?? headers.get('etag') ?? '').replace(/^W\//, '').replaceAll('"', '');
      const length = headers.get('x-linked-size') ?? (status === 200 ? headers.get('content-length') : null);
      if (headers.get('x-repo-commit') !== commit) throw noHub(connection.endpoint, `no commit for ${subject.file}`);
      if (!ETAG.test(etag))
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
