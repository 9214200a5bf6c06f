/**
 * The TypeScript side of hub_cache.py.
 *
 *     node hubDriver.js serve        a hub on this machine; prints its address and serves until its input ends
 *     node hubDriver.js load NAME    loads a model by name; prints the ids of a text and the logits of a few tokens
 *     node hubDriver.js rows NAME    reads the rows of a data set; prints them as JSON
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { GPT2, tf, Tokenizer } from 'alignbook';
import { readRows } from 'alignbook/dist/text/rows';

import { root } from '../../scripts/paths';
import { HubServer } from '../hubServer';

const read = (folder: string, files: string[]) =>
  Object.fromEntries(files.map((file) => [file, readFileSync(join(root, folder, file))]));

async function serve(): Promise<void> {
  const files = {
    ...read('tests/fixtures/gpt2', ['config.json', 'model.safetensors']),
    ...read('data/models/tiny', ['tokenizer.json', 'vocab.json', 'merges.txt']),
    'tokenizer_config.json': Buffer.from('{"model_max_length": 1024}'),
    'README.md': Buffer.from('a card'),
  };
  const row = (n: number) => JSON.stringify({ prompt: `Say ${n}.`, chosen: `${n}`, rejected: '0' });
  const pairs = {
    'README.md': Buffer.from('---\nlicense: cc0-1.0\n---\n'),
    'data/train-00000-of-00002.jsonl': Buffer.from(`${row(1)}\n${row(2)}\n`),
    'data/train-00001-of-00002.jsonl': Buffer.from(`${row(3)}\n`),
  };
  const server = await HubServer.start({
    'test/gpt2': { commit: '607a30d783dfa663caf39e06633721c8d4cfcd7e', files },
    'datasets/test/pairs': { commit: '0123456789abcdef0123456789abcdef01234567', files: pairs },
  });
  console.log(server.endpoint);
  process.stdin.on('end', () => void server[Symbol.asyncDispose]()).resume();
}

async function load(name: string): Promise<void> {
  const tokenizer = await Tokenizer.fromPretrained(name);
  const model = await GPT2.fromPretrained(name);
  const { logits } = model.forward(tf.tensor2d([[3, 1, 4, 1, 5]], undefined, 'int32'));
  console.log(
    JSON.stringify({ ids: tokenizer.encode('Hello, world!<|endoftext|>'), logits: Array.from(logits.dataSync()) }),
  );
}

async function rows(name: string): Promise<void> {
  const found: object[] = [];
  for await (const { parse } of readRows(`hf:${name}`, ['prompt', 'chosen', 'rejected'])) found.push(parse());
  console.log(JSON.stringify(found));
}

const [command, name = ''] = process.argv.slice(2);
void (command === 'serve' ? serve() : command === 'rows' ? rows(name) : load(name));
