import assert from 'node:assert/strict';
import { test } from 'node:test';

import { alpacaPrompt, InputError } from 'alignbook';

const HEAD = 'Below is an instruction that describes a task.\nWrite a response that appropriately completes the request.\n\n';

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
