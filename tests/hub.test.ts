/** Downloads from a hub on this machine, which fails in every way in which the real one may fail (hubServer.ts). */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import type { ServerResponse } from 'node:http';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, beforeEach, test } from 'node:test';

import {
  downloadModel,
  FileError,
  GPT2,
  HubError,
  InputError,
  progressPrinter,
  SafetensorsFile,
  Tokenizer,
  writeSafetensors,
  type DownloadOptions,
  type DownloadProgress,
} from 'alignbook';

import { root } from '../scripts/paths';
import { etagOf, gitSha1, HubServer, refuse, sendFile, sha256, type Seen } from './hubServer';
import { matching } from './matching';

const FIXTURES = join(root, 'tests', 'fixtures', 'gpt2');
const TINY = join(root, 'data', 'models', 'tiny');

const COMMIT = '607a30d783dfa663caf39e06633721c8d4cfcd7e';
const WEIGHTS = readFileSync(join(FIXTURES, 'model.safetensors'));
const SIZE = WEIGHTS.length;
const SHA = sha256(WEIGHTS);
const tokenizerFiles = Object.fromEntries(
  ['tokenizer.json', 'vocab.json', 'merges.txt'].map((file) => [file, readFileSync(join(TINY, file))]),
);
/** The same files as openai-community/gpt2, whose tokenizer_config.json contains only this. */
const FILES: Record<string, Buffer> = {
  'README.md': Buffer.from('not needed'),
  'config.json': readFileSync(join(FIXTURES, 'config.json')),
  'generation_config.json': Buffer.from('{}'),
  'model.safetensors': WEIGHTS,
  'pytorch_model.bin': Buffer.from('not needed'),
  'tokenizer_config.json': Buffer.from('{"model_max_length": 1024}'),
  ...tokenizerFiles,
};
const { 'model.safetensors': _weights, ...WITHOUT_WEIGHTS } = FILES;

const NAME = 'openai-community/gpt2';
/** Retries at once, without a message. */
const quick: DownloadOptions = { retryDelay: 1, onProgress: () => {} };

