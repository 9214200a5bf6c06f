/** Judges: both orders, kept judgements, a chat service over loopback, win rates and agreement. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  chatJudge,
  cohenKappa,
  FileError,
  InputError,
  judgeAll,
  keptJudge,
  lengthControlledWinRate,
  positionBias,
  rewardJudge,
  winRate,
  type Agreement,
  type ChatJudgeOptions,
  type Judge,
  type Judgement,
  type LengthControlled,
  type LengthOutcome,
  type ResponsePair,
  type Winner,
  type WinRate,
} from 'alignbook';
import { verdictOf } from 'alignbook/dist/training/chatJudge';

import { fixture, letterTokenizer, nearAll } from './rollouts';

const folder = mkdtempSync(join(tmpdir(), 'judge-'));
after(() => rmSync(folder, { recursive: true }));

const longer = ({ a, b }: ResponsePair): Judgement => ({
  winner: a.length > b.length ? 'a' : a.length < b.length ? 'b' : 'tie',
});
const pairs: ResponsePair[] = ['one', 'three', 'seventeen', 'five'].map((a) => ({ prompt: 'p', a, b: 'four' }));

interface Judges {
  wilson: (WinRate & { winners: Winner[] })[];
  lengthControlled: (LengthControlled & { outcomes: LengthOutcome[] })[];
  kappa: (Agreement & { one: Winner[]; other: Winner[] })[];
}
const { judges } = fixture<{ judges: Judges }>('online_dpo.json');

test('win rate, its interval, the length-controlled one, and kappa are those of the oracle', () => {
  // Float64 on both sides, ten digits in the fixture; the regression's minimum is flat, so its point is less exact.
  for (const { winners, rate, low, high } of judges.wilson) {
    const made = winRate(winners);
    nearAll([made.rate, made.low, made.high], [rate, low, high], 1e-9, `Wilson of ${winners.length}`);
    assert.equal(made.wins + made.ties + made.losses, winners.length);
  }
  for (const { outcomes, rate, low, high, lengthEffect } of judges.lengthControlled) {
    const made = lengthControlledWinRate(outcomes);
    nearAll([made.rate, made.low, made.high, made.lengthEffect], [rate, low, high, lengthEffect], 1e-6, 'length');
  }
  for (const { one, other, ...expected } of judges.kappa) {
    const made = cohenKappa(one, other);
    nearAll([made.agreement, made.byChance, made.kappa], Object.values(expected), 1e-9, 'kappa');
  }
  // Of two responses with the same length, length explains nothing: the rate is the plain one.
  const equal = (['a', 'a', 'b', 'tie'] as const).map((winner) => ({ winner, lengthA: 5, lengthB: 5 }));
  nearAll([lengthControlledWinRate(equal).rate], [(2 + 0.5) / 4], 1e-12, 'equal lengths');
  assert.throws(() => winRate([]), /^InputError: there are no verdicts/);
  assert.throws(() => lengthControlledWinRate(equal.slice(0, 2)), /all verdicts are the same/);
  assert.throws(() => cohenKappa(['a'], ['a', 'b']), /^InputError: 1 and 2 verdicts/);
  assert.throws(() => cohenKappa(['a', 'a'], ['a', 'a']), /both judges always say a/);
});

test('both orders: agreement is a verdict, disagreement a tie that counts as position bias', async () => {
  const fair = await judgeAll(longer, pairs);
  assert.deepEqual(
    fair.map(({ winner }) => winner),
    ['b', 'a', 'a', 'tie'],
  );
  assert.deepEqual(positionBias(fair), { asked: 4, inconsistent: 0, first: 0, second: 0 });

  const first = await judgeAll(() => ({ winner: 'a' }), pairs);
  assert.ok(first.every(({ winner, inconsistent }) => winner === 'tie' && inconsistent));
  assert.deepEqual(positionBias(first), { asked: 4, inconsistent: 1, first: 1, second: 0 });

  // The longer one wins, but the first one where they are equally long: one of four depends on the order.
  const lazy: Judge = (pair) => (pair.a.length === pair.b.length ? { winner: 'a' } : longer(pair));
  assert.deepEqual(positionBias(await judgeAll(lazy, pairs)), { asked: 4, inconsistent: 0.25, first: 0.25, second: 0 });

  let asked = 0;
  const counting: Judge = (pair) => ((asked += 1), longer(pair));
  const once4 = await judgeAll(counting, pairs, { bothOrders: false, concurrency: 3 });
  assert.deepEqual([asked, once4.map(({ winner }) => winner)], [4, ['b', 'a', 'a', 'tie']]);
  assert.throws(() => positionBias(once4), /no comparison has a verdict in both orders/);
  await judgeAll(Object.assign(counting, { symmetric: true }), pairs);
  assert.equal(asked, 8, 'a symmetric judge is asked once');

  const stop = new AbortController();
  const stopping: Judge = (pair) => (stop.abort(new Error('enough')), longer(pair));
  await assert.rejects(judgeAll(stopping, pairs, { signal: stop.signal }), /^Error: enough$/);
});

test('a reward as a judge: the higher score wins, close ones are a tie, and bad scores are refused', async () => {
  const tokenizer = await letterTokenizer(37);
  const letters = pairs.map((pair) => ({ ...pair, prompt: 'ab' }));
  const judge = rewardJudge((samples) => samples.map(({ ids }) => ids.length), tokenizer);
  const [one] = await judgeAll(judge, letters);
  assert.deepEqual([one!.winner, one!.orders], ['b', [{ winner: 'b', reason: '4.00000 against 5.00000' }]]);
  const loose = rewardJudge((samples) => samples.map(({ text }) => text.length), tokenizer, { tieWithin: 1 });
  const winners = (await judgeAll(loose, letters)).map(({ winner }) => winner);
  assert.deepEqual(winners, ['tie', 'tie', 'a', 'tie']);
  await assert.rejects(
    judgeAll(
      rewardJudge(() => [1, NaN], tokenizer),
      letters,
    ),
    /finite number/,
  );
  assert.throws(() => rewardJudge(() => [1, 2], tokenizer, { tieWithin: -1 }), InputError);
});

test('a judgement that is kept is not asked for again, whatever happened to the file', async () => {
  const path = join(folder, 'kept', 'judgements.jsonl');
  let asked = 0;
  let broken = true;
  const judge: Judge = (pair) => {
    asked += 1;
    if (broken && asked === 4) throw new InputError('the service is gone');
    return { ...longer(pair), reason: 'length' };
  };
  await assert.rejects(judgeAll(keptJudge(judge, path, 'length'), pairs), /the service is gone/);
  assert.equal(readFileSync(path, 'utf8').split('\n').length, 1 + 3 + 1, 'its name, three judgements, and no half');
  appendFileSync(path, '{"prompt": "p", "a": "cut o'); // as a crash leaves it
  broken = false;
  const resumed = await judgeAll(keptJudge(judge, path, 'length'), pairs);
  assert.equal(asked, 4 + 8 - 3);
  assert.deepEqual(await judgeAll(keptJudge(judge, path, 'length'), pairs), resumed);
  assert.equal(asked, 9, 'the third run asks about nothing');
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  assert.deepEqual(JSON.parse(lines[1]!), { ...pairs[0], winner: 'b', reason: 'length' });
  assert.throws(
    () => keptJudge(judge, path, 'another'),
    (error: unknown) =>
      error instanceof FileError && /has the judgements of "length", not of "another"/.test(error.message),
  );
  const failing = keptJudge(() => ({ winner: 'tie', failure: 'no verdict' }), join(folder, 'none.jsonl'), 'x');
  await judgeAll(failing, pairs);
  assert.equal(readFileSync(join(folder, 'none.jsonl'), 'utf8'), '{"judge":"x"}\n', 'failures are asked for again');
});

test('a verdict is read only from an answer that has exactly one, at its end', () => {
  assert.deepEqual(verdictOf('B is clearer.\n[[B]]'), { winner: 'b', reason: 'B is clearer.' });
  assert.deepEqual(verdictOf('<think>[[A]] or [[B]]?</think>\n\n[[C]]\n'), { winner: 'tie' });
  for (const [answer, failure] of [
    [' \n', /^the answer is empty$/],
    ['Response A', /^the answer has no \[\[A\]\]/],
    ['[[A]] beats [[B]]', /^the answer has several verdicts/],
    ['[[A]]\nbecause it is better', /^the answer does not end with its verdict/],
    ['[[D]]', /^the answer has no/],
    ['<think>perhaps\n[[A]]', /^the answer ends within its thoughts/],
  ] as const) {
    const { winner, failure: why } = verdictOf(answer);
    assert.equal(winner, 'tie');
    assert.match(why ?? '', failure);
  }
});

/** A service over loopback, whose answers come in turn; the last one is repeated. */
type Reply = { text?: string; status?: number; body?: string; wait?: number; headers?: Record<string, string> };
interface Request {
  url: string | undefined;
  headers: IncomingHttpHeaders;
  body: { model: string; temperature: number; messages: { content: string }[] };
}
async function service(replies: readonly Reply[]): Promise<{ url: string; requests: Request[] } & Disposable> {
  const requests: Request[] = [];
  const answer = (response: ServerResponse, { text, status = 200, body, headers }: Reply) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    const choices = [{ message: { role: 'assistant', content: text } }];
    response.end(body ?? (text === undefined ? '' : JSON.stringify({ choices })));
  };
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const reply = replies[Math.min(requests.length, replies.length - 1)]!;
    requests.push({ url: request.url, headers: request.headers, body: JSON.parse(body) as Request['body'] });
    setTimeout(() => response.destroyed || answer(response, reply), reply.wait ?? 0);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  return { url, requests, [Symbol.dispose]: () => void (server.closeAllConnections(), server.close()) };
}
const [pair] = pairs as [ResponsePair];
async function asked(
  replies: readonly Reply[],
  options: Partial<ChatJudgeOptions> = {},
): Promise<{ judgement: unknown; requests: Request[] }> {
  using served = await service(replies);
  const judge = chatJudge({ url: served.url, model: 'tester', retryDelay: 1, ...options });
  const judgement = await Promise.resolve(judge(pair)).catch((error: unknown) => error);
  return { judgement, requests: served.requests };
}

