/**
 * `npx alignbook score --serve`: the scores of `npx alignbook score`, requests at the same time, a token, and requests
 * that are refused.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

import { readCandidates, RewardModel, Tokenizer } from 'alignbook';
import { isLoopback } from 'alignbook/dist/commands/scoreServer';
import { rewardModelOf } from 'alignbook/dist/commands/trainedModel';
import { exportCompanions, writeExport } from 'alignbook/dist/model/export';
import { gpt2Files } from 'alignbook/dist/model/folder';

import { root } from '../scripts/paths';

const folder = mkdtempSync(join(tmpdir(), 'score-server-'));
const model = join(folder, 'reward');
const tokenFile = join(folder, 'token');
const TOKEN = '0123456789abcdef';
const alignbook = join(root, 'lib', 'bin', 'alignbook.js');
const rows = readFileSync(join(root, 'data', 'instructions', 'train.jsonl'), 'utf8')
  .split('\n')
  .slice(0, 12)
  .map((line) => JSON.parse(line) as Record<string, string>)
  .map(({ instruction, output }) => ({ prompt: `${instruction}\n`, response: output! }));

const servers: ChildProcess[] = [];

/** Starts a server, which prints its URL. */
async function serve(...args: string[]): Promise<{ server: ChildProcess; url: string }> {
  const server = spawn(process.execPath, [alignbook, 'score', '--model', model, '--serve', '--port', '0', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  servers.push(server);
  const [line] = (await once(createInterface({ input: server.stdout }), 'line')) as [string];
  const url = /^scoring at (http:\/\/127\.0\.0\.1:\d+\/score); Ctrl-C ends it$/.exec(line)?.[1];
  assert.ok(url, line);
  return { server, url };
}

const post = (url: string, body: string, headers: Record<string, string> = {}) =>
  fetch(url, { method: 'POST', body, headers: { authorization: `Bearer ${TOKEN}`, ...headers } });

async function scoresOf(url: string, given: readonly object[]): Promise<number[]> {
  const response = await post(url, JSON.stringify({ rows: given }));
  assert.equal(response.status, 200);
  return ((await response.json()) as { scores: number[] }).scores;
}

let shared: { server: ChildProcess; url: string };
before(async () => {
  const made = await rewardModelOf('tiny', (await gpt2Files('tiny')).folder, 1, 50256);
  writeExport(made, model, await exportCompanions(made, 'tiny'));
  made.dispose();
  writeFileSync(tokenFile, `${TOKEN}\n`);
  shared = await serve('--token-file', tokenFile);
});
after(() => {
  for (const server of servers) server.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

const near = (scores: readonly number[], expected: readonly number[]) => {
  assert.equal(scores.length, expected.length);
  // batches of other rows: float32 sums in another order
  scores.forEach((score, n) => assert.ok(Math.abs(score - expected[n]!) < 1e-5, `${n}: ${score}, ${expected[n]}`));
};

test('scores equal those of npx alignbook score, for texts and for ids, also at the same time', async () => {
  const file = join(folder, 'rows.jsonl');
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const { stdout } = spawnSync(process.execPath, [alignbook, 'score', '--model', model, '--data', file], {
    encoding: 'utf8',
  });
  const expected = stdout
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { score: number }).score);
  assert.ok(new Set(expected).size > 6);
  near(await scoresOf(shared.url, rows), expected);

  const ids = await readCandidates(file, await Tokenizer.fromPretrained('tiny'), { maxLength: 256 });
  const given = ids.map(({ promptIds, responses }) => ({ promptIds, ids: responses[0] }));
  const parts = [given.slice(0, 5), given.slice(5, 6), given.slice(6)];
  near((await Promise.all(parts.map((part) => scoresOf(shared.url, part)))).flat(), expected);
  assert.deepEqual(await scoresOf(shared.url, []), []);
});

test('ids are scored as they are: a response that was cut off gets no end token', async () => {
  const tokenizer = await Tokenizer.fromPretrained('tiny');
  const [promptIds, ids] = ['Say hello.\n', 'Hello there'].map((text) => tokenizer.encode(text));
  const [asText] = await scoresOf(shared.url, [{ prompt: 'Say hello.\n', response: 'Hello there' }]);
  const [ended, cut] = await scoresOf(shared.url, [
    { promptIds, ids: [...ids!, tokenizer.eosTokenId] },
    { promptIds, ids: ids!.slice(0, 1) },
  ]);
  assert.ok(Math.abs(ended! - asText!) < 1e-5);
  assert.ok(Math.abs(ended! - cut!) > 1e-3);
});

test('a wrong or missing token, another path or method, a body not JSON or too large: one line of JSON', async () => {
  const refused = async (answer: Promise<Response>, status: number, message: RegExp) => {
    const response = await answer;
    const text = await response.text();
    assert.equal(response.status, status, text);
    assert.match(text, /^[^\n]+\n$/);
    assert.match((JSON.parse(text) as { error: string }).error, message);
  };
  const { url } = shared;
  await refused(post(url, '{"rows": []}', { authorization: 'Bearer wrong' }), 401, /^the token is missing or wrong/);
  await refused(fetch(url, { method: 'POST', body: '{}' }), 401, /"Authorization: Bearer TOKEN"$/);
  await refused(post(`${url}s`, '{}'), 404, /^there is only \/score/);
  await refused(fetch(url, { headers: { authorization: `Bearer ${TOKEN}` } }), 405, /takes POST only/);
  await refused(post(url, '{"rows": ['), 400, /^the body is not JSON \(.+\); post \{"rows"/);
  for (const body of ['null', '[]', '"x"', '{"rows": 3}']) await refused(post(url, body), 400, /no list "rows"/);
  const row = (given: unknown, message: RegExp) =>
    refused(post(url, JSON.stringify({ rows: [rows[0], given] })), 400, message);
  for (const wrong of [null, 3, {}, { prompt: 'a' }, { prompt: 'a', response: '' }, { promptIds: [], ids: [1] }])
    await row(wrong, /^rows\[1\]: give "prompt" and "response"/);
  await row({ promptIds: [1.5], ids: [1] }, /^rows\[1\]: give/);
  await row({ promptIds: [1], ids: [50257] }, /^rows\[1\]: the model has no token 50257; its ids end at 50256$/);
  await row(
    { promptIds: [1], ids: Array<number>(256).fill(1) },
    /^rows\[1\]: 257 tokens, and the model's window is 256/,
  );
  await refused(
    post(url, JSON.stringify({ rows: Array<number>(5000).fill(1) })),
    400,
    /^the request has 5000 rows, more than 4096/,
  );
  await refused(post(url, ' '.repeat(4_000_001)), 413, /^the body has more than 4 MB; split the rows/);
  assert.equal((await scoresOf(url, rows.slice(0, 1))).length, 1); // it goes on
});

test('a body of 17 MB is refused before it arrives', async () => {
  const { port } = new URL(shared.url);
  const socket = connect(Number(port), '127.0.0.1');
  socket.write(
    `POST /score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${TOKEN}\r\nContent-Length: 17000000\r\n\r\n{`,
  );
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  assert.match(text, /^HTTP\/1\.1 413 [^]*\{"error":"the body has more than 4 MB/);
});

test('SIGTERM and SIGINT end it with status 0, after the requests that have begun', async () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const { server, url } = await serve();
    const ended = once(server, 'exit');
    const body = JSON.stringify({ rows: rows.slice(0, 2) });
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.setEncoding('utf8');
    socket.write(
      `POST /score HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n`,
    );
    const [begun] = (await once(socket, 'data')) as [string];
    assert.match(begun, /^HTTP\/1\.1 100 /);
    server.kill(signal);
    while ((await fetch(url).catch(() => undefined)) !== undefined); // until it no longer listens
    socket.write(body);
    let answer = '';
    for await (const chunk of socket) answer += String(chunk);
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n[^]*connection: close\r\n[^]*\{"scores":\[[^,\]]+,[^,\]]+\]\}/i);
    assert.deepEqual(await ended, [0, null]);
  }
});

