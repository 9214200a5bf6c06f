/**
 * Answers of a hub, a proxy or a storage host that are wrong. Every bound is lowered, so that a few kilobytes and a
 * tenth of a second reach it.
 */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';

import { GPT2, Tokenizer, type DownloadOptions } from 'alignbook';

import { root } from '../../scripts/paths';
import { etagOf, HubServer, sha256, type Seen } from '../hubServer';
import { runTries, type Try } from './tries';

const FIXTURES = join(root, 'tests', 'fixtures', 'gpt2');
const COMMIT = '607a30d783dfa663caf39e06633721c8d4cfcd7e';
const NAME = 'openai-community/gpt2';
const WEIGHTS = readFileSync(join(FIXTURES, 'model.safetensors'));
const CONFIG = readFileSync(join(FIXTURES, 'config.json'));
const FILES = { 'config.json': CONFIG, 'model.safetensors': WEIGHTS };

const bounds = { list: 20_000, file: 20_000, weights: WEIGHTS.length + 10_000, leastSpeed: 200, window: 150 };
const options: DownloadOptions = { retryDelay: 1, timeout: 300, onProgress: () => {}, bounds };

let server: HubServer;
let home: string;
before(async () => {
  server = await HubServer.start({ [NAME]: { commit: COMMIT, files: FILES } });
  home = mkdtempSync(join(tmpdir(), 'bounds-'));
  for (const name of Object.keys(process.env))
    if (/^(HF_|HUGGING|TRANSFORMERS_|XDG_CACHE)/.test(name)) delete process.env[name];
  Object.assign(process.env, { HF_HOME: home, HF_ENDPOINT: server.endpoint });
});
after(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(home, { recursive: true, force: true });
});

type Answer = (response: ServerResponse, seen: Seen) => void;

/** The four requests of a download. */
const REQUESTS: Readonly<Record<string, (seen: Seen) => boolean>> = {
  'the list': ({ path }) => path.startsWith('/api/models/'),
  'the head of a file': ({ method, path }) => method === 'HEAD' && path.endsWith('/config.json'),
  'a small file': ({ method, path }) => method === 'GET' && path.startsWith('/api/resolve-cache/'),
  'the weights': ({ host, method }) => host === 'storage' && method === 'GET',
};

/** Writes for ever, until the client has enough. */
function endless(response: ServerResponse, chunk: string | Buffer, pause: number): void {
  const write = (): void => {
    if (response.destroyed) return;
    response.write(chunk);
    if (pause > 0) setTimeout(write, pause).unref();
    else setImmediate(write);
  };
  write();
}

const head =
  (status: number, headers = {}): Answer =>
  (response) =>
    void response.writeHead(status, headers).end();
const body =
  (text: string | Buffer, headers = {}, status = 200): Answer =>
  (response) =>
    void response.writeHead(status, headers).end(text);

/** Wrong answers to any request. */
const ANSWERS: Readonly<Record<string, Answer>> = {
  'goes on for ever': (response) => endless(response.writeHead(200), 'x'.repeat(1000), 0),
  'one byte now and then, for ever': (response) => endless(response.writeHead(200), ' ', 20),
  'nothing after its head': (response) => response.writeHead(200, { 'content-length': 1000 }).flushHeaders(),
  'nothing at all': () => undefined,
  'a packed body that unfolds': body(gzipSync(Buffer.alloc(200_000)), { 'content-encoding': 'gzip' }),
  'a packed body that is damaged': body('not gzip', { 'content-encoding': 'gzip' }),
  'a page of a login': body('<!doctype html><title>Log in</title>', { 'content-type': 'text/html' }),
  'an empty body': body(''),
  'no content': head(204),
  'a list instead of an object': body('[]'),
  'JSON that is cut': body('{"sha": "60'),
  'JSON nested 5,000 deep': body('['.repeat(5000)),
  'bytes that are no text': body(Buffer.from([0xff, 0xfe, 0x00])),
  'the connection is reset': (response) => void response.socket?.destroy(),
  'a redirect without a place': head(302),
  'a redirect to no address': head(302, { location: 'http://[' }),
  'a redirect to a port that is none': head(302, { location: 'http://127.0.0.1:99999/' }),
  'a redirect to ftp': head(302, { location: 'ftp://127.0.0.1/config.json' }),
  'a redirect to a file': head(302, { location: 'file:///etc/hostname' }),
  'a redirect to data': head(302, { location: 'data:text/plain,x' }),
  'a redirect to itself': (response, { path }) => void response.writeHead(302, { location: path }).end(),
  'a redirect with a very long address': head(302, { location: `/${'x'.repeat(8000)}` }),
  ...Object.fromEntries(
    [400, 401, 403, 404, 410, 416, 418, 429, 451, 500, 502, 503].map((status) => [
      `status ${status}`,
      head(status, { 'retry-after': '0' }),
    ]),
  ),
  'status 429 for a year': head(429, { 'retry-after': '31536000' }),
  'an error whose body never ends': (response) => endless(response.writeHead(500), 'x'.repeat(1000), 0),
};