test('a chat service: the question, the key, and slow, wrong, empty and failing answers', async () => {
  const good = { text: 'Both are numbers, B is even.\n[[B]]' };
  const { judgement, requests } = await asked([good], { apiKey: 'secret-key' });
  assert.deepEqual(judgement, { winner: 'b', reason: 'Both are numbers, B is even.' });
  assert.equal(requests[0]!.url, '/v1/chat/completions');
  assert.equal(requests[0]!.headers.authorization, 'Bearer secret-key');
  const { model, temperature, messages } = requests[0]!.body;
  assert.deepEqual([model, temperature], ['tester', 0]);
  assert.match(messages[0]!.content, /\[Prompt\]\np\n\n\[Response A\]\none\n\n\[Response B\]\nfour$/);

  const none = await asked([{ text: '' }, { text: 'A!' }, { text: 'hm' }]);
  assert.equal(none.requests.length, 3);
  assert.match((none.judgement as { failure: string }).failure, /^the answer has no \[\[A\]\].*"hm"$/);
  const mended = await asked([{ text: '' }, { body: 'not JSON' }, good]);
  assert.deepEqual([mended.judgement, mended.requests.length], [judgement, 3]);
  const busy = await asked([{ status: 429, headers: { 'retry-after': '0' } }, { status: 503 }, good]);
  assert.deepEqual(busy.judgement, judgement);
  const slow = await asked([{ ...good, wait: 2000 }, good], { timeout: 150 });
  assert.deepEqual([slow.judgement, slow.requests.length], [judgement, 2]);

  const refused = async (replies: readonly Reply[], message: RegExp, options: Partial<ChatJudgeOptions> = {}) => {
    const { judgement: error, requests: made } = await asked(replies, options);
    assert.ok(error instanceof InputError, String(error));
    assert.match(error.message, message);
    assert.doesNotMatch(error.message, /secret-key/);
    return made.length;
  };
  await refused([{ ...good, wait: 2000 }], /no answer within 0.05 s, in 2 attempts; check that/, {
    timeout: 50,
    attempts: 2,
  });
  const said = JSON.stringify({ error: { message: "model 'tester' not found" } });
  assert.equal(
    await refused([{ status: 404, body: said }], /answers 404 \(model 'tester' not found\): check the addr/),
    1,
  );
  await refused([{ status: 401 }], /answers 401: it wants a key; put it into the environment variable/);
  await refused([{ status: 401 }], /the key is not accepted/, { apiKey: 'secret-key' });
  await refused([{ status: 307, headers: { location: 'http://127.0.0.1:1/' } }], /it redirects; give the address/);
  await refused([{ body: `"${'x'.repeat(1.1e6)}"` }], /an answer has more than 1 MB, in 3 attempts/);
  const gone = chatJudge({ url: 'http://127.0.0.1:1/v1', model: 'm', attempts: 2, retryDelay: 1 });
  await assert.rejects(async () => gone(pair), /cannot be reached \(.*\), in 2 attempts/);

  const wrong = (options: Partial<ChatJudgeOptions>, message: RegExp) =>
    assert.throws(() => chatJudge({ url: 'https://judge.test/v1', model: 'm', ...options }), message);
  wrong({ url: 'judge.test' }, /address must be one such as/);
  wrong({ url: 'https://me:word@judge.test/v1' }, /without a user/);
  wrong({ url: 'http://judge.test/v1', apiKey: 'k' }, /would show the key to the network/);
  wrong({ model: '' }, /model is empty/);
  wrong({ template: 'Which? {a} {b}' }, /template has no \{prompt\}/);
});