test('without a token it listens only on loopback; settings that do nothing are refused', () => {
  const refused = (status: number, message: RegExp, ...args: string[]) => {
    const ran = spawnSync(process.execPath, [alignbook, 'score', '--model', model, ...args], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    assert.equal(ran.status, status, ran.stderr);
    assert.match(ran.stderr, message);
    assert.equal(ran.stderr.trim().split('\n').length, 1);
  };
  for (const host of ['0.0.0.0', '::', '192.168.0.1', 'example.org', '127.example.org'])
    assert.equal(isLoopback(host), false);
  refused(2, /is reachable from other machines, so --serve needs --token-file/, '--serve', '--host', '0.0.0.0');
  for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost']) assert.equal(isLoopback(host), true);
  writeFileSync(join(folder, 'short'), 'secret\n');
  refused(
    1,
    /short: is not a token: one line of 16 characters or more/,
    '--serve',
    '--token-file',
    join(folder, 'short'),
  );
  refused(2, /needs --data or --serve/, '--no-serve');
  refused(2, /--data does nothing with --serve/, '--serve', '--data', 'rows.jsonl');
  refused(2, /--port does nothing without --serve/, '--data', 'rows.jsonl', '--port', '1');
  refused(2, /--port must be|port/, '--serve', '--port', '70000');
  refused(1, /EADDRINUSE/, '--serve', '--port', new URL(shared.url).port);
});

test('the reward model that is served is one', async () => {
  await assert.rejects(RewardModel.fromPretrained('tiny'), /is not a reward model/);
});
