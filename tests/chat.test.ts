/** A conversation with a model: through a pipe, in a terminal, and the parts that it consists of. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';

import { alpacaPrompt, chatPrompt, generate, GPT2, Tokenizer, type ChatMessage, type GenerateOptions } from 'alignbook';
import { answers, GrowingText } from 'alignbook/dist/model/answer';
import { chatOf } from 'alignbook/dist/text/chat';
import { fittedPrompt } from 'alignbook/dist/text/conversation';

import { root } from '../scripts/paths';

const TINY = join(root, 'data', 'models', 'tiny');
const CLI = join(root, 'lib', 'bin', 'alignbook.js');
const QUESTION = "What is a synonym of 'big'?";
const templated = mkdtempSync(join(tmpdir(), 'chat-'));
after(() => rmSync(templated, { recursive: true }));

let tokenizer: Tokenizer;
let model: GPT2;
before(async () => {
  for (const name of ['vocab.json', 'merges.txt', 'tokenizer.json', 'tokenizer_config.json', 'config.json'])
    copyFileSync(join(TINY, name), join(templated, name));
  symlinkSync(join(TINY, 'model.safetensors'), join(templated, 'model.safetensors'));
  writeFileSync(
    join(templated, 'chat_template.jinja'),
    "{% for m in messages %}### {{ 'Instruction' if m.role == 'user' else 'Response' }}:\n{{ m.content }}\n\n" +
      '{% endfor %}{% if add_generation_prompt %}### Response:\n{% endif %}',
  );
  [tokenizer, model] = await Promise.all([Tokenizer.fromPretrained('tiny'), GPT2.fromPretrained('tiny')]);
});

/** What `generate` continues a text with, without the end token. */
async function continued(text: string, options: GenerateOptions = {}): Promise<string> {
  const [made] = await generate(model, [tokenizer.encode(text)], { eosTokenId: tokenizer.eosTokenId, ...options });
  return tokenizer.decode(made!.ids.filter((id) => id !== tokenizer.eosTokenId));
}

function chat(lines: readonly string[], ...options: string[]) {
  const input = lines.map((line) => `${line}\n`).join('');
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, 'chat', ...options], {
    input,
    encoding: 'utf8',
  });
  return { status, stdout: stdout.split('\n').slice(0, -1), stderr: stderr.split('\n').slice(0, -1) };
}

test('a pipe: an answer for each line, the history by the chat template, /compare, /reset, errors', async () => {
  const { status, stdout, stderr } = chat(
    [
      '/compare tiny',
      QUESTION,
      '',
      '/compare tiny',
      'And of small?',
      '/reset',
      ' /help',
      '/rset',
      '/compare ./none',
      '/help',
    ],
    '--model',
    templated,
  );
  // By hand, as the template above writes them.
  const first = `### Instruction:\n${QUESTION}\n\n### Response:\n`;
  const one = await continued(first);
  const two = await continued(`${first}${one}\n\n### Instruction:\nAnd of small?\n\n### Response:\n`);
  const alone = await continued('### Instruction:\n/help\n\n### Response:\n');
  const alpaca = await continued(alpacaPrompt({ instruction: QUESTION }));
  assert.notEqual(two, await continued('### Instruction:\nAnd of small?\n\n### Response:\n')); // the history matters
  const compared = stdout.slice(1, stdout.indexOf(two.split('\n')[0]!));
  assert.deepEqual([stdout[0], ...stdout.slice(1 + compared.length, 3 + compared.length)], [one, two, alone]);
  const column = (from: number, to?: number) => compared.map((line) => line.slice(from, to).trim()).join(' ');
  assert.ok(
    compared.every((line) => line.length <= 80 && line[39] === '|'),
    compared.join('\n'),
  );
  assert.ok(column(0, 38).replace(/[[\]]/g, '').endsWith(` ${one}`), column(0, 38));
  assert.ok(column(40).replace(/[[\]]/g, '').startsWith(`tiny ---- ${alpaca}`), column(40));
  assert.deepEqual(
    stdout.slice(3 + compared.length).map((line) => line.split(' ')[0]),
    [...['/compare', '/reset', '/help', '/exit', 'Ctrl-C']],
  );
  assert.deepEqual(stderr.slice(0, 5), [
    `(messages are written by the model's chat template (${join(templated, 'chat_template.jinja')}))`,
    '(the model sees the earlier turns)',
    'alignbook: /compare has nothing to compare yet; ask a question first',
    'alignbook: there is no command "/rset"; did you mean /reset?',
    `alignbook: ${resolve('none')} is not there; give a model folder, or the name of a model on the Hugging Face hub`,
  ]);
  assert.deepEqual([status, stderr.length], [1, 5]);
});

