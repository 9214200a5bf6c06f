/**
 * A Hugging Face hub on this machine: a hub host and, on another port, the storage host to which it redirects requests
 * for large files. Data sets are repositories whose name begins with `datasets/`. It speaks as huggingface.co does
 * (huggingface_hub's file_download.py can read it), and fails when a test tells it to.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Repository {
  readonly commit: string;
  /** Branches and tags. Default: main. */
  readonly revisions?: readonly string[];
  readonly files: Readonly<Record<string, Buffer>>;
  /** Answers 401 without a token, and 403 with a token other than this. */
  readonly gatedFor?: string;
}

/** One request, as it arrived. */
export interface Seen {
  readonly host: 'hub' | 'storage';
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly token: string | undefined;
  /** The headers that describe the client: `accept-encoding`, `user-agent`, … */
  readonly headers: Readonly<Record<string, string>>;
}

/** Answers in place of the server; returns false to let the server answer. */
export type Intercept = (seen: Seen, response: ServerResponse) => boolean | void;

/** Git's name for a blob, which is also the etag of a small file. */
export function gitSha1(bytes: Buffer): string {
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
}

export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

const isLarge = (file: string) => /\.(safetensors|bin|parquet|gz)$/.test(file);

/** The hash under which a cache stores a file's bytes. */
export function etagOf(file: string, bytes: Buffer): string {
  return isLarge(file) ? sha256(bytes) : gitSha1(bytes);
}

export class HubServer implements AsyncDisposable {
  readonly seen: Seen[] = [];
  intercept: Intercept = () => false;
  /** Old names that the hub redirects from, such as gpt2. */
  readonly renamed = new Map<string, string>();

  private constructor(
    readonly repositories: Map<string, Repository>,
    readonly hub: Server,
    readonly storage: Server,
  ) {}

