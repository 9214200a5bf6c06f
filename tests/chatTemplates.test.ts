/** A model's own chat template: rendered as by transformers, split as by TRL, copied to exports, and reported. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  exportModel,
  FileError,
  generate,
  GPT2,
  InputError,
  readPairs,
  readPrompts,
  readResponses,
  Tokenizer,
  type ChatMessage,
  type PairIds,
} from 'alignbook';

import { root } from '../scripts/paths';
import { loadEngineModel } from './engineFixtures';
import { matching } from './matching';

const TINY = join(root, 'data', 'models', 'tiny');
const place = mkdtempSync(join(tmpdir(), 'chat-'));
after(() => rmSync(place, { recursive: true }));

interface Fixture {
  conversations: ChatMessage[][];
  pair: Record<'prompt' | 'chosen' | 'rejected', ChatMessage[]>;
  templates: {
    name: string;
    template: string;
    rendered: ([plain: string, withPrompt: string] | null)[];
    pair: Record<'prompt' | 'chosen' | 'rejected', string>;
    ids: PairIds;
  }[];
}
const fixture = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'chat-templates.json'), 'utf8')) as Fixture;

function folderOf(files: Record<string, string>, config: object = {}): string {
  const folder = mkdtempSync(join(place, 'model-'));
  for (const name of ['vocab.json', 'merges.txt', 'tokenizer.json', 'config.json'])
    copyFileSync(join(TINY, name), join(folder, name));
  writeFileSync(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ ...(JSON.parse(readFileSync(join(TINY, 'tokenizer_config.json'), 'utf8')) as object), ...config }),
  );
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}
const rowsFile = (name: string, ...rows: object[]): string => {
  writeFileSync(join(place, name), rows.map((row) => JSON.stringify(row)).join('\n'));
  return join(place, name);
};
const pairs = rowsFile('pairs.jsonl', fixture.pair);
const implicit = rowsFile('implicit.jsonl', {
  chosen: [...fixture.pair.prompt, ...fixture.pair.chosen],
  rejected: [...fixture.pair.prompt, ...fixture.pair.rejected],
});
const END = '<|endoftext|>';

for (const { name, template, rendered, pair, ids } of fixture.templates) {
  test(`${name}: transformers' texts, and TRL's pair`, async () => {
    const tokenizer = await Tokenizer.fromPretrained(folderOf({ 'chat_template.jinja': template }));
    fixture.conversations.forEach((conversation, n) => {
      for (const [flag, addGenerationPrompt] of [false, true].entries()) {
        const render = () => tokenizer.chatTemplate!.render(conversation, { addGenerationPrompt });
        if (rendered[n] === null)
          assert.throws(
            render,
            (error) =>
              error instanceof InputError &&
              /^the model's chat template does not accept these messages \(.*System role not supported.*\)$/.test(
                error.message,
              ),
          );
        else assert.equal(render(), rendered[n]![flag], `conversation ${n}`);
      }
    });
    for (const file of [pairs, implicit]) {
      const told: string[] = [];
      const [read] = (await readPairs(file, tokenizer, { maxLength: 256, onMessages: (text) => told.push(text) })) as [
        PairIds,
      ];
      assert.equal(tokenizer.decode(read.promptIds), pair.prompt);
      for (const side of ['chosen', 'rejected'] as const) {
        // otherwise an end-of-sequence token is added after it; without one, a model does not learn to end
        const ends = pair[side].trimEnd().endsWith(END);
        assert.equal(tokenizer.decode(read[`${side}Ids`]), pair[side] + (ends ? '' : END));
        // in TRL, tokens merge across the boundary; here, prompt and response are encoded separately
        if (tokenizer.decode(ids.promptIds) !== pair.prompt) continue;
        assert.deepEqual(read[`${side}Ids`], [...ids[`${side}Ids`], ...(ends ? [] : [tokenizer.eosTokenId])]);
        assert.deepEqual(read.promptIds, ids.promptIds);
      }
      assert.deepEqual(told, [
        `messages are written by the model's chat template (${told[0]!.slice(told[0]!.indexOf('(') + 1, -1)})`,
      ]);
      assert.match(told[0]!, /chat_template\.jinja\)$/);
    }
    const chosen = rowsFile('messages.jsonl', { messages: [...fixture.pair.prompt, ...fixture.pair.chosen] });
    const [response] = await readResponses(chosen, tokenizer, { maxLength: 256 });
    assert.ok(tokenizer.decode(response!.responses[0]!).startsWith(pair.chosen));
    const [prompt] = await readPrompts(pairs, tokenizer, { maxLength: 256, maxNewTokens: 8 });
    assert.equal(tokenizer.decode(prompt!), pair.prompt);
  });
}

test("a message's name reaches the template", async () => {
  const { template, rendered } = fixture.templates.find(({ name }) => name === 'names')!;
  const tokenizer = await Tokenizer.fromPretrained(folderOf({ 'chat_template.jinja': template }));
  const [asked, answered] = fixture.conversations.at(-1)!;
  const rows = rowsFile('names.jsonl', {
    prompt: [asked],
    chosen: [answered],
    rejected: [{ role: 'assistant', content: 'No.' }],
  });
  const [pair] = (await readPairs(rows, tokenizer, { maxLength: 256 })) as [PairIds];
  assert.match(rendered.at(-1)![0], /<user Ann>/);
  assert.equal(tokenizer.decode([...pair.promptIds, ...pair.chosenIds]), rendered.at(-1)![0]);
});

test('an empty system message is as if it were not there', async () => {
  const empty = rowsFile('empty.jsonl', {
    ...fixture.pair,
    prompt: [{ role: 'system', content: '' }, ...fixture.pair.prompt],
  });
  const { template } = fixture.templates.find(({ name }) => name === 'gemma')!; // this template refuses any other role
  for (const files of [{}, { 'chat_template.jinja': template }] as Record<string, string>[]) {
    const tokenizer = await Tokenizer.fromPretrained(folderOf(files));
    assert.deepEqual(
      await readPairs(empty, tokenizer, { maxLength: 256 }),
      await readPairs(pairs, tokenizer, { maxLength: 256 }),
    );
  }
});

test(
  'the file goes before tokenizer_config.json; of a list the one named default counts; without a template nothing ' +
    'changes',
  async () => {
    const render = async (folder: string) =>
      (await Tokenizer.fromPretrained(folder)).chatTemplate?.render([{ role: 'user', content: 'x' }]);
    assert.equal(await render(folderOf({ 'chat_template.jinja': 'file' }, { chat_template: 'config' })), 'file');
    assert.equal(await render(folderOf({}, { chat_template: 'config {{ eos_token }}' })), `config ${END}`);
    assert.equal(
      await render(
        folderOf(
          {},
          {
            chat_template: [
              { name: 'tool_use', template: 'tools' },
              { name: 'default', template: 'default' },
            ],
          },
        ),
      ),
      'default',
    );
    assert.equal(await render(folderOf({})), undefined);
    await assert.rejects(
      render(folderOf({}, { chat_template: [{ name: 'tool_use', template: 'tools' }] })),
      (error) =>
        error instanceof FileError &&
        /tokenizer_config\.json: its chat_template is neither a text nor a list with one that is named "default"/.test(
          error.message,
        ),
    );
    await assert.rejects(
      render(folderOf({ 'chat_template.jinja': '{% for x in %}' })),
      (error) =>
        error instanceof FileError && /chat_template\.jinja: its chat template cannot be read \(/.test(error.message),
    );
  },
);

test(
  'a refusal of several lines is said in one; a template ' + 'of another name is carried along, and is not the default',
  async () => {
    const folder = folderOf({ 'chat_template.jinja': "{{ raise_exception('first\\nsecond') }}" });
    const { chatTemplate } = await Tokenizer.fromPretrained(folder);
    assert.throws(
      () => chatTemplate!.render([{ role: 'user', content: 'x' }]),
      (error) =>
        error instanceof InputError &&
        error.message === "the model's chat template does not accept these messages (first second)",
    );

    mkdirSync(join(folder, 'additional_chat_templates'));
    writeFileSync(join(folder, 'additional_chat_templates', 'rag.jinja'), 'the other');
    copyFileSync(join(TINY, 'model.safetensors'), join(folder, 'model.safetensors'));
    const model = await GPT2.fromPretrained(folder);
    for (const force of [false, true]) await exportModel(model, join(place, 'several'), { source: folder, force });
    model.dispose();
    assert.equal(readFileSync(join(place, 'several', 'additional_chat_templates', 'rag.jinja'), 'utf8'), 'the other');
    assert.ok(existsSync(join(place, 'several', 'chat_template.jinja')));

    // transformers: "This model has multiple chat templates with no default specified", whatever tokenizer_config.json
    // says
    rmSync(join(folder, 'chat_template.jinja'));
    writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({ eos_token: END, chat_template: 'config' }));
    await assert.rejects(
      Tokenizer.fromPretrained(folder),
      (error) =>
        error instanceof FileError &&
        matching(
          /additional_chat_templates\/rag\.jinja: is a chat template, but there is no default one; save/,
          / that as chat_template\.jinja/,
        ).test(error.message),
    );
  },
);

test('a conversation that the template refuses is named with its row; commands say how messages are written', () => {
  const template = fixture.templates.find(({ name }) => name === 'gemma')!.template;
  const model = folderOf({ 'chat_template.jinja': template });
  copyFileSync(join(TINY, 'model.safetensors'), join(model, 'model.safetensors'));
  const logps = (folder: string, file: string) =>
    spawnSync(
      process.execPath,
      [join(root, 'lib', 'bin', 'alignbook.js'), 'logps', '--model', folder, '--data', file],
      { encoding: 'utf8' },
    );
  const refused = rowsFile('system.jsonl', fixture.pair, {
    ...fixture.pair,
    prompt: [{ role: 'system', content: 'Be kind.' }, ...fixture.pair.prompt],
  });
  const { status, stderr } = logps(model, refused);
  assert.equal(status, 1);
  assert.match(
    stderr,
    new RegExp(
      `^messages are written by the model's chat template \\(.*chat_template\\.jinja\\)\nalignbook: ${refused}: ` +
        `line 2: "prompt": the model's chat template does not accept these messages \\(.*System role not ` +
        'supported.*\\)\n$',
    ),
  );
  const without = logps('tiny', pairs);
  assert.deepEqual(
    [without.status, without.stderr],
    [0, 'messages are written as the Alpaca prompt: the model has no chat template\n'],
  );
});

test('a template goes along with an export, and the end that was trained is the one that ends', async () => {
  const source = folderOf(
    { 'chat_template.jinja': 'the template', 'generation_config.json': '{"eos_token_id": 11, "top_k": 7}' },
    { eos_token: END },
  );
  copyFileSync(join(TINY, 'model.safetensors'), join(source, 'model.safetensors'));
  writeFileSync(
    join(source, 'config.json'),
    JSON.stringify({ ...(JSON.parse(readFileSync(join(TINY, 'config.json'), 'utf8')) as object), eos_token_id: 12 }),
  );
  assert.deepEqual((await Tokenizer.fromPretrained(source)).endTokenIds, [50256, 11]);
  const model = await GPT2.fromPretrained(source);
  const exported = (name: string) =>
    JSON.parse(readFileSync(join(place, 'out', name), 'utf8')) as { eos_token_id: unknown; top_k?: number };
  const again = async (generation: string | null) => {
    rmSync(join(place, 'out'), { recursive: true, force: true });
    if (generation === null) rmSync(join(source, 'generation_config.json'));
    else writeFileSync(join(source, 'generation_config.json'), generation);
    await exportModel(model, join(place, 'out'), { source });
    return exported('generation_config.json');
  };
  assert.deepEqual(await again('{"eos_token_id": 11, "top_k": 7}'), { eos_token_id: 50256, top_k: 7 });
  assert.equal(readFileSync(join(place, 'out', 'chat_template.jinja'), 'utf8'), 'the template');
  assert.equal(exported('config.json').eos_token_id, 50256);
  assert.deepEqual((await again('{"eos_token_id": [11, 198]}')).eos_token_id, [50256, 11, 198]);
  assert.deepEqual((await again('{"eos_token_id": [198, 50256]}')).eos_token_id, [198, 50256]);
  assert.equal((await again(null)).eos_token_id, 50256);
  assert.ok(existsSync(join(place, 'out', 'vocab.json')));

  // A list that is only in config.json stays, because transformers' generate ends at all of its ids; the end token from
  // training is put before a list that lacks it.
  const config = JSON.parse(readFileSync(join(TINY, 'config.json'), 'utf8')) as object;
  for (const [ends, kept] of [
    [
      [50256, 6],
      [50256, 6],
    ],
    [
      [6, 7],
      [50256, 6, 7],
    ],
  ]) {
    writeFileSync(join(source, 'config.json'), JSON.stringify({ ...config, eos_token_id: ends }));
    rmSync(join(place, 'out'), { recursive: true, force: true });
    await exportModel(model, join(place, 'out'), { source });
    for (const name of ['config.json', 'generation_config.json'])
      assert.deepEqual(exported(name).eos_token_id, kept, name);
    assert.deepEqual((await Tokenizer.fromPretrained(join(place, 'out'))).endTokenIds, kept);
  }
  model.dispose();
});

test('a list of end tokens: generation ends at any of them; one that is no list of ids is refused', async () => {
  const { model } = await loadEngineModel('a-group');
  const [whole] = await generate(model, [[1, 2]], { maxNewTokens: 10 });
  const [third, sixth] = [whole!.ids[2]!, whole!.ids[5]!];
  const first = whole!.ids.findIndex((id) => id === third || id === sixth);
  const [ended] = await generate(model, [[1, 2]], { maxNewTokens: 10, eosTokenId: [sixth, third] });
  assert.deepEqual(ended, { ids: whole!.ids.slice(0, first + 1), finish: 'eos' });
  model.dispose();
  const folder = folderOf({ 'generation_config.json': '{"eos_token_id": [50256, 198]}' });
  assert.deepEqual((await Tokenizer.fromPretrained(folder)).endTokenIds, [50256, 198]);
  for (const wrong of ['"50256"', '[1, null]', '1.5', '-1']) {
    writeFileSync(join(folder, 'generation_config.json'), `{"eos_token_id": ${wrong}}`);
    await assert.rejects(
      Tokenizer.fromPretrained(folder),
      (error) =>
        error instanceof FileError &&
        /generation_config\.json: "eos_token_id" must be a token id, a list of them, or null, got/.test(error.message),
    );
  }
});