test('without a chat template each question stands alone, except with --history; the oldest turns go', async () => {
  const sampled = ['--temperature', '0.7', '--seed', '3', '--max-new-tokens', '12'];
  const settings = { temperature: 0.7, maxNewTokens: 12 };
  const { status, stdout, stderr } = chat(
    [QUESTION, QUESTION, '/compare ./none', '/exit', 'x'],
    '--model',
    'tiny',
    ...sampled,
  );
  const prompt = alpacaPrompt({ instruction: QUESTION });
  const expected = [
    await continued(prompt, { ...settings, seed: 3 }),
    await continued(prompt, { ...settings, seed: 4 }),
  ];
  assert.deepEqual(
    stdout,
    expected.flatMap((text) => text.split('\n')),
  );
  assert.match(stderr[1]!, /^\(each question stands alone; --history shows the earlier turns\)$/);
  assert.match(stderr.at(-1)!, /^alignbook: .*none is not there/);
  assert.equal(status, 1);

  const tokens = tokenizer.encode(alpacaPrompt({ instruction: 'word '.repeat(300).trim() })).length;
  // Longer than the window of 256 together, not alone.
  const long = `Repeat: ${'word '.repeat(120)}.`;
  const kept = chat([long, long, 'word '.repeat(300)], '--model', 'tiny', '--history', '--max-new-tokens', '4');
  const answer = await continued(alpacaPrompt({ instruction: long }), { maxNewTokens: 4 });
  assert.deepEqual(kept.stdout, [answer, answer]);
  assert.deepEqual(kept.stderr.slice(1), [
    '(the model sees the earlier turns)',
    '(cut off after 4 tokens; --max-new-tokens allows more)',
    '(the oldest turn was left out: the conversation no longer fits the window of 256 tokens)',
    '(cut off after 4 tokens; --max-new-tokens allows more)',
    `alignbook: the question takes ${tokens} ` +
      "tokens, and the model's window has 256: no room is left for an answer; shorten it",
  ]);
});

