/** Rows of messages: equal to the same conversations in other forms, split as by TRL, and the rows that are refused. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { alpacaPrompt, chatPrompt, FileError, readPairs, readResponses, Tokenizer, type ChatMessage } from 'alignbook';

import { root } from '../scripts/paths';

const folder = mkdtempSync(join(tmpdir(), 'messages-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'rows.jsonl');
const options = { maxLength: 256 };
const tokenizer = Tokenizer.fromPretrained('tiny');

const FIXTURE = join(root, 'tests', 'fixtures', 'dataset.json');
interface Pair {
  prompt: ChatMessage[];
  chosen: ChatMessage[];
  rejected: ChatMessage[];
}
const { conversations } = JSON.parse(readFileSync(FIXTURE, 'utf8')) as {
  conversations: { whole: Omit<Pair, 'prompt'>; extracted: Pair }[];
};

const write = (...rows: object[]) => writeFileSync(path, rows.map((row) => JSON.stringify(row)).join('\n'));
const pairsOf = async (...rows: object[]) => {
  write(...rows);
  return readPairs(path, await tokenizer, options);
};
const responsesOf = async (...rows: object[]) => {
  write(...rows);
  return readResponses(path, await tokenizer, options);
};

const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });
const system = (content: string) => ({ role: 'system', content });

test('whole conversations, their parts as TRL extracts them, and the prompt as a text are the same pairs', async () => {
  const whole = await pairsOf(...conversations.map((row) => row.whole));
  assert.deepEqual(await pairsOf(...conversations.map(({ extracted }) => extracted)), whole);
  const texts = conversations.map(({ extracted: { prompt, chosen, rejected } }) => ({
    prompt: chatPrompt(prompt),
    chosen: chosen[0]!.content,
    rejected: rejected[0]!.content,
  }));
  assert.deepEqual(await pairsOf(...texts), whole);
  assert.deepEqual(
    await pairsOf(...conversations.map(({ extracted }, n) => ({ ...texts[n], prompt: extracted.prompt }))),
    whole,
  );
  assert.equal(whole.length, 3);
});

test(
  'of one user message the prompt is the Alpaca prompt, ' + 'also where it stands beside whole conversations as a text',
  async () => {
    const row = { chosen: [user('Say hello.'), assistant('Hello!')], rejected: [user('Say hello.'), assistant('Hi.')] };
    const alpaca = await pairsOf({ instruction: 'Say hello.', chosen: 'Hello!', rejected: 'Hi.' });
    assert.deepEqual(await pairsOf(row), alpaca);
    assert.deepEqual(await pairsOf({ ...row, prompt: 'Say hello.' }), alpaca);
    assert.deepEqual(await pairsOf({ ...row, prompt: null, instruction: null }), alpaca);
  },
);

test('for SFT the last message is the response', async () => {
  const messages = [system('Be brief.'), user('Who?'), assistant('Me.'), user('Why?'), assistant('So.')];
  const rows = await responsesOf(
    { messages },
    { prompt: messages.slice(0, -1), response: 'So.' },
    { prompt: messages.slice(0, -1), response: messages.slice(-1) },
    { prompt: chatPrompt(messages.slice(0, -1) as ChatMessage[]), response: 'So.' },
  );
  for (const row of rows) assert.deepEqual(row, rows[3]);
  assert.deepEqual(
    await responsesOf({ messages: [user('a'), assistant('b')] }),
    await responsesOf({ instruction: 'a', output: 'b' }),
  );
  assert.equal(
    (await tokenizer).decode((await responsesOf({ messages: [user('a'), assistant('b')] }))[0]!.promptIds),
    alpacaPrompt({ instruction: 'a' }),
  );
});

test('a pair in another shape is refused by field and message', async () => {
  const good = { prompt: [user('a')], chosen: [assistant('b')], rejected: [assistant('c')] };
  const refused = (row: object, message: RegExp) =>
    assert.rejects(
      pairsOf(row),
      (error) => error instanceof FileError && message.test(error.message),
      `${message} of ${JSON.stringify(row)}`,
    );
  const prompt = (messages: unknown, message: RegExp) => refused({ ...good, prompt: messages }, message);
  await prompt({ role: 'user', content: 'a' }, /line 1: "prompt" is not a text or a list of messages$/);
  await prompt([], /line 1: "prompt": it has no messages$/);
  await prompt(['a'], /line 1: "prompt", message 1 is not an object with "role" and "content"$/);
  await prompt([null], /line 1: "prompt", message 1 is not an object with "role" and "content"$/);
  await prompt(
    [user('a'), { role: 'tool', content: 'b' }],
    /line 1: "prompt", message 2: has the role "tool"; a role is one of system, user, assistant$/,
  );
  await prompt([{ content: 'a' }], /line 1: "prompt", message 1: has no "role"$/);
  await prompt([{ role: 'user' }], /line 1: "prompt", message 1: has no "content"$/);
  await prompt([{ role: 'user', content: { text: 'a' } }], /line 1: "prompt", message 1: "content" is not a text$/);
  await prompt([user('')], /line 1: "prompt": message 1 is empty$/);
  await prompt(
    [user('a'), assistant('b')],
    /line 1: "prompt": it ends with a message with the role assistant; a prompt ends with a message from the user$/,
  );
  await prompt([user('a'), user('b')], /line 1: "prompt": message 2 has the role user where assistant is expected: /);
  await prompt(
    [user('a'), system('b'), user('c')],
    /line 1: "prompt": message 2 has the role system where assistant is expected: /,
  );

  await refused(
    { ...good, chosen: [] },
    /line 1: "chosen" has 0 messages after the prompt; a response is a single message, from the assistant$/,
  );
  await refused({ ...good, chosen: [assistant('b'), user('c')] }, /line 1: "chosen" has 2 messages after the prompt/);
  await refused(
    { ...good, rejected: [user('c')] },
    /line 1: "rejected" is a message with the role user; a response is from the assistant$/,
  );
  await refused({ ...good, rejected: [assistant('')] }, /line 1: rejected is empty$/);
  await refused(
    { ...good, prompt: 'a' },
    /line 1: "chosen" is a list of messages and the prompt is not; make both texts or both messages$/,
  );
  await refused(
    { ...good, chosen: 'b', prompt: 'a' },
    /line 1: "rejected" is a list of messages and the prompt is not/,
  );
  await refused({ chosen: 'ab', rejected: 'ac' }, /line 1: has no "prompt"$/);

  await refused(
    { chosen: [user('a'), assistant('b')], rejected: [user('A'), assistant('c')] },
    /line 1: "chosen" and "rejected" share no message at their beginning/,
  );
  await refused(
    { chosen: [assistant('b')], rejected: [assistant('c')] },
    /line 1: "chosen" and "rejected" share no message at their beginning/,
  );
  await refused({ chosen: [], rejected: [] }, /line 1: "chosen" and "rejected" share no message at their beginning/);
  await refused(
    { chosen: [user('a'), assistant('b')], rejected: [user('a'), assistant('b')] },
    /line 1: chosen and rejected are the same/,
  );
  await refused(
    { chosen: [user('a'), assistant('b')], rejected: [user('a'), assistant('c'), user('d'), assistant('e')] },
    /line 1: "rejected" has 3 messages after the prompt/,
  );
  await refused(
    { chosen: [assistant('a'), assistant('b')], rejected: [assistant('a'), assistant('c')] },
    /line 1: "chosen": message 1 has the role assistant where user is expected/,
  );
  await refused(
    { prompt: 'x', chosen: [user('a'), assistant('b')], rejected: [user('a'), assistant('c')] },
    /line 1: "prompt" is not the first user message that "chosen" and "rejected" share/,
  );
});

test('messages for SFT in another shape are refused', async () => {
  const refused = (row: object, message: RegExp) =>
    assert.rejects(
      responsesOf(row),
      (error) => error instanceof FileError && message.test(error.message),
      `${message}`,
    );
  await refused({ messages: 'a' }, /line 1: "messages" is not a list of messages$/);
  await refused(
    { messages: [] },
    /line 1: "messages" does not end with a message from the assistant, which would be the response$/,
  );
  await refused({ messages: [user('a')] }, /line 1: "messages" does not end with a message from the assistant/);
  await refused({ messages: [assistant('a')] }, /line 1: "messages": it has no messages$/);
  await refused({ messages: [user('a'), assistant('')] }, /line 1: response is empty$/);
  await refused(
    { prompt: [user('a')], response: [assistant('b'), user('c')] },
    /line 1: "response" has 2 messages after the prompt/,
  );
  await refused({ prompt: [user('a')], response: [user('c')] }, /line 1: "response" is a message with the role user/);
  await refused({ prompt: [user('a')] }, /line 1: has no "response"$/);
  await refused(
    { instruction: 'a', output: [assistant('b')] },
    /line 1: "output" is a list of messages and the prompt is not/,
  );
});