  static async start(repositories: Record<string, Repository>): Promise<HubServer> {
    const server = new HubServer(new Map(Object.entries(repositories)), createServer(), createServer());
    for (const [host, listener] of [
      ['hub', server.hub],
      ['storage', server.storage],
    ] as const) {
      listener.on('request', (request: IncomingMessage, response: ServerResponse) =>
        server.#answer(host, request, response),
      );
      listener.listen(0, '127.0.0.1');
      await once(listener, 'listening');
    }
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const listener of [this.hub, this.storage]) {
      listener.closeAllConnections();
      listener.close();
      await once(listener, 'close');
    }
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.hub.address() as AddressInfo).port}`;
  }

  /** The requests since the last call, as `METHOD path`; for the storage host, with the range. */
  taken(): string[] {
    return this.seen
      .splice(0)
      .map(({ host, method, path, range }) =>
        [method, host === 'hub' ? path : 'storage', range].filter(Boolean).join(' '),
      );
  }

  #answer(host: 'hub' | 'storage', request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url!, 'http://host');
    const token = request.headers.authorization?.replace(/^Bearer /, '');
    const seen: Seen = {
      host,
      method: request.method!,
      path: decodeURIComponent(pathname),
      range: request.headers.range,
      token,
      headers: request.headers as Record<string, string>,
    };
    // for a test in another language
    if (pathname === '/requests') return void response.end(JSON.stringify(this.taken()));
    if (pathname === '/seen') return void response.end(JSON.stringify(this.seen.splice(0)));
    this.seen.push(seen);
    if (this.intercept(seen, response) === true) return;
    if (host === 'hub') this.#answerAsHub(seen, response, searchParams.get('blobs') === 'true');
    else sendFile(response, this.#blob(pathname.slice(1)), seen);
  }

  #blob(etag: string): Buffer {
    const files = [...this.repositories.values()].flatMap(({ files }) => Object.entries(files));
    return files.find(([file, bytes]) => etagOf(file, bytes) === etag)![1];
  }

  #answerAsHub({ method, path, token, range }: Seen, response: ServerResponse, blobs: boolean): void {
    const cached = /^\/api\/resolve-cache\/([0-9a-f]+)$/.exec(path);
    const match =
      /^\/api\/(?:models\/)?(.+?)\/(revision|tree)\/(.+)$/.exec(path) ??
      /^\/(.+?)\/(resolve)\/([^/]+)\/(.+)$/.exec(path);
    const [, name = '', what = '', revision = '', file = ''] = match ?? [];
    const target = this.renamed.get(name);
    if (target !== undefined) return redirect(response, 307, path.replace(name, target));

    const repository = cached
      ? [...this.repositories.values()].find(({ files }) =>
          Object.entries(files).some(([key, bytes]) => etagOf(key, bytes) === cached[1]),
        )
      : this.repositories.get(name);
    if (!repository) return refuse(response, token === undefined ? 401 : 404, 'RepoNotFound');
    const { commit, revisions = ['main'], files, gatedFor } = repository;
    if (cached)
      return sendFile(
        response,
        this.#blob(cached[1]!),
        { method, range },
        { etag: `"${cached[1]}"`, 'x-repo-commit': commit },
      );
    if (what === 'resolve' && gatedFor !== undefined && token !== gatedFor)
      return refuse(response, token === undefined ? 401 : 403, 'GatedRepo');
    if (revision !== commit && !revisions.includes(revision)) return refuse(response, 404, 'RevisionNotFound');
    if (what === 'revision')
      return json(response, {
        id: name,
        sha: commit,
        siblings: Object.entries(files).map(([rfilename, bytes]) => ({
          rfilename,
          ...(blobs && listed(rfilename, bytes)),
        })),
      });
    if (what === 'tree')
      return json(
        response,
        Object.entries(files).map(([key, bytes]) => treeEntry(key, bytes)),
      );

    const bytes = files[file];
    if (!bytes) return refuse(response, 404, 'EntryNotFound', { 'x-repo-commit': commit });
    const etag = etagOf(file, bytes);
    if (!isLarge(file)) return redirect(response, 307, `/api/resolve-cache/${etag}`);
    const storage = `http://127.0.0.1:${(this.storage.address() as AddressInfo).port}/${etag}?signature=x`;
    const headers = {
      'x-repo-commit': commit,
      'x-linked-etag': `"${etag}"`,
      'x-linked-size': `${bytes.length}`,
      'accept-ranges': 'bytes',
      etag: '"of-the-redirect"',
    };
    return redirect(response, 302, storage, headers);
  }
}

/** What a list says of a file besides its name, where it is asked for. */
function listed(path: string, bytes: Buffer) {
  const { size, oid, lfs } = treeEntry(path, bytes);
  return { size, blobId: oid, ...(lfs && { lfs: { sha256: lfs.oid, size: lfs.size, pointerSize: lfs.pointerSize } }) };
}

function treeEntry(path: string, bytes: Buffer) {
  const lfs = isLarge(path) ? { oid: sha256(bytes), size: bytes.length, pointerSize: 134 } : undefined;
  return { type: 'file', path, size: bytes.length, oid: gitSha1(bytes), ...(lfs && { lfs }) };
}

function redirect(response: ServerResponse, status: number, location: string, headers = {}): void {
  response.writeHead(status, { ...headers, location, 'content-length': 0 }).end();
}

export function refuse(response: ServerResponse, status: number, code?: string, headers = {}): void {
  response
    .writeHead(status, { ...headers, ...(code !== undefined && { 'x-error-code': code }), 'content-length': 0 })
    .end();
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

/** A file, or the requested range of it, as a storage host sends it. */
export function sendFile(
  response: ServerResponse,
  bytes: Buffer,
  { method, range }: Pick<Seen, 'method' | 'range'>,
  headers = {},
): void {
  const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
  if (from > 0 && from >= bytes.length)
    return void response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
  const part = bytes.subarray(from);
  const partial = range === undefined ? {} : { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
  response.writeHead(range === undefined ? 200 : 206, {
    'accept-ranges': 'bytes',
    ...headers,
    ...partial,
    'content-length': part.length,
  });
  response.end(method === 'HEAD' ? undefined : part);
}
