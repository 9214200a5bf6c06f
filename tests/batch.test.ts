import assert from 'node:assert/strict';
import { test } from 'node:test';

import { encode } from 'gpt-3-encoder';
import { alpacaPrompt, appendEos, encodePair, preferenceBatch, responseStart, type tf } from 'alignbook';

import { keepsNothing, refused } from './lossCases';

const EOS = 50256;
const gpt2 = { encode, eosTokenId: EOS };

/** A batch of one row. */
function batchOf(
  promptIds: number[],
  chosenIds: number[],
  rejectedIds: number[],
  options: { padId?: number; maxLength?: number } = {},
) {
  return preferenceBatch([{ promptIds, chosenIds, rejectedIds }], { padId: 0, ...options });
}

test('rows are joined and padded on the right to one length', () => {
  const { chosen, rejected } = preferenceBatch(
    [
      { promptIds: [1, 2, 3], chosenIds: [4, 5], rejectedIds: [6] },
      { promptIds: [7, 8], chosenIds: [9, 10], rejectedIds: [11, 12, 13] },
    ],
    { padId: 0 },
  );
  assert.deepEqual(chosen.inputIds.arraySync(), [
    [1, 2, 3, 4, 5],
    [7, 8, 9, 10, 0],
  ]);
  assert.deepEqual(rejected.inputIds.arraySync(), [
    [1, 2, 3, 6, 0],
    [7, 8, 11, 12, 13],
  ]);
  assert.deepEqual(chosen.responseMask.arraySync(), [
    [0, 0, 0, 1, 1],
    [0, 0, 1, 1, 0],
  ]);
  assert.deepEqual(rejected.responseMask.arraySync(), [
    [0, 0, 0, 1, 0],
    [0, 0, 1, 1, 1],
  ]);
  assert.deepEqual(chosen.attentionMask.arraySync(), [
    [1, 1, 1, 1, 1],
    [1, 1, 1, 1, 0],
  ]);
  assert.deepEqual(rejected.attentionMask.arraySync(), [
    [1, 1, 1, 1, 0],
    [1, 1, 1, 1, 1],
  ]);
  assert.ok([chosen, rejected].flatMap<tf.Tensor>(Object.values).every(({ dtype }) => dtype === 'int32'));
});

test('a real id that equals the padding stays attended and scored', () => {
  const { chosen } = batchOf([EOS, 1], [2, EOS, 3, EOS], [4, 5, 6, 7, EOS], { padId: EOS });
  assert.deepEqual(chosen.inputIds.arraySync(), [[EOS, 1, 2, EOS, 3, EOS, EOS]]);
  assert.deepEqual(chosen.attentionMask.arraySync(), [[1, 1, 1, 1, 1, 1, 0]]);
  assert.deepEqual(chosen.responseMask.arraySync(), [[0, 0, 1, 1, 1, 1, 0]]);
});

test('rows that cannot be trained on are refused by number', () => {
  refused(() => preferenceBatch([], { padId: 0 }), /at least one row/);
  refused(() => batchOf([], [1], [2]), /row 0: promptIds is empty/);
  refused(() => batchOf([1], [], [2]), /row 0: chosenIds is empty/);
  refused(() => batchOf([1], [2], []), /row 0: rejectedIds is empty/);
  refused(() => batchOf([1], [2, 3], [2, 3]), /row 0: chosen and rejected are the same/);
  refused(() => batchOf([1], [2, -1], [3]), /row 0: chosenIds holds -1/);
  refused(() => batchOf([1.5], [2], [3]), /row 0: promptIds holds 1.5/);
  refused(() => batchOf([1, 2], [3], [4, 5], { maxLength: 3 }), /row 0: 4 tokens, the limit is 3/);
  assert.deepEqual(batchOf([1, 2], [3], [4, 5], { maxLength: 4 }).rejected.inputIds.shape, [1, 4]);
});

test('encodePair ends each response with one end of sequence', () => {
  const prompt = alpacaPrompt({ instruction: "What is an antonym of 'complicated'?" });
  const { promptIds, chosenIds, rejectedIds } = encodePair(gpt2, {
    prompt,
    chosen: "A suitable antonym for 'complicated' would be 'simple'.",
    rejected: "An antonym of 'complicated' is 'simple'.",
  });
  // The walkthrough's pair: 36 tokens, then 6 of the template; the two first differ after that, at 32 against 2025.
  assert.deepEqual([promptIds.length, chosenIds.length, rejectedIds.length], [42, 15 + 1, 13 + 1]);
  assert.deepEqual([chosenIds[0], rejectedIds[0]], [32, 2025]);
  assert.deepEqual([chosenIds.at(-1), rejectedIds.at(-1)], [EOS, EOS]);
  for (const name of ['prompt', 'chosen', 'rejected']) {
    refused(
      () => encodePair(gpt2, { prompt: 'a', chosen: 'b', rejected: 'c', [name]: '' }),
      new RegExp(`${name} is empty`),
    );
  }
});

test(
  'a text has its own end where the end of sequence is its last token; a chat template may write white space after ' +
    'it',
  () => {
    // GPT-2's
    const ids: Record<string, number[]> = { a: [64], 'b<|endoftext|> ': [65, EOS, 220], 'c<|endoftext|>': [66, EOS] };
    const encoder = { encode: (text: string) => ids[text]!, eosTokenId: EOS, eosToken: '<|endoftext|>' };
    const texts = { prompt: 'a', chosen: 'b<|endoftext|> ', rejected: 'c<|endoftext|>' };
    assert.deepEqual(encodePair(encoder, texts), {
      promptIds: [64],
      chosenIds: [65, EOS, 220, EOS],
      rejectedIds: [66, EOS],
    });
    assert.deepEqual(encodePair(encoder, { ...texts, templated: true }), {
      promptIds: [64],
      chosenIds: [65, EOS, 220],
      rejectedIds: [66, EOS],
    });
  },
);

test('appendEos adds one, never a second', () => {
  const ids = [1, 2];
  assert.deepEqual(appendEos(ids, EOS), [1, 2, EOS]);
  assert.deepEqual(appendEos([1, EOS], EOS), [1, EOS]);
  assert.deepEqual(appendEos([], EOS), [EOS]);
  assert.deepEqual(ids, [1, 2]);
});

test('responseStart refuses ids in which prompt and response have merged', () => {
  const [prompt, response] = ['The answer is ', 'yes'];
  const promptIds = encode(prompt);
  refused(() => responseStart(promptIds, encode(prompt + response)), /do not begin with the prompt's.*encodePair/);
  assert.equal(responseStart(promptIds, [...promptIds, ...encode(response)]), promptIds.length);
  refused(() => responseStart(promptIds, promptIds), /there is no response/);
  refused(() => responseStart(promptIds, promptIds.slice(0, 2)), /do not begin/);
});

test('no tensor stays behind', () =>
  keepsNothing(() => ({ ...batchOf([1], [2], [3, 4]) }) as unknown as tf.TensorContainer));
