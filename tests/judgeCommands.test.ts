/** judge, winrate and train-online-dpo in this process: models and files, a chat judge, kept judgements, refusals. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { FileError, InputError } from 'alignbook';
import { UsageError } from 'alignbook/dist/commands/commandLine';
import { readCall } from 'alignbook/dist/commands/program';

import { writeLetterModel } from './rollouts';

const folder = mkdtempSync(join(tmpdir(), 'judge-commands-'));
after(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);
const lines = (name: string): Record<string, unknown>[] =>
  readFileSync(at(name), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const rows = (name: string, all: readonly object[]): string => {
  writeFileSync(at(name), all.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return at(name);
};

/** Prefers the response with more letters before `m`; an equal number is a tie. Every fifth answer says nothing. */
const early = (text: string): number => [...text].filter((letter) => letter < 'm').length;
let questions = 0;
let fails = false;
const server = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += String(chunk);
  questions += 1;
  if (fails) return void response.writeHead(402).end('{"error": {"message": "out of credit"}}');
  const [{ content }] = (JSON.parse(body) as { messages: [{ content: string }] }).messages;
  const [, a = '', b = ''] = /<a>(.*)<\/a><b>(.*)<\/b>/s.exec(content)!;
  const verdict = early(a) > early(b) ? 'A' : early(a) < early(b) ? 'B' : 'C';
  const answer = a === 'mute' || b === 'mute' ? 'I cannot say.' : `by letters\n[[${verdict}]]`;
  response.end(JSON.stringify({ choices: [{ message: { content: answer } }] }));
});
let url: string;
before(async () => {
  await writeLetterModel(at('letters'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
});
after(() => server.close());
writeFileSync(at('question.txt'), 'Which one, after {prompt}? <a>{a}</a><b>{b}</b>');
writeFileSync(
  at('reward.cjs'),
  "module.exports = (samples) => samples.map(({ text }) => [...text].filter((letter) => letter < 'm').length);",
);
const prompts = rows(
  'prompts.jsonl',
  ['abc', 'd', 'xyz0', 'hello', 'p', 'qr', 'st', 'uv'].map((prompt) => ({ prompt })),
);

/** Runs a command here. */
async function run(...args: readonly string[]): Promise<{ out: string; err: string; status: number }> {
  const { log, error } = console;
  let [out, err] = ['', ''];
  console.log = (text: string) => (out += `${text}\n`);
  console.error = (text: string) => (err += `${text}\n`);
  try {
    const { command, values } = readCall(args)!;
    await (await command.load()).run(values);
    return { out, err, status: Number(process.exitCode ?? 0) };
  } finally {
    [console.log, console.error] = [log, error];
    process.exitCode = 0;
  }
}
const chat = () => ['--judge-url', url, '--judge-model', 'm', '--judge-template', at('question.txt')];
const sampled = ['--model', at('letters'), '--data', prompts, '--max-new-tokens', '6'];
/** The model of random weights seldom ends a response, and one that was cut is not chosen. */
const many = [
  ...['--model', at('letters'), '--max-new-tokens', '16', '--data'],
  rows(
    'many.jsonl',
    Array.from({ length: 200 }, (_, n) => ({ prompt: 'abcdefgh'[n % 8] })),
  ),
];

test('judge: two samples of a model become rows; the order does not matter; judgements are kept', async () => {
  const made = await run('judge', ...many, ...chat(), '--output', at('pairs.jsonl'));
  const parts = [...made.out.matchAll(/(\d+) (?:are rows|are ties|depend|have)/g)].map(([, count]) => Number(count));
  assert.equal(
    parts.reduce((sum, count) => sum + count, 0),
    200,
    'each pair is a row, or left out for one reason',
  );
  assert.match(made.err, /note: \d+ of 400 answers were cut at maxNewTokens/);
  const pairs = lines('pairs.jsonl') as { prompt: string; chosen: string; rejected: string }[];
  assert.match(
    made.out,
    new RegExp(
      `^200 pairs of responses: ${pairs.length} are rows of .*pairs.jsonl, .* have a better response that was cut`,
    ),
  );
  assert.ok(pairs.length > 2 && pairs.every(({ chosen, rejected }) => early(chosen) > early(rejected)));
  const kept = lines('pairs.jsonl.judgements.jsonl');
  assert.match(String(kept[0]!['judge']), /^m, question [0-9a-f]{16}$/);
  assert.equal(kept.length, 1 + questions, 'each question once, in both orders');
  const before = questions;
  await run('judge', ...many, ...chat(), '--output', at('pairs.jsonl'));
  assert.equal(questions, before, 'the same command asks about nothing');
  assert.deepEqual(lines('pairs.jsonl'), pairs);

  const byReward = await run('judge', ...many, '--reward-function', at('reward.cjs'), '--output', at('same.jsonl'));
  assert.deepEqual(lines('same.jsonl'), pairs, 'a function of the same taste gives the same rows');
  assert.equal(byReward.status, 0);
  await assert.rejects(
    run('judge', ...many, '--reward-function', at('reward.cjs'), '--output', at('pairs.jsonl')),
    (error: unknown) => error instanceof FileError && /has the judgements of "m, question/.test(error.message),
  );
  fails = true;
  await assert.rejects(run('judge', ...many, ...chat(), '--seed', '1', '--output', at('other.jsonl')), /out of credit/);
  fails = false;
  assert.ok(!existsSync(at('other.jsonl')), 'nothing is half-written');
});

test('winrate: of files, with ties, silent answers and lengths; of models', async () => {
  const sides = [
    ['ab', 'z'],
    ['cde', 'z'],
    ['z', 'a'],
    ['f', 'g'],
    ['mute', 'a'],
    ['abcd', 'yz'],
  ] as const;
  const file = (name: string, side: 0 | 1) =>
    rows(
      name,
      sides.map((responses) => ({ prompt: 'x', response: responses[side] })),
    );
  const files = ['--model', at('letters'), '--answers', file('a.jsonl', 0), '--other-answers', file('b.jsonl', 1)];
  const { out } = await run('winrate', ...files, ...chat(), '--judge-timeout', '5', '--json');
  const report = JSON.parse(out) as Record<string, unknown>;
  const { wins, ties, losses, rate, withoutVerdict, position } = report;
  assert.deepEqual([wins, ties, losses, rate, withoutVerdict], [3, 1, 1, 3.5 / 5, 1]);
  assert.deepEqual(position, { asked: 5, inconsistent: 0, first: 0, second: 0 });
  assert.deepEqual(report['tokens'], { model: (2 + 3 + 1 + 1 + 4) / 5, against: (1 + 1 + 1 + 1 + 2) / 5 });

  const text = await run('winrate', ...files, '--reward-function', at('reward.cjs'), '--output', at('report.json'));
  assert.match(text.out, /^ {2}win rate {11}66\.7 % \(95 %: 30\.0 % to 90\.3 %\); 3 wins, 2 ties, 1 loss$/m);
  assert.equal((JSON.parse(readFileSync(at('report.json'), 'utf8')) as { wins: number }).wins, 3);

  const self = ['winrate', ...sampled, '--against', at('letters'), '--reward-function', at('reward.cjs'), '--json'];
  const once8 = JSON.parse((await run(...self)).out) as { wins: number; ties: number; losses: number };
  assert.equal(once8.wins + once8.ties + once8.losses, 8);
  assert.notEqual(once8.ties, 8, 'the two sides are different samples');

  const refused = (kind: typeof InputError | typeof UsageError, message: RegExp, ...args: readonly string[]) =>
    assert.rejects(
      run(...args),
      (error: unknown) => error instanceof kind && (assert.match(error.message, message), true),
    );
  await refused(UsageError, /^--against is missing/, 'winrate', ...sampled, ...chat());
  await refused(UsageError, /^--answers goes with --other-answers/, 'winrate', ...files.slice(0, 4), ...chat());
  await refused(UsageError, /needs judgeModel/, 'winrate', ...files, '--judge-url', url);
  await refused(UsageError, /judgeModel does nothing without judgeUrl/, ...self, '--judge-model', 'm');
  await refused(UsageError, /needs --reward-model or --reward-function or --judge-url/, 'winrate', ...files);
  await refused(UsageError, /exclude each other/, ...self, '--judge-url', url);
  await refused(
    InputError,
    /variable NOBODY_SET is not set/,
    'winrate',
    ...files,
    ...chat(),
    '--judge-key',
    'NOBODY_SET',
  );
  const short = rows('short.jsonl', [{ prompt: 'x', response: 'a' }]);
  const shortFiles = [...files.slice(0, 5), short];
  await refused(InputError, /a.jsonl has 6 responses and .*short.jsonl 1;/, 'winrate', ...shortFiles, ...chat());
});

test('train-online-dpo: a chat judge, interrupted and resumed to the bits without asking again', async () => {
  const training = ['--steps', '4', '--batch-size', '4', '--lr', '1e-2', '--sample-every', '0', '--save-every', '2'];
  const moving = ['--reference-every', '2', '--reference-alpha', '0.5', '--seed', '3'];
  const train = (output: string, ...more: string[]) =>
    run('train-online-dpo', ...sampled, ...chat(), ...training, ...moving, '--output', at(output), ...more);
  await train('whole');
  const metrics = (output: string) => lines(join(output, 'metrics.jsonl')).map(({ seconds: _, ...step }) => step);
  const steps = metrics('whole');
  assert.equal(steps.length, 4);
  assert.ok(steps.some(({ ties }) => Number(ties) < 1));

  questions = 0;
  const stop = setInterval(() => {
    if (questions < 8) return;
    fails = true;
    clearInterval(stop);
  }, 1);
  await assert.rejects(train('cut'), /step \d: the judge at .* answers 402 \(out of credit\)/);
  fails = false;
  const kept = lines(join('cut', 'judgements.jsonl')).length;
  await train('cut');
  assert.deepEqual(metrics('cut'), steps);
  const digest = (output: string) => readFileSync(join(at(output), 'model', 'model.safetensors'));
  assert.ok(digest('cut').equals(digest('whole')));
  assert.ok(lines(join('cut', 'judgements.jsonl')).length > kept);

  const byReward = ['train-online-dpo', ...sampled, ...training, ...moving, '--reward-function', at('reward.cjs')];
  await run(...byReward, '--output', at('reward'));
  const scored = metrics('reward').map(({ scores: _, ...step }) => step);
  assert.deepEqual(scored, steps, 'a reward of the same taste takes the same steps');
});