test('in a terminal: answers stream, Ctrl-C stops an answer, clears a line, and ends when pressed twice', () => {
  const typed = [
    ['', '> .*$'],
    ['Say hello.\r', 'hello\\.\\s+\\w{3}'], // some of an answer of 200 random tokens
    ['\x03', 'stopped(?s:.*)> .*$'],
    ['nonsense\x03', 'nonsense(?s:.*)> .*$'],
    ['/compare tiny\r', '---- (?s:.*)> .*$'],
    ['\x03', 'Ctrl-C again ends(?s:.*)> .*$'],
    ['\x03', '\n'],
  ];
  const command = [process.execPath, CLI, 'chat', '--model', 'tiny', '--temperature', '50', '--max-new-tokens', '200'];
  const { status, stdout, stderr } = spawnSync(
    'python3',
    [join(root, 'tests', 'terminal.py'), JSON.stringify(command), JSON.stringify(typed)],
    // Where CI is set, Node takes a terminal for one without colors.
    { encoding: 'utf8', env: { ...process.env, TERM: 'xterm-256color', NO_COLOR: undefined, FORCE_COLOR: '1' } },
  );
  assert.equal(status, 0, `${stdout}\n${stderr}`);
  const compared = stdout.slice(stdout.indexOf('----'));
  assert.match(compared, /\x1b\[1;35m[^]*\x1b\[0m/, 'differences are colored');
  assert.doesNotMatch(stripVTControlCharacters(stdout), /nonsense[^]*nonsense/, 'a cleared line is not a question');
});

test('the text of tokens that arrive one by one: whole characters, and nothing of a stop text', () => {
  const grown = (text: string, stop: readonly string[] = []) => {
    const growing = new GrowingText(tokenizer, stop);
    const pieces = tokenizer.encode(text).map((id) => {
      growing.add(id);
      return growing.newlyFinal();
    });
    return { pieces: [...pieces, growing.rest()], whole: growing.whole() };
  };
  const text = 'naïve 🎉👩‍🚀 日本語 ﷽ done';
  const { pieces, whole } = grown(text);
  assert.ok(tokenizer.encode(text).length > [...text].length / 2 && pieces.filter((piece) => piece === '').length > 3);
  assert.deepEqual([pieces.join(''), whole], [text, text]);
  assert.ok(
    pieces.every((piece) => !/[\ufffd\ud800-\udfff]/u.test(piece)),
    pieces.join('|'),
  );
  assert.ok(pieces.slice(0, 3).join('').startsWith('na'), 'streamed, rather than all at the end');

  const stopped = grown('one two 🎉 three\n\n### Instruction:\nfour', ['\n\n### Inst', 'zzz']);
  assert.deepEqual([stopped.pieces.join(''), stopped.whole], ['one two 🎉 three', 'one two 🎉 three']);
  const almost = grown('one\n\n### Other', ['\n\n### Inst']);
  assert.equal(almost.pieces.join(''), 'one\n\n### Other');
  const cut = new GrowingText(tokenizer, []);
  cut.add(tokenizer.encode('🎉')[0]!); // and no more
  assert.deepEqual([cut.newlyFinal(), cut.rest()], ['', '\ufffd']);
});

test('answers ends at a stop text, at the end token, or after its tokens; an abort throws the reason', async () => {
  const ids = tokenizer.encode(alpacaPrompt({ instruction: QUESTION }));
  const whole = await continued(alpacaPrompt({ instruction: QUESTION }));
  const made = async (options: object) => (await answers(model, tokenizer, [ids], options))[0];
  assert.deepEqual(await made({}), { text: whole, finish: 'eos' });
  assert.deepEqual(await made({ stop: [whole.slice(5, 9)] }), {
    text: whole.slice(0, whole.indexOf(whole.slice(5, 9))),
    finish: 'stop',
  });
  assert.equal((await made({ maxNewTokens: 2 }))!.finish, 'length');
  const abort = new AbortController();
  const onText = () => abort.abort(new Error('enough'));
  await assert.rejects(answers(model, tokenizer, [ids], { onText, signal: abort.signal }), /^Error: enough$/);
});

test('a conversation loses its oldest turns, whole, as few as needed', () => {
  const turns = ['one', 'two', 'three'].flatMap((word): ChatMessage[] => [
    { role: 'user', content: `${word} ?` },
    { role: 'assistant', content: `${word} !` },
  ]);
  const messages = [...turns, { role: 'user', content: 'last' } as const];
  const lengths = [0, 2, 4, 6].map((from) => tokenizer.encode(chatPrompt(messages.slice(from))).length);
  const room = 5;
  lengths.forEach((length, dropped) => {
    const options = { chat: chatOf(null), tokenizer, blockSize: length + room, room };
    assert.deepEqual(fittedPrompt(messages, options), {
      ids: tokenizer.encode(chatPrompt(messages.slice(2 * dropped))),
      messages: messages.slice(2 * dropped),
      dropped,
    });
  });
  // alone, the question may take the room of its answer, except for one token
  const alone = (blockSize: number) => fittedPrompt(messages, { chat: chatOf(null), tokenizer, blockSize, room });
  assert.equal(alone(lengths[3]! + 1).dropped, 3);
  assert.throws(
    () => alone(lengths[3]!),
    new RegExp(`takes ${lengths[3]} tokens, and the model's window has ${lengths[3]}`),
  );
});
