/**
 * The TypeScript side of hub_cache.py.
 *
 *     node hubDriver.js serve        a hub on this machine; prints its address and serves until its input ends
 *     node hubDriver.js load NAME    loads a model by name; prints the ids of a text and the logits of a few tokens
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { GPT2, tf, Tokenizer } from 'alignbook';

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
  const server = await HubServer.start({ 'test/gpt2': { commit: '607a30d783dfa663caf39e06633721c8d4cfcd7e', files } });
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

const [command, name = ''] = process.argv.slice(2);
void (command === 'serve' ? serve() : load(name));