/** Wrong heads of a file. */
const etag = etagOf('config.json', CONFIG);
const HEADS: Readonly<Record<string, object>> = {
  'no commit': { etag: `"${etag}"` },
  'another commit': { etag: `"${etag}"`, 'x-repo-commit': 'f'.repeat(40) },
  'no hash': { 'x-repo-commit': COMMIT },
  'a hash that leads out of the cache': { etag: '"../../../../evil"', 'x-repo-commit': COMMIT },
  'a hash of capital letters': { etag: `"${etag.toUpperCase()}"`, 'x-repo-commit': COMMIT },
  'a hash of 39 digits': { etag: `"${etag.slice(1)}"`, 'x-repo-commit': COMMIT },
  'a size below 0': { 'x-linked-etag': etag, 'x-linked-size': '-1', 'x-repo-commit': COMMIT },
  'a size that is no number': { 'x-linked-etag': etag, 'x-linked-size': 'large', 'x-repo-commit': COMMIT },
  'a size of 10^30': { 'x-linked-etag': etag, 'x-linked-size': `1${'0'.repeat(30)}`, 'x-repo-commit': COMMIT },
  'a size beyond the bound': { 'x-linked-etag': etag, 'x-linked-size': '20001', 'x-repo-commit': COMMIT },
  'a size that is too small': { 'x-linked-etag': etag, 'x-linked-size': '3', 'x-repo-commit': COMMIT },
  'a size that is too large': { 'x-linked-etag': etag, 'x-linked-size': '19999', 'x-repo-commit': COMMIT },
  "another file's hash": {
    'x-linked-etag': 'f'.repeat(64),
    'x-linked-size': `${CONFIG.length}`,
    'x-repo-commit': COMMIT,
  },
};

/** Wrong lists of files. */
const files = (...names: unknown[]) => ({ sha: COMMIT, siblings: names.map((rfilename) => ({ rfilename })) });
const LISTS: Readonly<Record<string, unknown>> = {
  'no commit': { siblings: [] },
  'a commit that leads out of the cache': { ...files('config.json', 'model.safetensors'), sha: '../../../../evil' },
  'a commit of capital letters': { ...files('config.json'), sha: COMMIT.toUpperCase() },
  'a number as commit': { sha: 5, siblings: [] },
  'no files': files(),
  'null for files': { sha: COMMIT, siblings: null },
  'a text for files': { sha: COMMIT, siblings: 'config.json' },
  'an object for files': { sha: COMMIT, siblings: { rfilename: 'config.json' } },
  'null among files': { sha: COMMIT, siblings: [null] },
  'numbers as names': files(1, 2),
  'names that lead out of the cache': files('../../../evil', '/etc/hostname', 'config.json/../../evil'),
  "names of an object's own": files('__proto__', 'constructor', 'toString'),
  'a config.json alone': files('config.json'),
  'weights without a config': files('model.safetensors'),
  'a pickle alone': files('config.json', 'pytorch_model.bin'),
  'an index without its shards': files('config.json', 'model.safetensors.index.json'),
  'a name of 5,000 letters': files('config.json', 'x'.repeat(5000)),
};

