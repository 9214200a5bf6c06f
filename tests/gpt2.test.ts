import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import {
  FileError,
  GPT2,
  InputError,
  liveTensors,
  readConfig,
  SafetensorsFile,
  tf,
  weightShapes,
  writeSafetensors,
} from 'alignbook';

import { root } from '../scripts/paths';
import { matching } from './matching';

const FIXTURES = join(root, 'tests', 'fixtures', 'gpt2');

/**
 * How far a logit may be from transformers': both compute in float32, in different orders. Logits here reach 10; the
 * greatest difference seen is 4e-6.
 */
const TOLERANCE = 2e-5;

interface Case {
  name: string;
  checkpoint: string;
  inputIds: number[][];
  attentionMask?: number[][];
  positionIds?: number[][];
  logits: number[][][];
}
const cases = JSON.parse(readFileSync(join(FIXTURES, 'logits.json'), 'utf8')) as Case[];

const folders: string[] = [];
after(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

/** A model folder of the fixture's architecture with one of its checkpoints, or with its own config. */
function folderOf({ checkpoint = 'model', config = {} } = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'gpt2-'));
  folders.push(folder);
  copyFileSync(join(FIXTURES, `${checkpoint}.safetensors`), join(folder, 'model.safetensors'));
  const json = JSON.parse(readFileSync(join(FIXTURES, 'config.json'), 'utf8')) as object;
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...json, ...config }));
  return folder;
}

const ints = (values: number[][]) => tf.tensor2d(values, undefined, 'int32');
const refusal = (type: typeof InputError | typeof FileError, message: RegExp) => (error: unknown) =>
  error instanceof type && message.test(error.message);

for (const { name, checkpoint, inputIds, attentionMask, positionIds, logits: expected } of cases) {
  test(`logits are transformers': ${name}, ${checkpoint}`, async () => {
    const model = await GPT2.fromPretrained(folderOf({ checkpoint }));
    const { logits } = model.forward(ints(inputIds), {
      ...(attentionMask && { attentionMask: ints(attentionMask) }),
      ...(positionIds && { positionIds: ints(positionIds) }),
    });
    assert.deepEqual(logits.shape, [inputIds.length, inputIds[0]!.length, 31]);
    const actual = logits.arraySync();
    expected.forEach((rows, b) =>
      rows.forEach((row, t) => {
        if (attentionMask?.[b]![t] === 0) return; // the values computed at padding are meaningless
        row.forEach((value, v) => {
          const difference = Math.abs(actual[b]![t]![v]! - value);
          assert.ok(
            difference < TOLERANCE,
            `row ${b}, position ${t}, token ${v}: ${actual[b]![t]![v]} instead of ${value}`,
          );
        });
      }),
    );
    model.dispose();
  });
}

test('keys without the prefix "transformer." are the same weights', async () => {
  const [bare, prefixed] = await Promise.all(
    ['bare-keys', 'model'].map((checkpoint) => GPT2.fromPretrained(folderOf({ checkpoint }))),
  );
  const ids = ints([[1, 2, 3]]);
  assert.deepEqual(bare!.forward(ids).logits.dataSync(), prefixed!.forward(ids).logits.dataSync());
});

test('a forward pass leaves nothing behind but its logits, nor does a refused one, nor a disposed model', async () => {
  const folder = folderOf();
  const ids = ints([[1, 2, 3, 4]]);
  const mask = ints([[1, 1, 1, 0]]);
  (await GPT2.fromPretrained(folder)).forward(ids, { attentionMask: mask }).logits.dispose(); // makes the constants
  const before = liveTensors();
  const model = await GPT2.fromPretrained(folder);
  const loaded = liveTensors();
  for (let round = 0; round < 3; round += 1) {
    const { logits } = model.forward(ids, { attentionMask: mask });
    assert.equal(liveTensors(), loaded + 1);
    logits.dispose();
  }
  assert.throws(() => model.forward(ints([[31]])), InputError);
  model.dispose();
  assert.equal(liveTensors(), before);
});