let server: HubServer;
let home = '';
const homes: string[] = [];

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'hub-'));
  homes.push(home);
  server = await HubServer.start({ [NAME]: { commit: COMMIT, revisions: ['main', 'v1', 'refs/pr/1'], files: FILES } });
  for (const name of Object.keys(process.env))
    if (/^(HF_|HUGGING|TRANSFORMERS_|XDG_CACHE)|_PROXY$/i.test(name)) delete process.env[name];
  process.env['HF_HOME'] = home;
  process.env['HF_ENDPOINT'] = server.endpoint;
});
afterEach(() => server[Symbol.asyncDispose]());
after(() => homes.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

const repository = (name = NAME) => join(home, 'hub', `models--${name.replace('/', '--')}`);
const snapshot = (name = NAME) => join(repository(name), 'snapshots', COMMIT);
const blobs = (name = NAME) =>
  existsSync(join(repository(name), 'blobs')) ? readdirSync(join(repository(name), 'blobs')) : [];
const incomplete = () =>
  blobs()
    .filter((name) => name.endsWith('.incomplete'))
    .map((name) => join(repository(), 'blobs', name));

/** What no failure may leave behind: a name in a snapshot, or a blob, whose bytes do not match its hash. */
function assertNothingCorrupt(name = NAME): void {
  for (const etag of blobs(name).filter((blob) => !blob.endsWith('.incomplete'))) {
    const bytes = readFileSync(join(repository(name), 'blobs', etag));
    assert.equal(etag.length === 64 ? sha256(bytes) : gitSha1(bytes), etag);
  }
  for (const file of existsSync(snapshot(name)) ? readdirSync(snapshot(name)) : [])
    readFileSync(join(snapshot(name), file));
}

/** The weights are refused with such a message, and neither they nor the revision get a name in the cache. */
async function refused(
  message: RegExp,
  {
    kind = HubError,
    model = NAME,
    options = quick,
  }: { kind?: typeof HubError | typeof FileError; model?: string; options?: typeof quick } = {},
): Promise<void> {
  await assert.rejects(GPT2.fromPretrained(model, options), (error: Error) => {
    assert.ok(error instanceof kind, `${error.name}: ${error.stack}`);
    assert.match(error.message, message);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  });
  const name = model.split('@')[0]!;
  assertNothingCorrupt(name);
  assert.equal(existsSync(join(snapshot(name), 'model.safetensors')), false);
  assert.equal(existsSync(join(repository(name), 'refs', 'main')), false);
}

async function assertLoads(model = NAME): Promise<void> {
  const gpt2 = await GPT2.fromPretrained(model, quick);
  using file = new SafetensorsFile(join(FIXTURES, 'model.safetensors'));
  assert.deepEqual(gpt2.weights.values('h.2.mlp.c_proj.weight'), file.float32('transformer.h.2.mlp.c_proj.weight'));
  gpt2.dispose();
  assertNothingCorrupt(model.split('@')[0]);
}

const isWeights = (seen: Seen) => seen.host === 'storage' && seen.path === `/${SHA}`;

/** Answers the storage host's requests in turn; after the last, the server answers itself. */
function storage(...answers: ((response: ServerResponse, seen: Seen) => void)[]): void {
  server.intercept = (seen, response) => {
    const answer = isWeights(seen) ? answers.shift() : undefined;
    answer?.(response, seen);
    return answer !== undefined;
  };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Sends the answer up to a certain byte, waits until that is on the client's disk, and breaks the connection. */
function cut(at: number, { bytes = WEIGHTS, partial = true } = {}) {
  return async (response: ServerResponse, { range }: Seen) => {
    const from = partial ? Number(/\d+/.exec(range ?? '0')![0]) : 0;
    const head = from > 0 ? { 'content-range': `bytes ${from}-${SIZE - 1}/${SIZE}` } : {};
    response.writeHead(from > 0 ? 206 : 200, { ...head, 'content-length': SIZE - from });
    response.flushHeaders();
    response.write(bytes.subarray(from, at));
    await until(() => incomplete().some((path) => statSync(path, { throwIfNoEntry: false })?.size === at));
    response.destroy();
  };
}

test('a model is downloaded in the layout of Python, loaded, and used again without a request', async () => {
  await assertLoads();
  const tokenizer = await Tokenizer.fromPretrained(NAME, quick);
  assert.deepEqual(tokenizer.encode('Hello world<|endoftext|>'), [15496, 995, 50256]);
  assert.equal(tokenizer.eosTokenId, 50256);

  assert.equal(readFileSync(join(repository(), 'refs', 'main'), 'utf8'), COMMIT);
  const wanted = Object.keys(FILES)
    .filter((file) => !['README.md', 'pytorch_model.bin'].includes(file))
    .sort();
  assert.deepEqual(readdirSync(snapshot()).sort(), wanted);
  for (const file of wanted) {
    assert.equal(readlinkSync(join(snapshot(), file)), `../../blobs/${etagOf(file, FILES[file]!)}`);
    assert.deepEqual(readFileSync(join(snapshot(), file)), FILES[file]);
  }
  assert.equal(blobs().length, wanted.length, 'and nothing else');

  server.taken();
  await assertLoads();
  await Tokenizer.fromPretrained(NAME);
  await assertLoads(`${NAME}@${COMMIT}`);
  assert.deepEqual(server.taken(), []);
});

test('a tokenizer asks for no weights', async () => {
  await Tokenizer.fromPretrained(NAME, quick);
  assert.ok(server.seen.length > 0);
  assert.deepEqual(
    server.seen.filter(({ path }) => /model|generation/.test(path) && !path.startsWith('/api/models/')),
    [],
  );
});

test('what Python left in the cache is used without a request', async () => {
  mkdirSync(join(repository('gpt2'), 'blobs'), { recursive: true });
  mkdirSync(join(repository('gpt2'), 'refs'));
  mkdirSync(snapshot('gpt2'), { recursive: true });
  writeFileSync(join(repository('gpt2'), 'refs', 'main'), COMMIT);
  for (const file of ['config.json', 'model.safetensors', 'tokenizer.json']) {
    const etag = etagOf(file, FILES[file]!);
    writeFileSync(join(repository('gpt2'), 'blobs', etag), FILES[file]!);
    symlinkSync(`../../blobs/${etag}`, join(snapshot('gpt2'), file));
  }
  await assertLoads('gpt2');
  assert.equal((await Tokenizer.fromPretrained('gpt2')).eosToken, '<|endoftext|>');
  assert.deepEqual(server.taken(), []);
});

test('an old name leads to the repository, under the name that was asked for', async () => {
  server.renamed.set('gpt2', NAME);
  await assertLoads('gpt2');
  assert.ok(lstatSync(join(snapshot('gpt2'), 'model.safetensors')).isSymbolicLink());
});

test('a revision is pinned by tag, branch or commit', async () => {
  await assertLoads(`${NAME}@v1`);
  await assertLoads(`${NAME}@refs/pr/1`);
  assert.equal(readFileSync(join(repository(), 'refs', 'v1'), 'utf8'), COMMIT);
  assert.equal(readFileSync(join(repository(), 'refs', 'refs', 'pr', '1'), 'utf8'), COMMIT);
  assert.equal(existsSync(join(repository(), 'refs', 'main')), false);
  assert.deepEqual(
    server.taken().filter((request) => request.startsWith('GET /api/models/')),
    [`GET /api/models/${NAME}/revision/v1`, `GET /api/models/${NAME}/revision/refs/pr/1`],
  );
});

test('the tokenizer and the weights are of one commit; download asks for the newer one', async () => {
  await Tokenizer.fromPretrained(NAME, quick);
  const newer = 'a'.repeat(40);
  const { intercept } = server;
  server.intercept = ({ path }, response) => {
    if (!path.endsWith('/revision/main')) return false;
    response.end(JSON.stringify({ sha: newer, siblings: Object.keys(FILES).map((rfilename) => ({ rfilename })) }));
    return true;
  };
  await assertLoads();
  assert.ok(existsSync(join(snapshot(), 'model.safetensors')));
  server.intercept = intercept;
  server.repositories.set(NAME, { commit: newer, files: FILES });
  server.taken();
  assert.equal(await downloadModel(NAME, quick), join(repository(), 'snapshots', newer));
  assert.equal(readFileSync(join(repository(), 'refs', 'main'), 'utf8'), newer);
  assert.deepEqual(
    server.taken().filter((request) => request.includes('storage')),
    [],
    'the bytes are the same',
  );
});

test('names that are none are refused without a request', async () => {
  for (const model of ['', 'a/b/c', 'a--b', 'x@', 'x@../../y', 'gpt2@a b', '-x', 'x.git', 'a\nb', 'gpt2@/etc']) {
    await assert.rejects(GPT2.fromPretrained(model), InputError, model);
  }
  assert.deepEqual(server.taken(), []);
});

for (const at of [0, 1, 7, 8, 9, 4096, SIZE >> 1, SIZE - 2, SIZE - 1]) {
  test(`a connection cut at byte ${at} of ${SIZE} goes on from there`, async () => {
    storage(at === 0 ? (response) => void response.destroy() : cut(at));
    await assertLoads();
    const asked = server.taken().filter((request) => request.startsWith('GET storage'));
    assert.deepEqual(asked, ['GET storage', at === 0 ? 'GET storage' : `GET storage bytes=${at}-`]);
    assert.deepEqual(incomplete(), []);
  });
}

test('every other request may be cut or fail once, too', async () => {
  const failed = new Set<string>();
  server.intercept = ({ method, path, range }, response) => {
    const key = `${method} ${path} ${range}`;
    if (failed.has(key)) return false;
    failed.add(key);
    if (failed.size % 2 === 0) response.destroy();
    else refuse(response, [500, 502, 503, 504, 408][failed.size % 5]!);
    return true;
  };
  await assertLoads();
  assert.ok(failed.size > 8, `${failed.size}`);
});

test('cut again and again it gives up, keeps what came, and another call asks only for the rest', async () => {
  storage(
    cut(1000),
    cut(2000),
    ...Array.from({ length: 6 }, () => (response: ServerResponse) => void response.destroy()),
  );
  await refused(
    matching(
      /^the connection to 127\.0\.0\.1:\d+ was lost \(.+\), 6 times in a row; try again later: the/,
      / bytes received so far are kept$/,
    ),
  );
  assert.equal(
    server.taken().filter((request) => request.startsWith('GET storage')).length,
    8 - 1,
    'the first of the six is the cut at 2000',
  );
  assert.deepEqual(
    incomplete().map((path) => statSync(path).size),
    [2000],
  );
  server.intercept = () => false;
  await assertLoads();
  assert.deepEqual(
    server.taken().filter((request) => request.startsWith('GET storage')),
    ['GET storage bytes=2000-'],
  );
});

test(
  'a storage host that ignores ranges: from the start, and no circle if it is always cut',
  { timeout: 20_000 },
  async () => {
    storage(cut(5000), (response) => sendFile(response, WEIGHTS, { method: 'GET', range: undefined }));
    await assertLoads();
    rmSync(repository(), { recursive: true });
    storage(...Array.from({ length: 50 }, () => cut(5000, { partial: false })));
    await refused(/6 times in a row/);
  },
);

test('a range other than the one asked for is not taken for it', { timeout: 20_000 }, async () => {
  storage(cut(5000), (response) => {
    response.writeHead(206, { 'content-range': `bytes 0-${SIZE - 1}/${SIZE}`, 'content-length': SIZE }).end(WEIGHTS);
  });
  await assertLoads();
});

const flipped = Buffer.from(WEIGHTS);
flipped[SIZE - 3]! ^= 1;
const sends = (bytes: Buffer) => (response: ServerResponse, seen: Seen) => sendFile(response, bytes, seen);

test('one wrong bit: downloaded anew; twice: refused, and nothing is left', async () => {
  storage(sends(flipped));
  await assertLoads();
  rmSync(repository(), { recursive: true });
  storage(sends(flipped), sends(flipped));
  await refused(
    matching(
      /^model\.safetensors of "openai-community\/gpt2" was downloaded twice, each time with bytes/,
      / that do not match the hash that the hub lists \([0-9a-f]{64}\): .*try again/,
    ),
  );
  assert.deepEqual(incomplete(), []);
});

test('a small file is held to its hash as well', async () => {
  const etag = etagOf('config.json', FILES['config.json']!);
  server.intercept = ({ method, path }, response) => {
    if (method !== 'GET' || !path.endsWith(etag)) return false;
    sendFile(response, Buffer.from(FILES['config.json']!.toString().replace('"n_head": 5', '"n_head": 3')), {
      method,
      range: undefined,
    });
    return true;
  };
  await refused(/^config\.json of .* was downloaded twice, each time with bytes that do not match/);
  assert.deepEqual(blobs(), []);
});

test('a damaged remainder of an earlier attempt is found out, and downloaded anew', async () => {
  storage(
    cut(9000, { bytes: Buffer.alloc(SIZE, 1) }),
    ...Array.from({ length: 5 }, () => (response: ServerResponse) => void response.destroy()),
  );
  await refused(/6 times/);
  server.taken();
  await assertLoads();
  assert.deepEqual(
    server.taken().filter((request) => request.startsWith('GET storage')),
    ['GET storage bytes=9000-', 'GET storage'],
  );
});

test('too many bytes, or too few', async () => {
  const longer = Buffer.concat([WEIGHTS, Buffer.from('more')]);
  storage(sends(longer), sends(longer));
  await refused(/was downloaded twice, each time with bytes that do not match/);
  const shorter = WEIGHTS.subarray(0, SIZE - 4);
  storage(...Array.from({ length: 9 }, () => sends(shorter)));
  await refused(/has fewer bytes of model\.safetensors than the hub lists; try again later/);
});

test('a blob of the wrong size, left by others, is not used', async () => {
  mkdirSync(join(repository(), 'blobs'), { recursive: true });
  writeFileSync(join(repository(), 'blobs', SHA), WEIGHTS.subarray(0, 100));
  await assertLoads();
});

test('silence ends a connection, slowness does not', { timeout: 20_000 }, async () => {
  storage(
    (response) => void response.writeHead(200, { 'content-length': SIZE }).write(WEIGHTS.subarray(0, 10)),
    async (response, { range }) => {
      const from = Number(/\d+/.exec(range!)![0]);
      response.writeHead(206, { 'content-range': `bytes ${from}-${SIZE - 1}/${SIZE}`, 'content-length': SIZE - from });
      for (let i = from; i < SIZE; i += SIZE >> 3) {
        response.write(WEIGHTS.subarray(i, Math.min(SIZE, i + (SIZE >> 3))));
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      response.end();
    },
  );
  const pauses: string[] = [];
  const gpt2 = await GPT2.fromPretrained(NAME, {
    retryDelay: 1,
    timeout: 1000,
    onProgress: ({ pause }) => void (pause !== undefined && pauses.push(pause)),
  });
  gpt2.dispose();
  assert.deepEqual(
    server.taken().filter((request) => request.startsWith('GET storage')),
    ['GET storage', 'GET storage bytes=10-'],
  );
  assert.match(pauses.join(), /^the connection to 127\.0\.0\.1:\d+ was lost \(silent for 1 s\); trying again in 1 s$/);
});

test('429: waits as long as it is asked to, but not for an hour', { timeout: 20_000 }, async () => {
  let refusals = 0;
  const tooMany = (headers: object) => {
    refusals = 0;
    server.intercept = ({ path }, response) =>
      path.startsWith('/api/models') && (refusals += 1) === 1 && (refuse(response, 429, undefined, headers), true);
  };
  tooMany({ 'retry-after': '1' });
  const start = performance.now();
  await assertLoads();
  assert.ok(performance.now() - start >= 990);
  assert.equal(refusals, 2);
  for (const headers of [
    { 'retry-after': '3600' },
    { ratelimit: '"api";r=0;t=3600' },
    { 'retry-after': new Date(Date.now() + 3_600_000).toUTCString() },
  ]) {
    rmSync(repository(), { recursive: true, force: true });
    tooMany(headers);
    await refused(/^127\.0\.0\.1:\d+ answers 429, too many requests, and asks to wait 60 minutes; try again then/);
  }
});

test('what the hub refuses, and what to do', async () => {
  await refused(
    matching(
      /^"no\/such" does not exist, or is private and needs a token \(HF_TOKEN or "hf auth login"\);/,
      / check the name at http.+\/no\/such$/,
    ),
    { model: 'no/such' },
  );
  await refused(
    matching(
      /^"openai-community\/gpt2" has no revision "v9"; its branches and tags are listed at/,
      / http.+\/openai-community\/gpt2\/tree\/main$/,
    ),
    { model: `${NAME}@v9` },
  );
  server.repositories.set('org/gated', { commit: COMMIT, files: FILES, gatedFor: 'hf_right' });
  await refused(
    matching(
      /^"org\/gated" is gated: accept its terms at http.+\/org\/gated, then give a token that belongs/,
      / to that account \(HF_TOKEN or "hf auth login"\)$/,
    ),
    { model: 'org/gated' },
  );
  process.env['HF_TOKEN'] = 'hf_wrong';
  await refused(
    /^"org\/gated" is gated: accept its terms at http.+\/org\/gated with the account that your token belongs to$/,
    {
      model: 'org/gated',
    },
  );
  await refused(/^"no\/such" does not exist, or your token has no access to it; check the name at/, {
    model: 'no/such',
  });
  process.env['HF_TOKEN'] = 'hf_right';
  await assertLoads('org/gated');

  const always = (status: number, code?: string) =>
    (server.intercept = ({ host }, response) => host === 'hub' && (refuse(response, status, code), true));
  always(401);
  await refused(/refuses your token \(401\); make a new one at http.+\/settings\/tokens/);
  delete process.env['HF_TOKEN'];
  await refused(
    /^"openai-community\/gpt2" needs a token \(401\); make one at http.+\/settings\/tokens and give it as HF_TOKEN/,
  );
  always(403);
  await refused(/denies access to "openai-community\/gpt2" \(403\): it may need a token \(HF_TOKEN/);
  always(404);
  await refused(/does not exist/);
  always(418);
  await refused(/answers 418 to \/api\/models.+; check HF_ENDPOINT/);
  always(500);
  await refused(/answers 500, 6 times in a row; try again later/);
  server.intercept = ({ path }, response) => path.includes('resolve') && (refuse(response, 404, 'EntryNotFound'), true);
  await refused(/^"openai-community\/gpt2" has no config\.json at "main"; its files are listed at/);
  server.intercept = ({ path }, response) => (response.writeHead(302, { location: path }).end(), true);
  await refused(/redirects in a circle/);
});

test('a host that is no hub', async () => {
  server.intercept = (_seen, response) => (response.end('<html>Sign in to the network</html>'), true);
  await refused(
    matching(
      /gives no list of "openai-community\/gpt2"'s files: it is not a Hugging Face hub, or a proxy/,
      / answers instead; check HF_ENDPOINT/,
    ),
  );
  const head = (headers: object) =>
    (server.intercept = ({ method }, response) =>
      method === 'HEAD' && (response.writeHead(200, { ...headers }).end(), true));
  head({ etag: `"${SHA}"` });
  await refused(/gives no commit for config\.json/);
  head({ etag: '"an-md5"', 'x-repo-commit': COMMIT });
  await refused(/gives no hash for config\.json, so the download could not be verified/);
  process.env['HF_ENDPOINT'] = 'huggingface.co';
  await refused(/^HF_ENDPOINT must be an address such as https:\/\/huggingface\.co, not "huggingface\.co"$/);
});

test('a host that is not there, and offline', async () => {
  process.env['HF_ENDPOINT'] = 'http://no-such-host.invalid';
  process.env['HTTPS_PROXY'] = 'http://proxy:3128';
  await refused(
    matching(
      /^no-such-host\.invalid cannot be found \((ENOTFOUND|EAI_AGAIN)\): check the network and the/,
      / proxy \(HTTPS_PROXY\), or set HF_ENDPOINT to a mirror, or download with "hf download/,
      / openai-community\/gpt2"/,
    ),
  );
  delete process.env['HTTPS_PROXY'];
  const closed = await HubServer.start({});
  process.env['HF_ENDPOINT'] = closed.endpoint;
  await closed[Symbol.asyncDispose]();
  await refused(/^127\.0\.0\.1:\d+ cannot be reached \(ECONNREFUSED\): check the network and HF_ENDPOINT/);

  process.env['HF_ENDPOINT'] = server.endpoint;
  process.env['HF_HUB_OFFLINE'] = '1';
  await refused(
    matching(
      /^"openai-community\/gpt2" is not in the Hugging Face cache \(.+models--openai-community--gpt2\),/,
      / and HF_HUB_OFFLINE is set; unset it/,
    ),
  );
  assert.deepEqual(server.taken(), []);
});

test('the token goes to the hub and to nobody else', async () => {
  writeFileSync(join(home, 'token'), 'hf_from_file\n');
  await assertLoads();
  const tokens = (host: string) => [
    ...new Set(server.seen.filter((seen) => seen.host === host).map(({ token }) => token)),
  ];
  assert.deepEqual(tokens('hub'), ['hf_from_file']);
  assert.deepEqual(tokens('storage'), [undefined]);
});

test('the cache is where the variables say', async () => {
  for (const [variables, place] of [
    [{ HF_HUB_CACHE: join(home, 'a') }, join(home, 'a')],
    [{ HF_HOME: join(home, 'b') }, join(home, 'b', 'hub')],
    [{ HF_HOME: '', XDG_CACHE_HOME: join(home, 'c') }, join(home, 'c', 'huggingface', 'hub')],
  ] as const) {
    Object.assign(process.env, variables);
    assert.ok((await downloadModel(NAME, quick)).startsWith(`${place}/models--`));
    delete process.env['HF_HUB_CACHE'];
  }
});

test('a disk that is too small, or that cannot be written', async () => {
  server.intercept = ({ method, path }, response) => {
    if (method !== 'HEAD' || !path.endsWith('model.safetensors')) return false;
    response
      .writeHead(302, {
        location: server.endpoint,
        'x-linked-etag': SHA,
        'x-linked-size': `${2 ** 52}`,
        'x-repo-commit': COMMIT,
      })
      .end();
    return true;
  };
  await refused(
    /^model\.safetensors needs 4503599628 MB more, and .+blobs has \d+ MB free: make room, or set HF_HOME/,
    { options: { ...quick, bounds: { weights: 2 ** 53 } } },
  );
  await refused(
    matching(
      /^model\.safetensors of "openai-community\/gpt2" has 4,500,000 GB according to the hub, but no/,
      / GPT-2's has more than 64 GB/,
    ),
  );
  assert.deepEqual(
    server.taken().filter((request) => request.includes('storage')),
    [],
  );
  server.intercept = () => false;
  writeFileSync(join(home, 'file'), '');
  process.env['HF_HUB_CACHE'] = join(home, 'file');
  await refused(
    matching(
      /: is, or leads through, a file where a folder should be \(ENOTDIR\); remove that, or set HF_HOME/,
      / to another folder$/,
    ),
    { kind: FileError },
  );
});

test('a model that cannot be read here is refused before its weights are asked for', async () => {
  const refusedFiles = async (
    files: Record<string, Buffer>,
    message: RegExp,
    kind: typeof InputError | typeof FileError = InputError,
  ) => {
    server.repositories.set(NAME, { commit: COMMIT, files });
    rmSync(repository(), { recursive: true, force: true });
    await refused(message, { kind });
    assert.deepEqual(
      server.taken().filter((request) => request.includes('storage')),
      [],
    );
  };
  await refusedFiles(
    WITHOUT_WEIGHTS,
    matching(
      /has its weights only as pytorch_model\.bin, a Python pickle, which cannot be read here;/,
      / convert it .+save_pretrained\("my-model"\).+ and give \.\/my-model$/,
    ),
  );
  await refusedFiles(
    { ...FILES, 'config.json': Buffer.from('{"model_type": "llama"}') },
    /has the model type "llama"; only GPT-2 models can be loaded/,
  );
  await refusedFiles({ 'README.md': Buffer.from('') }, /has no config\.json/);
  const { 'pytorch_model.bin': _pickle, ...nothing } = WITHOUT_WEIGHTS;
  await refusedFiles(nothing, /has no model\.safetensors; name another/);
  const adapter = (fields: object) =>
    Buffer.from(JSON.stringify({ peft_type: 'LORA', r: 4, lora_alpha: 8, ...fields }));
  for (const more of [{}, nothing])
    await refusedFiles(
      {
        ...more,
        'adapter_config.json': adapter({ use_dora: true }),
        'adapter_model.safetensors': Buffer.alloc(8),
      },
      matching(
        /adapter_config\.json: "use_dora" is true, which is not supported here; merge/,
        / .*peft\.AutoPeftModelForCausalLM/,
      ),
      FileError,
    );
  await refusedFiles(
    { 'adapter_config.json': adapter({}), 'adapter_model.bin': Buffer.alloc(8) },
    /is an adapter without adapter_model\.safetensors; save it again/,
  );
});

test('an adapter is downloaded with its base model, at the revision that it names, and then used offline', async () => {
  const folder = join(root, 'tests', 'fixtures', 'adapters', 'plain');
  const config = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')) as object;
  const files = {
    'adapter_config.json': Buffer.from(JSON.stringify({ ...config, revision: 'v1' })),
    'adapter_model.safetensors': readFileSync(join(folder, 'adapter_model.safetensors')),
    'tokenizer_config.json': Buffer.from('{"chat_template": "{{ messages[0].content }}!"}'),
    ...tokenizerFiles,
  };
  server.repositories.set('someone/adapter', { commit: COMMIT, revisions: ['main'], files });
  const tokenizer = await Tokenizer.fromPretrained('someone/adapter', quick);
  assert.equal(tokenizer.chatTemplate!.render([{ role: 'user', content: 'Hi' }]), 'Hi!');
  const model = await GPT2.fromPretrained('someone/adapter', quick);
  const local = join(home, 'local');
  cpSync(folder, local, { recursive: true });
  writeFileSync(join(local, 'adapter_config.json'), JSON.stringify({ ...config, base_model_name_or_path: FIXTURES }));
  const same = await GPT2.fromPretrained(local);
  assert.equal(model.weights.digest(), same.weights.digest());
  assert.ok(existsSync(join(repository(), 'refs', 'v1')) && !existsSync(join(repository(), 'refs', 'main')));
  server.taken();
  process.env['HF_HUB_OFFLINE'] = '1';
  const again = await GPT2.fromPretrained('someone/adapter', quick);
  await Tokenizer.fromPretrained('someone/adapter', quick);
  assert.equal(again.weights.digest(), model.weights.digest());
  assert.deepEqual(server.taken(), []);
  delete process.env['HF_HUB_OFFLINE'];
  assert.equal(await downloadModel('someone/adapter', quick), join(repository('someone/adapter'), 'snapshots', COMMIT));
  for (const each of [model, same, again]) each.dispose();
});

/** The fixture's tensors in two files, and their index. */
function sharded(): Record<string, Buffer> {
  using whole = new SafetensorsFile(join(FIXTURES, 'model.safetensors'));
  const names = [...whole.tensors.keys()];
  const files = [names.slice(0, 20), names.slice(20)].map((part, i) => {
    const path = join(home, `part-${i}`);
    writeSafetensors(
      path,
      part.map((name) => ({ name, shape: whole.tensors.get(name)!.shape, values: whole.float32(name) })),
    );
    return [`model-0000${i + 1}-of-00002.safetensors`, readFileSync(path)] as const;
  });
  const map = Object.fromEntries(names.map((name, i) => [name, files[i < 20 ? 0 : 1]![0]]));
  return {
    ...WITHOUT_WEIGHTS,
    ...Object.fromEntries(files),
    'model.safetensors.index.json': Buffer.from(JSON.stringify({ metadata: {}, weight_map: map })),
  };
}

test('weights in several files', async () => {
  const files = sharded();
  server.repositories.set(NAME, { commit: COMMIT, files });
  await assertLoads();
  server.taken();
  await assertLoads();
  assert.deepEqual(server.taken(), []);
  rmSync(join(snapshot(), 'model-00002-of-00002.safetensors'));
  await assertLoads();
  assert.deepEqual(
    server.taken().filter((request) => request.includes('storage')),
    [],
    'its blob is there',
  );

  rmSync(repository(), { recursive: true });
  server.repositories.set(NAME, {
    commit: COMMIT,
    files: {
      ...files,
      'model.safetensors.index.json': Buffer.from('{"weight_map": {"wte.weight": "../../../x.safetensors"}}'),
    },
  });
  await refused(/model\.safetensors\.index\.json: its "weight_map" names no safetensors files/, { kind: FileError });
});

/** A separate process that loads the model, or prints why it cannot. */
function otherProcess() {
  const script = `
    const { modelFiles } = require(${JSON.stringify(join(root, 'lib', 'dist', 'hub', 'modelFolder.js'))});
    modelFiles(${JSON.stringify(NAME)}, ['tokenizer', 'weights'], { retryDelay: 1, checks: {} })
      .then(({ folder }) => console.log(folder), (error) => { console.log(error); process.exitCode = 1; });
  `;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, output }));
  return { child, ended };
}

test('a process killed half-way leaves nothing under a final name, and the next asks only for the rest', async () => {
  const half = SIZE >> 1;
  storage((response) => void response.writeHead(200, { 'content-length': SIZE }).write(WEIGHTS.subarray(0, half)));
  const { child, ended } = otherProcess();
  await until(() => incomplete().some((path) => statSync(path, { throwIfNoEntry: false })?.size === half));
  child.kill('SIGKILL');
  await ended;
  assertNothingCorrupt();
  assert.equal(existsSync(join(snapshot(), 'model.safetensors')), false);
  server.taken();
  await assertLoads();
  assert.deepEqual(
    server.taken().filter((request) => request.startsWith('GET storage')),
    [`GET storage bytes=${half}-`],
  );
  assert.deepEqual(incomplete(), []);
});

test('two processes, and two calls in one, download it once', async () => {
  storage(async (response, seen) => {
    response.writeHead(200, { 'content-length': SIZE }).write(WEIGHTS.subarray(0, 100));
    await until(
      () =>
        server.seen.filter(({ method, path }) => method === 'HEAD' && path.endsWith('model.safetensors')).length === 4,
    );
    response.end(seen.method === 'GET' ? WEIGHTS.subarray(100) : undefined);
  });
  const [one, two] = [otherProcess(), otherProcess()];
  await Promise.all([assertLoads(), assertLoads()]);
  for (const { code, output } of [await one.ended, await two.ended])
    assert.deepEqual({ code, output }, { code: 0, output: `${snapshot()}\n` });
  assert.equal(server.taken().filter((request) => request.startsWith('GET storage')).length, 1);
  assert.deepEqual(readdirSync(join(home, 'hub', '.locks', 'models--openai-community--gpt2')), []);
});

test(
  'a lock of a dead process, and one of another machine that is not touched any more, hold nobody up',
  { timeout: 20_000 },
  async () => {
    const lock = join(home, 'hub', '.locks', 'models--openai-community--gpt2', `${SHA}.alignbook.lock`);
    mkdirSync(join(lock, '..'), { recursive: true });
    writeFileSync(lock, JSON.stringify({ host: hostname(), pid: 2 ** 22 + 1, id: 'dead' }));
    await assertLoads();
    rmSync(repository(), { recursive: true });
    writeFileSync(lock, JSON.stringify({ host: 'elsewhere', pid: process.pid, id: 'old' }));
    utimesSync(lock, new Date(Date.now() - 61_000), new Date(Date.now() - 61_000));
    await assertLoads();
  },
);

test('a writer that was taken for dead and goes on damages nothing', async () => {
  const folder = join(repository(), 'blobs');
  mkdirSync(folder, { recursive: true });
  const old = join(folder, `${SHA}.alignbook-0000dead.incomplete`);
  writeFileSync(old, WEIGHTS.subarray(0, 500));
  const writer = openSync(old, 'a');
  await assertLoads();
  writeSync(writer, 'late bytes');
  closeSync(writer);
  await assertLoads();
  assert.ok(server.taken().includes('GET storage bytes=500-'));
});

test('progress: every byte is told of, from where it goes on', async () => {
  storage(cut(SIZE >> 1));
  const told: DownloadProgress[] = [];
  const gpt2 = await GPT2.fromPretrained(NAME, { retryDelay: 1, onProgress: (progress) => void told.push(progress) });
  gpt2.dispose();
  const weights = told.filter(({ file }) => file === 'model.safetensors');
  assert.deepEqual(weights[0], { file: 'model.safetensors', received: 0, total: SIZE });
  assert.deepEqual(weights.at(-1), { file: 'model.safetensors', received: SIZE, total: SIZE });
  assert.deepEqual(
    weights.filter(({ pause }) => pause !== undefined).map(({ received }) => received),
    [SIZE >> 1],
  );
  weights.forEach(({ received }, i) => assert.ok(received >= (weights[i - 1]?.received ?? 0)));
});

test('the bar on a terminal, lines in a log, silence for small files', () => {
  const run = (isTTY: boolean) => {
    let text = '';
    let time = 0;
    const print = progressPrinter({ isTTY, columns: 80, write: (piece) => (text += piece) }, () => time);
    print({ file: 'config.json', received: 0, total: 1000 });
    print({ file: 'config.json', received: 1000, total: 1000 });
    for (const [at, received] of [
      [0, 48e6],
      [50, 50e6],
      [10_000, 148e6],
      [10_001, 149e6],
      [50_000, 548e6],
    ] as const) {
      time = at;
      print({ file: 'model.safetensors', received, total: 548e6 });
    }
    print({ file: 'merges.txt', received: 0, total: 1000, pause: 'the connection was lost; trying again in 2 s' });
    return text;
  };
  assert.equal(
    run(false),
    [
      'model.safetensors   8% [#                   ] 48 / 548 MB  0.0 MB/s',
      'model.safetensors  27% [#####               ] 148 / 548 MB  10.0 MB/s  0:40 left',
      'model.safetensors 100% [####################] 548 / 548 MB  10.0 MB/s',
      'merges.txt  the connection was lost; trying again in 2 s',
      '',
    ].join('\n'),
  );
  const drawn = run(true)
    .split(/[\r\n]+/)
    .filter(Boolean);
  assert.equal(drawn.length, 4);
  for (const line of drawn) assert.equal(line.length, 79);
});

test(
  'what the cache holds is checked by downloadModel: a cut ' + 'or a changed file comes again, and offline it is named',
  async () => {
    const folder = await downloadModel(NAME, quick);
    const damage: readonly (readonly [file: string, change: (bytes: Buffer) => Buffer])[] = [
      ['model.safetensors', (bytes) => bytes.subarray(0, bytes.length - 5)],
      [
        'model.safetensors',
        (bytes) => Buffer.concat([bytes.subarray(0, bytes.length - 1), Buffer.of(bytes.at(-1)! ^ 1)]),
      ],
      ['tokenizer.json', (bytes) => Buffer.concat([bytes, Buffer.from(' ')])],
    ];
    for (const [file, change] of damage) {
      const whole = readFileSync(join(folder, file));
      writeFileSync(join(folder, file), change(whole)); // through the link, into the blob
      process.env['HF_HUB_OFFLINE'] = '1';
      await assert.rejects(
        downloadModel(NAME, quick),
        (error) =>
          error instanceof HubError &&
          new RegExp(
            `^${file.replace('.', '\\.')} of "${NAME}" in the cache \\(.*\\) has been cut or changed, and ` +
              'HF_HUB_OFFLINE is set; unset it',
          ).test(error.message),
      );
      delete process.env['HF_HUB_OFFLINE'];
      assert.equal(await downloadModel(NAME, quick), folder);
      assert.ok(readFileSync(join(folder, file)).equals(whole), file);
      assertNothingCorrupt();
    }
    const before = server.seen.length;
    await downloadModel(NAME, quick);
    assert.ok(!server.seen.slice(before).some(isWeights), 'a whole one is not fetched again');
  },
);

test('chat templates come along, those of a folder of their own, too', async () => {
  const [file, template] = ['additional_chat_templates/rag.jinja', Buffer.from('the other')];
  server.repositories.set(NAME, {
    commit: COMMIT,
    files: {
      ...FILES,
      'chat_template.jinja': Buffer.from('the default'),
      [file]: template,
      'additional_chat_templates/..jinja': template,
    },
  });
  await downloadModel(NAME, quick);
  assert.equal(readFileSync(join(snapshot(), 'chat_template.jinja'), 'utf8'), 'the default');
  assert.deepEqual(readdirSync(join(snapshot(), 'additional_chat_templates')), ['rag.jinja']);
  // linked as by huggingface_hub
  assert.equal(readlinkSync(join(snapshot(), file)), `../../../blobs/${etagOf(file, template)}`);
  writeFileSync(join(snapshot(), file), 'cut');
  await downloadModel(NAME, quick);
  assert.deepEqual(readFileSync(join(snapshot(), file)), template);
});

test('download looks first: nothing large is fetched of a model that would be refused', async () => {
  const config = JSON.parse(FILES['config.json']!.toString()) as Record<string, unknown>;
  const withConfig = (more: Record<string, unknown>) => ({
    ...FILES,
    'config.json': Buffer.from(JSON.stringify({ ...config, ...more })),
  });
  const { 'tokenizer.json': _json, 'vocab.json': _vocab, ...withoutTokenizer } = FILES;
  const kinds: Record<string, Record<string, Buffer>> = {
    activation: withConfig({ activation_function: 'mish' }),
    crossed: withConfig({ add_cross_attention: true }),
    typed: withConfig({ layer_norm_epsilon: '1e-5' }),
    quantized: withConfig({ quantization_config: { quant_method: 'gptq', bits: 4 } }),
    doubled: withConfig({ architectures: ['GPT2DoubleHeadsModel'] }),
    classes: withConfig({ architectures: ['GPT2ForSequenceClassification'] }),
    spiece: { ...withoutTokenizer, 'spiece.model': Buffer.from('unread') },
    wordpiece: { ...FILES, 'tokenizer.json': Buffer.from(JSON.stringify({ model: { type: 'WordPiece', vocab: {} } })) },
  };
  const said: Record<string, RegExp> = {
    activation: /"activation_function" is "mish"; supported are/,
    crossed: /"add_cross_attention" is true; only false is supported/,
    typed: /"layer_norm_epsilon" must be a number above 0, got "1e-5"/,
    quantized: /"quantization_config": its weights are quantized \(gptq\), which is not supported/,
    doubled: /"architectures" is "GPT2DoubleHeadsModel"; supported are/,
    classes: /it is a classifier with 2 labels/,
    spiece: /tokenizer\.json: is missing, and so are vocab\.json and merges\.txt/,
    wordpiece: /its model "WordPiece" is not reproduced here/,
  };
  const refusedBy = async (name: string, ...args: string[]) => {
    const child = spawn(process.execPath, [join(root, 'lib', 'bin', 'alignbook.js'), ...args], {
      cwd: home,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    child.stderr.on('data', (chunk) => (stderr += chunk));
    const [status] = (await once(child, 'close')) as [number | null];
    assert.equal(status, 1, `${args[0]!}: ${stderr}`);
    assert.match(stderr, said[name]!, args[0]);
  };
  for (const [name, files] of Object.entries(kinds)) {
    server.repositories.set(`people/${name}`, { commit: COMMIT, files });
    await refusedBy(name, 'download', `people/${name}`);
    if (name !== 'spiece' && name !== 'wordpiece')
      await assert.rejects(
        GPT2.fromPretrained(`people/${name}`, quick),
        (error) => error instanceof FileError && said[name]!.test(error.message),
      );
  }
  assert.ok(!server.seen.some(({ path }) => path.endsWith('model.safetensors') || path === `/${SHA}`));

  // So do all commands that need a model.
  writeFileSync(join(home, 'rows.jsonl'), '{"prompt": "a", "chosen": "b", "rejected": "c"}\n');
  const model = ['--model', 'people/wordpiece'];
  const rows = ['--data', 'rows.jsonl'];
  const trained = ['--output', 'run', '--steps', '1', '--lr', '1e-3'];
  const commands = [
    ['logps', ...rows],
    ['evaluate', ...rows],
    ['score', ...rows],
    ['generate', '--prompt', 'a'],
    ['export', '--out', 'exported'],
    ['train-sft', ...rows, ...trained],
    ['train-dpo', ...rows, ...trained],
    ['train-kto', ...rows, ...trained],
    ['train-reward', ...rows, ...trained],
    ['train-ppo', ...rows, ...trained, '--max-new-tokens', '4', '--reward-model', TINY],
    ['train-grpo', ...rows, ...trained, '--max-new-tokens', '4', '--reward-model', TINY],
  ];
  for (const [command, ...rest] of commands) await refusedBy('wordpiece', command!, ...model, ...rest);
  assert.ok(!server.seen.some(({ path }) => path.endsWith('model.safetensors') || path === `/${SHA}`));
});

test('alignbook download prints the folder; a refusal is one line, exit 1', async () => {
  const alignbook = async (...args: string[]) => {
    const child = spawn(process.execPath, [join(root, 'lib', 'bin', 'alignbook.js'), ...args]);
    const output = { status: null as number | null, stdout: '', stderr: '' };
    child.stdout.on('data', (chunk) => (output.stdout += chunk));
    child.stderr.on('data', (chunk) => (output.stderr += chunk));
    [output.status] = (await once(child, 'close')) as [number | null];
    return output;
  };
  assert.deepEqual(await alignbook('download', NAME), { status: 0, stdout: `${snapshot()}\n`, stderr: '' });
  const { status, stdout, stderr } = await alignbook('download', 'no/such');
  assert.deepEqual({ status, stdout }, { status: 1, stdout: '' });
  assert.match(stderr, /^alignbook: "no\/such" does not exist.+\n$/);
});
