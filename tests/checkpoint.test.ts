/** Model folders in shards, against the same weights in one file; and folders whose files do not belong together. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { FileError, GPT2, SafetensorsFile, writeSafetensors } from 'alignbook';

import { root } from '../scripts/paths';
import { matching } from './matching';

const FIXTURES = join(root, 'tests', 'fixtures', 'gpt2');
const made: string[] = [];
after(() => made.forEach((folder) => rmSync(folder, { recursive: true })));

/** The fixture's tensors, divided into two shards with a matching index; `change` damages it before it is written. */
function sharded(
  change: (parts: { first: string[]; second: string[]; map: Record<string, unknown> }) => void = () => {},
): string {
  const folder = mkdtempSync(join(tmpdir(), 'shards-'));
  made.push(folder);
  copyFileSync(join(FIXTURES, 'config.json'), join(folder, 'config.json'));
  using file = new SafetensorsFile(join(FIXTURES, 'model.safetensors'));
  const names = [...file.tensors.keys()];
  const [first, second] = [names.filter((_, n) => n % 2 === 0), names.filter((_, n) => n % 2 === 1)];
  const map = Object.fromEntries(names.map((name, n) => [name, shard(1 + (n % 2))]));
  change({ first, second, map });
  for (const [part, held] of [
    [1, first],
    [2, second],
  ] as const) {
    const tensors = held.map((name) => ({ name, shape: file.tensors.get(name)!.shape, values: file.float32(name) }));
    if (tensors.length > 0) writeSafetensors(join(folder, shard(part)), tensors);
  }
  writeFileSync(
    join(folder, 'model.safetensors.index.json'),
    JSON.stringify({ metadata: { total_size: 1 }, weight_map: map }),
  );
  return folder;
}

const shard = (part: number): string => `model-0000${part}-of-00002.safetensors`;

async function refused(folder: string, message: RegExp): Promise<void> {
  await assert.rejects(
    GPT2.fromPretrained(folder),
    (error) => error instanceof FileError && error.path.startsWith(folder) && message.test(error.message),
    `${message}`,
  );
}

test('shards hold the same weights as one file', async () => {
  const one = await GPT2.fromPretrained(FIXTURES);
  const two = await GPT2.fromPretrained(sharded());
  assert.equal(two.weights.names.length, 40);
  for (const name of one.weights.names) assert.deepEqual(two.weights.values(name), one.weights.values(name), name);
});

test('one file goes before shards', async () => {
  const folder = sharded(({ first }) => first.splice(0)); // the first shard is missing
  copyFileSync(join(FIXTURES, 'model.safetensors'), join(folder, 'model.safetensors'));
  assert.equal((await GPT2.fromPretrained(folder)).weights.names.length, 40);
});

test('shards that are not what their index says are refused by file and tensor', async () => {
  const bias = 'transformer.ln_f.bias'; // in the fixture's order, in the first shard or the second
  const place = (parts: { first: string[]; second: string[] }) =>
    parts.first.includes(bias)
      ? ([parts.first, parts.second, 1, 2] as const)
      : ([parts.second, parts.first, 2, 1] as const);
  await refused(
    sharded(({ second }) => second.splice(0)),
    /index\.json: names "model-00002-of-00002\.safetensors", which does not exist; download it too$/,
  );
  await refused(
    sharded((parts) => place(parts)[1].push(bias)),
    matching(
      /model-0000\d-of-00002\.safetensors: holds the tensor "transformer\.ln_f\.bias", but/,
      / model\.safetensors\.index\.json places it in "model-0000\d-of-00002\.safetensors": the files do/,
      / not belong to one checkpoint$/,
    ),
  );
  await refused(
    sharded(({ map }) => delete map[bias]),
    /holds the tensor "transformer\.ln_f\.bias", but \S+ does not name it/,
  );
  await refused(
    sharded((parts) => place(parts)[0].splice(place(parts)[0].indexOf(bias), 1)),
    /safetensors: lacks the tensor "transformer\.ln_f\.bias", which \S+ places there$/,
  );
  await refused(
    sharded((parts) => (parts.map[bias] = shard(place(parts)[3]))),
    /holds the tensor "transformer\.ln_f\.bias", but \S+ places it in/,
  );
  await refused(
    sharded(({ map }) => (map[bias] = '../model.safetensors')),
    matching(
      /places the tensor "transformer\.ln_f\.bias" in "\.\.\/model\.safetensors", which is not the name/,
      / of a safetensors file beside it$/,
    ),
  );
  await refused(
    sharded(({ map }) => (map[bias] = 3)),
    /in "3", which is not the name of a safetensors file beside it$/,
  );
  await refused(
    sharded(({ map }) => Object.keys(map).forEach((name) => delete map[name])),
    /has an empty "weight_map"$/,
  );
});

test('an index that is none', async () => {
  for (const [text, message] of [
    ['{', /cannot be read as JSON/],
    ['null', /is not a JSON object$/],
    ['{"weight_map":[]}', /has no "weight_map"/],
  ] as const) {
    const folder = sharded();
    writeFileSync(join(folder, 'model.safetensors.index.json'), text);
    await refused(folder, message);
  }
});

test('a folder without safetensors: what to do', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'shards-'));
  made.push(folder);
  copyFileSync(join(FIXTURES, 'config.json'), join(folder, 'config.json'));
  await refused(folder, /: has no model\.safetensors$/);
  writeFileSync(join(folder, 'pytorch_model.bin'), 'PK');
  await refused(
    folder,
    matching(
      /has its weights only in pytorch_model\.bin, a pickle.*; convert it with Python:/,
      / \S+from_pretrained\(folder\)\.save_pretrained\(folder, safe_serialization=True\)$/,
    ),
  );
});

test('two spellings of one tensor, and a head of its own, are refused', async () => {
  using file = new SafetensorsFile(join(FIXTURES, 'bare-keys.safetensors'));
  const tensors = [...file.tensors].map(([name, { shape }]) => ({ name, shape, values: file.float32(name) }));
  const folder = sharded();
  const wte = tensors.find(({ name }) => name === 'wte.weight')!;
  writeSafetensors(join(folder, 'model.safetensors'), [...tensors, { ...wte, name: 'transformer.wte.weight' }]);
  await refused(folder, /has the tensor "wte\.weight" twice, as "wte\.weight" and as "transformer\.wte\.weight"$/);
  writeSafetensors(join(folder, 'model.safetensors'), [
    ...tensors,
    { ...wte, name: 'lm_head.weight', values: wte.values.map((value) => -value) },
  ]);
  await refused(folder, /its lm_head\.weight differs from its wte\.weight, but its config\.json ties them/);
});