/** What lies in the cache's way. */
const hub = () => join(home, 'hub');
const repository = () => join(hub(), 'models--openai-community--gpt2');
const put = (path: string, content?: string): void => {
  mkdirSync(content === undefined ? path : dirname(path), { recursive: true });
  if (content !== undefined) writeFileSync(path, content);
};
const WAYS: Readonly<Record<string, readonly [prepare: () => void, mayPass: boolean]>> = {
  'a file for the cache': [() => put(hub(), ''), false],
  'a file for the repository': [() => put(repository(), ''), false],
  'a file for its blobs': [() => put(join(repository(), 'blobs'), ''), false],
  'a file for its snapshots': [() => put(join(repository(), 'snapshots'), ''), false],
  'a file for the snapshot': [() => put(join(repository(), 'snapshots', COMMIT), ''), false],
  'a file for the locks': [() => put(join(hub(), '.locks'), ''), false],
  'a file for its refs': [() => put(join(repository(), 'refs'), ''), false],
  'a folder for a ref': [() => put(join(repository(), 'refs', 'main', 'more'), ''), false],
  'a folder for a blob': [() => put(join(repository(), 'blobs', sha256(WEIGHTS), 'more'), ''), false],
  'a folder for a file of the snapshot': [
    () => put(join(repository(), 'snapshots', COMMIT, 'config.json', 'more'), ''),
    false,
  ],
  'a folder for a lock': [
    () => put(join(hub(), '.locks', 'models--openai-community--gpt2', `${etag}.alignbook.lock`, 'more'), ''),
    false,
  ],
  'a ref that is no commit': [() => put(join(repository(), 'refs', 'main'), 'main'), true],
  'a ref that leads out of the cache': [() => put(join(repository(), 'refs', 'main'), '../../../../evil'), true],
  'an empty ref': [() => put(join(repository(), 'refs', 'main'), ''), true],
};

const bytesBelow = (folder: string): number =>
  statSync(folder, { throwIfNoEntry: false })?.isDirectory()
    ? readdirSync(folder, { recursive: true, encoding: 'utf8' }).reduce(
        (sum, name) => sum + (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0),
        0,
      )
    : 0;

test('wrong answers of a hub', { timeout: 600_000 }, async () => {
  const evil = join(home, '..', 'evil');
  const load =
    (intercept: typeof server.intercept, prepare: () => void = () => undefined) =>
    async () => {
      rmSync(hub(), { recursive: true, force: true });
      prepare();
      server.intercept = intercept;
      try {
        (await GPT2.fromPretrained(NAME, options)).dispose();
      } finally {
        server.intercept = () => false;
        assert.equal(existsSync(evil), false, 'it wrote outside of the cache');
        assert.ok(bytesBelow(hub()) < 10 * WEIGHTS.length, 'it fills the disk');
      }
    };
  const instead = (isWanted: (seen: Seen) => boolean, answer: Answer) => (seen: Seen, response: ServerResponse) => {
    if (!isWanted(seen)) return false;
    answer(response, seen);
    return true;
  };
  const tries: Try[] = [
    ...Object.entries(REQUESTS).flatMap(([request, isWanted]) =>
      Object.entries(ANSWERS).map(([name, answer]) => ({
        name: `${request}: ${name}`,
        run: load(instead(isWanted, answer)),
      })),
    ),
    ...Object.entries(HEADS).map(([name, headers]) => ({
      name: `the head says ${name}`,
      mayPass: /no number|below 0|too small/.test(name),
      run: load(instead(REQUESTS['the head of a file']!, head(200, headers))),
    })),
    ...Object.entries(LISTS).map(([name, list]) => ({
      name: `the list has ${name}`,
      run: load(instead(REQUESTS['the list']!, body(JSON.stringify(list)))),
    })),
    ...Object.entries(WAYS).map(([name, [prepare, mayPass]]) => ({
      name: `in the cache: ${name}`,
      mayPass,
      run: load(() => false, prepare),
    })),
  ];
  await runTries('hub', tries, 100);
});

test('addresses and names that are none', async () => {
  const names = [
    '',
    ' ',
    'a/b/c',
    '../x',
    'a..b',
    'https://huggingface.co/gpt2',
    'gpt2@',
    '@main',
    'gpt2@../x',
    'x'.repeat(200),
    'a/b@\n',
    'models/gpt2@main@main',
    '__proto__',
    'con structor',
  ];
  const endpoints = [
    'huggingface.co',
    'ftp://host',
    'http://',
    'http://[',
    'https://',
    'file:///tmp',
    'javascript:alert(1)',
    'http://127.0.0.1:1',
    'http://host.invalid',
  ];
  const at = async (endpoint: string) => {
    process.env['HF_ENDPOINT'] = endpoint;
    try {
      await Tokenizer.fromPretrained('openai-community/gpt2-other', options);
    } finally {
      process.env['HF_ENDPOINT'] = server.endpoint;
    }
  };
  await runTries(
    'hub names',
    [
      ...names.map((name) => ({
        name: `model ${JSON.stringify(name)}`,
        run: () => GPT2.fromPretrained(name, options),
      })),
      ...endpoints.map((endpoint) => ({ name: `endpoint ${endpoint}`, run: () => at(endpoint) })),
    ],
    20,
  );
});