test('an interrupt between two attempts ends with its own reason', async () => {
  using busy = await service([{ status: 503, text: '' }]);
  const stop = new AbortController();
  const waiting = chatJudge({ url: busy.url, model: 'tester', retryDelay: 60_000 })(pair, stop.signal);
  setTimeout(() => stop.abort(new Error('enough')), 200);
  await assert.rejects(async () => waiting, /^Error: enough$/);
});

test('a pair refused for its texts, after others were judged, has no verdict; nor has a cut answer', async () => {
  using fussy = await service([{ text: '[[A]]' }, { status: 400, body: '{"error": {"message": "filtered"}}' }]);
  const judge = chatJudge({ url: fussy.url, model: 'tester', retryDelay: 1 });
  assert.equal((await judge(pair)).winner, 'a');
  const { winner, failure } = await judge(pair);
  assert.equal(winner, 'tie');
  assert.match(failure!, /answers 400 \(filtered\)/);
  const cut = { choices: [{ message: { content: 'so\n[[A]]' }, finish_reason: 'length' }] };
  const { judgement } = await asked([{ body: JSON.stringify(cut) }]);
  assert.match((judgement as Judgement).failure!, /does not end with its verdict/);
});

test('a key that no header can have is refused without being shown; equal responses are not asked about', async () => {
  assert.throws(
    () => chatJudge({ url: 'https://a.example/v1', model: 'm', apiKey: 'secret\nkey' }),
    (error: unknown) => error instanceof InputError && !error.message.includes('secret'),
  );
  const never: Judge = () => {
    throw new Error('asked');
  };
  const [same] = await judgeAll(never, [{ prompt: 'p', a: 'x', b: 'x' }]);
  assert.deepEqual([same!.winner, same!.inconsistent], ['tie', false]);
});
