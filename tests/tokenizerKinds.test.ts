/** Tokenizers of many kinds: Python's ids for every text, or one error that names the part that is not supported. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  configJson,
  exportModel,
  FileError,
  GPT2,
  initialWeights,
  InputError,
  Random,
  Tokenizer,
  Weights,
  writeSafetensors,
} from 'alignbook';

import { root } from '../scripts/paths';

type Json = Record<string, unknown>;

interface Kind {
  name: string;
  edits?: [path: string[], value?: unknown][];
  config?: Json;
  files?: Record<string, unknown>;
  without?: string[];
  /** By the number of the text, where the ids differ from those of the first kind. */
  ids?: Record<string, number[]>;
  /** Null if transformers has no end token and the library uses GPT-2's. */
  eos?: number | null;
  refused?: string;
}
const { base, config, texts, ids, kinds } = JSON.parse(
  readFileSync(join(root, 'tests', 'fixtures', 'tokenizer-kinds.json'), 'utf8'),
) as { base: Json; config: Json; texts: string[]; ids: number[][]; kinds: Kind[] };

const idsOf = (kind: Kind, n: number): number[] => kind.ids![n] ?? ids[n]!;

const place = mkdtempSync(join(tmpdir(), 'kinds-'));
after(() => rmSync(place, { recursive: true }));

function edited(json: Json, edits: Kind['edits'] = []): Json {
  const made = structuredClone(json);
  for (const [path, ...value] of edits) {
    const place = path.slice(0, -1).reduce((at, key) => at[key] as Json, made);
    if (value.length === 0) delete place[path.at(-1)!];
    else place[path.at(-1)!] = value[0];
  }
  return made;
}

/** A null removes a key. */
const present = (json: Json): Json => Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null));

function folderOf({ edits, config: more, files, without = [] }: Kind): string {
  const folder = mkdtempSync(join(place, 'kind-'));
  const all: Record<string, unknown> = {
    'config.json': { model_type: 'gpt2' },
    'tokenizer.json': edited(base, edits),
    'tokenizer_config.json': present({ ...config, ...more }),
    ...files,
  };
  for (const [name, content] of Object.entries(all))
    if (!without.includes(name))
      writeFileSync(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
  return folder;
}

test('there are at least twelve kinds of each', () => {
  assert.ok(kinds.filter(({ ids }) => ids).length >= 12 && kinds.filter(({ refused }) => refused).length >= 12);
});

for (const kind of kinds) {
  test(`${kind.refused === undefined ? "Python's ids" : 'refused'}: ${kind.name}`, async () => {
    const folder = folderOf(kind);
    if (kind.refused !== undefined) {
      await assert.rejects(
        Tokenizer.fromPretrained(folder),
        (error) => error instanceof FileError && error.message.includes(kind.refused!) && !error.message.includes('\n'),
        kind.refused,
      );
      return;
    }
    const tokenizer = await Tokenizer.fromPretrained(folder);
    if (kind.eos != null) assert.equal(tokenizer.eosTokenId, kind.eos);
    texts.forEach((text, n) => {
      assert.deepEqual(tokenizer.encode(text), idsOf(kind, n), JSON.stringify(text));
      // spaces may have been inserted before it
      assert.equal(tokenizer.decode(idsOf(kind, n)).replaceAll(' ', ''), text.replaceAll(' ', ''));
    });
  });
}

/**
 * Where the classes of characters make no difference, @huggingface/tokenizers, an independent implementation, gives the
 * same ids; this compares ASCII texts, whose classes are the same everywhere.
 */
test('@huggingface/tokenizers gives the same ids', async () => {
  const { Tokenizer: Other } = await import('@huggingface/tokenizers');
  for (const name of [
    'as tokenizers writes it',
    'an added token that begins with another',
    'tokenizer.json with added_tokens_decoder',
  ]) {
    const kind = kinds.find((each) => each.name === name)!;
    const decoder = Object.entries((kind.config?.['added_tokens_decoder'] ?? {}) as Record<string, Json>).map(
      ([id, token]): Json => ({ ...token, id: Number(id) }),
    );
    const json = edited(base, kind.edits);
    const added = [...(json['added_tokens'] as Json[]), ...decoder.filter((token) => token['id'] !== 0)].sort(
      (a, b) => (b['content'] as string).length - (a['content'] as string).length,
    );
    const other = new Other({ ...json, added_tokens: added }, {});
    const tokenizer = await Tokenizer.fromPretrained(folderOf(kind));
    for (const text of texts.filter((each) => /^[\x20-\x7e\n]*$/.test(each)))
      assert.deepEqual(
        tokenizer.encode(text),
        other.encode(text, { add_special_tokens: false }).ids,
        `${name}: ${JSON.stringify(text)}`,
      );
  }
});

test('a character that the vocabulary lacks is named, and no id is undefined', async () => {
  const few = {
    edits: [
      [['model', 'vocab'], { '<|endoftext|>': 0, a: 1, b: 2, ab: 3 }],
      [['model', 'merges'], ['a b']],
    ] as Kind['edits'],
    name: '',
  };
  const tokenizer = await Tokenizer.fromPretrained(folderOf(few));
  assert.deepEqual(tokenizer.encode('abba<|endoftext|>'), [3, 2, 1, 0]);
  for (const text of ['abc', 'a b', 'é'])
    assert.throws(
      () => tokenizer.encode(text),
      (error) =>
        error instanceof InputError &&
        /^the vocabulary has no token for "[c é]"; remove it from the text/.test(error.message),
    );
});

test('an export of each kind has the ids of its source', async () => {
  const sizes = { nLayer: 1, nHead: 1, nEmbd: 4, blockSize: 8, vocabSize: 300, layerNormEpsilon: 1e-5 };
  const weights = initialWeights(sizes, new Random(1));
  const model = new GPT2(sizes, Weights.from(weights, sizes));
  for (const [n, kind] of kinds.filter(({ ids }) => ids).entries()) {
    const folder = folderOf(kind);
    const own = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Json;
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...own, ...(JSON.parse(configJson(sizes)) as Json) }));
    writeSafetensors(
      join(folder, 'model.safetensors'),
      [...weights].map(([name, values]) => ({ name, shape: model.weights.shape(name), values })),
    );
    await exportModel(model, join(place, `exported-${n}`), { source: folder });
    const exported = await Tokenizer.fromPretrained(join(place, `exported-${n}`));
    texts.forEach((text, row) =>
      assert.deepEqual(exported.encode(text), idsOf(kind, row), `${kind.name}: ${JSON.stringify(text)}`),
    );
  }
  model.dispose();
});
