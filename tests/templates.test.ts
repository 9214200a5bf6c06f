import assert from 'node:assert/strict';
import { test } from 'node:test';

import { alpacaPrompt, chatPrompt, InputError } from 'alignbook';

const HEAD =
  'Below is an instruction that describes a task.\nWrite a response that appropriately completes the request.\n\n';

test("the prompt is the walkthrough's, and the heading of the response belongs to it", () => {
  const instruction = "What is an antonym of 'complicated'?";
  const expected = `${HEAD}### Instruction:\n${instruction}\n\n### Response:\n`;
  assert.equal(alpacaPrompt({ instruction }), expected);
  assert.equal(alpacaPrompt({ instruction, input: '' }), expected);
});

test('an input has a part of its own', () => {
  const expected = `${HEAD}### Instruction:\nTranslate.\n\n### Input:\nHello\n\n### Response:\n`;
  assert.equal(alpacaPrompt({ instruction: 'Translate.', input: 'Hello' }), expected);
});

test('an empty instruction is refused', () => {
  assert.throws(() => alpacaPrompt({ instruction: '' }), InputError);
});

test('a conversation carries the Alpaca prompt on; its system message takes the place of the preamble', () => {
  const [first, second] = [
    { role: 'user', content: 'Who?' },
    { role: 'user', content: 'Why?\n' },
  ] as const;
  assert.equal(chatPrompt([first]), alpacaPrompt({ instruction: 'Who?' }));
  const turns = '\n\n### Instruction:\nWho?\n\n### Response:\nMe.\n\n### Instruction:\nWhy?\n\n\n### Response:\n';
  const messages = [first, { role: 'assistant', content: 'Me.' }, second] as const;
  assert.equal(chatPrompt(messages), HEAD.trimEnd() + turns);
  assert.equal(chatPrompt([{ role: 'system', content: 'Be brief.' }, ...messages]), `Be brief.${turns}`);
});

test('a conversation that is empty, out of turn, or no prompt is refused', () => {
  const [system, user, assistant] = (['system', 'user', 'assistant'] as const).map((role) => ({
    role,
    content: 'x',
  })) as [never, never, never];
  const refused = (messages: Parameters<typeof chatPrompt>[0], message: RegExp) =>
    assert.throws(
      () => chatPrompt(messages),
      (error) => error instanceof InputError && message.test(error.message),
      `${message}`,
    );
  refused([], /^it has no messages$/);
  refused([system], /^it ends with a message with the role system; a prompt ends with a message from the user$/);
  refused([user, assistant], /^it ends with a message with the role assistant/);
  refused([assistant, user], /^message 1 has the role assistant where user is expected/);
  refused([system, system, user], /^message 2 has the role system where user is expected/);
  refused([user, user], /^message 2 has the role user where assistant is expected/);
  refused([user, { role: 'assistant', content: '' }, user], /^message 2 is empty$/);
});