test('inputs that do not fit are refused by name', async () => {
  const model = await GPT2.fromPretrained(folderOf());
  const refused = (message: RegExp, ...call: Parameters<GPT2['forward']>) =>
    assert.throws(() => model.forward(...call), refusal(InputError, message));
  refused(/^inputIds have 10 positions; this model takes 1 to 9$/, ints([Array(10).fill(0)]));
  refused(/^inputIds must lie from 0 to 30, got 31$/, ints([[0, 31]]));
  refused(/^inputIds must be int32, got float32$/, tf.tensor2d([[1, 2]]));
  refused(/^attentionMask must have shape \[1,2\], got \[1,3\]$/, ints([[1, 2]]), { attentionMask: ints([[1, 1, 1]]) });
  refused(/^attentionMask must lie from 0 to 1, got 2$/, ints([[1, 2]]), { attentionMask: ints([[1, 2]]) });
  refused(/^positionIds must lie from 0 to 8, got 9$/, ints([[1, 2]]), { positionIds: ints([[0, 9]]) });
});

test('a config that this GPT-2 does not compute is refused by field', async () => {
  const refused = async (config: Record<string, unknown>, message: RegExp) =>
    assert.rejects(GPT2.fromPretrained(folderOf({ config })), refusal(FileError, message));
  await refused({ model_type: 'llama' }, /config\.json: "model_type" is "llama"; only "gpt2" is supported$/);
  await refused({ activation_function: 'mish' }, /"activation_function" is "mish"; supported are gelu_new, /);
  await refused({ add_cross_attention: true }, /"add_cross_attention" is true; only false is supported$/);
  await refused({ tie_word_embeddings: false }, /lacks the tensor "lm_head\.weight"/);
  await refused({ n_layer: 0 }, /"n_layer" must be a positive integer, got 0$/);
  await refused({ n_embd: undefined }, /"n_embd" must be a positive integer, got undefined$/);
  await refused({ n_head: 4 }, /"n_embd" 15 is not a multiple of "n_head" 4$/);
  await refused(
    { n_inner: 10 },
    /tensor "h\.0\.mlp\.c_fc\.weight" is \[15, 60\]; its config\.json asks for \[15, 10\]$/,
  );

  const broken = folderOf();
  writeFileSync(join(broken, 'config.json'), '{');
  await assert.rejects(GPT2.fromPretrained(broken), refusal(FileError, /config\.json: cannot be read as JSON/));
});

test('weights that are not those of the config are refused by name', async () => {
  const refused = async (folder: string, message: RegExp) =>
    assert.rejects(GPT2.fromPretrained(folder), refusal(FileError, message));
  await refused(folderOf({ config: { n_layer: 4 } }), /lacks the tensor "h\.3\.ln_1\.weight"/);
  await refused(
    folderOf({ config: { n_layer: 2 } }),
    matching(
      /has a tensor "transformer\.h\.2\.\S+" that is not GPT-2's, and 11 more; save only the model,/,
      / with transformers' save_pretrained$/,
    ),
  );
  await refused(
    folderOf({ config: { vocab_size: 32 } }),
    /tensor "wte\.weight" is \[31, 15\]; its config\.json asks for \[32, 15\]$/,
  );
});

test('causal-mask buffers and a tied head in old checkpoints are ignored', async () => {
  const folder = folderOf();
  const path = join(folder, 'model.safetensors');
  const config = readConfig(join(folder, 'config.json'));
  const tensors = [...weightShapes(config)].map(([name, shape]) => {
    using file = new SafetensorsFile(join(FIXTURES, 'bare-keys.safetensors'));
    return { name, shape, values: file.float32(name) };
  });
  const wte = tensors[0]!;
  writeSafetensors(path, [
    ...tensors,
    { ...wte, name: 'lm_head.weight' },
    { name: 'h.0.attn.bias', shape: [1], values: Float32Array.of(1) },
  ]);
  const model = await GPT2.fromPretrained(folder);
  const plain = await GPT2.fromPretrained(folderOf());
  const ids = ints([[5, 6]]);
  assert.deepEqual(model.forward(ids).logits.dataSync(), plain.forward(ids).logits.dataSync());
});

test('weights that are read in parts are those of the file, to the last row', async () => {
  const model = await GPT2.fromPretrained('tiny');
  using file = new SafetensorsFile(join(root, 'data', 'models', 'tiny', 'model.safetensors'));
  const key = [...file.tensors.keys()].find((name) => name.endsWith('wte.weight'))!;
  const stored = file.float32(key);
  assert.ok(stored.length > 4 * 2 ** 20, 'several parts');
  assert.ok(Buffer.from(model.weights.values('wte.weight').buffer).equals(Buffer.from(stored.buffer)));
  model.dispose();
});
