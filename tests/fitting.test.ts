/**
 * What makes a training fit into memory: gradient checkpointing, which must change no bit, and a base held in bfloat16
 * under adapters, against PyTorch.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import {
  AdamW,
  configJson,
  generate,
  GPT2,
  InputError,
  liveTensors,
  lora,
  profile,
  Random,
  responseBatch,
  RewardModel,
  SafetensorsFile,
  tf,
  trainDpo,
  trainGrpo,
  trainingMemory,
  trainKto,
  trainPpo,
  trainReward,
  trainSft,
  withValueHead,
  writeSafetensors,
  type Gradients,
  type Layout,
  type LoraOptions,
  type PairIds,
  type ResponseBatch,
  type Trainable,
} from 'alignbook';
import { memoryNotes } from 'alignbook/dist/commands/memoryNote';
import { identifying } from 'alignbook/dist/commands/trainSettings';
import { garbageCollectedBytes, release, type Handle } from 'alignbook/dist/engine/handle';
import { hiddenStates } from 'alignbook/dist/engine/hiddenStates';
import { keepsGate } from 'alignbook/dist/engine/layers';
import { constantCount } from 'alignbook/dist/engine/ops';

import { root } from '../scripts/paths';
import { engineModels, loadEngineModel } from './engineFixtures';
import { printedBy } from './inProcess';
import { letterTokenizer, writeLetterModel } from './rollouts';
import { collect } from './trainingSteps';

const LAYOUTS: readonly Layout[] = ['padded', 'shared', 'packed', 'fitted'];
const EVERYWHERE: LoraOptions = { rank: 2, targets: ['attn.c_attn', 'attn.c_proj', 'mlp.c_fc', 'mlp.c_proj'] };

const bits = (values: Float32Array): string =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('hex');
const bitsOf = (gradients: Gradients): Record<string, string> =>
  Object.fromEntries(gradients.names.map((name) => [name, bits(gradients.values(name))]));

/** Random numbers in the shape of a tensor, as the gradient of a loss. */
function slopes(shape: readonly number[]): tf.Tensor {
  const random = new Random(5);
  const values = Float32Array.from({ length: shape.reduce((product, length) => product * length, 1) }, () =>
    random.normal(),
  );
  return tf.tensor(values, [...shape]);
}

/** Live tensors without the constants, which are made once per process and kept. */
const tensors = (): number => liveTensors() - constantCount();

/** The bits of log-probs and of all gradients, with and without checkpointing, and how many tensors each pass held. */
function both(model: GPT2, batch: ResponseBatch): { plain: unknown; checkpointed: unknown; held: [number, number] } {
  const held: number[] = [];
  const [plain, checkpointed] = [false, true].map((gradientCheckpointing) => {
    const before = tensors();
    using pass = model.record(batch, { gradientCheckpointing });
    held.push(tensors() - before);
    const of = () => slopes(pass.perTokenLogps.shape) as tf.Tensor2D;
    using gradients = pass.backward(of(), () => true, pass.values && of());
    return { logps: bits(pass.perTokenLogps.dataSync<'float32'>()), gradients: bitsOf(gradients) };
  });
  return { plain, checkpointed, held: held as [number, number] };
}

describe('gradient checkpointing', () => {
  for (const name of engineModels)
    test(`${name}: the same bits in every layout, from less`, async () => {
      const { model, expected } = await loadEngineModel(name);
      for (const layout of LAYOUTS) {
        const batch = responseBatch(expected.rows, { layout, maxLength: model.config.blockSize });
        const { plain, checkpointed, held } = both(model, batch);
        assert.deepEqual(checkpointed, plain, layout);
        // one input instead of 14 tensors of a block, or 15 with the activation's gate
        const fewer = keepsGate(model.config.activation ?? 'gelu_new') ? 14 : 13;
        assert.equal(held[0] - held[1], fewer * model.config.nLayer, layout);
      }
      model.dispose();
    });

  test('with adapters and a value head, frozen blocks, and a reward model', async () => {
    const { model: base, expected } = await loadEngineModel('a-group');
    const adapted = lora(base, EVERYWHERE, new Random(3));
    for (const name of adapted.weights.trained.names.filter((trained) => trained.endsWith('B')))
      adapted.weights.trained.assign(name, slopes(adapted.weights.trained.shape(name)).dataSync<'float32'>().slice());
    const model = withValueHead(adapted);
    const batch = responseBatch(expected.rows, { maxLength: base.config.blockSize });
    const { plain, checkpointed } = both(model, batch);
    assert.deepEqual(checkpointed, plain);

    const upper = [false, true].map((gradientCheckpointing) => {
      using pass = base.record(batch, { gradientCheckpointing });
      using gradients = pass.backward(slopes(pass.perTokenLogps.shape) as tf.Tensor2D, (name) =>
        name.startsWith('h.1.'),
      );
      return bitsOf(gradients);
    });
    assert.deepEqual(upper[1], upper[0]);
    assert.ok(Object.keys(upper[0]!).every((name) => name.startsWith('h.1.')));

    const judge = RewardModel.begin(base, new Random(4));
    const judged = [false, true].map((gradientCheckpointing) => {
      using pass = judge.record(batch, { gradientCheckpointing });
      using gradients = pass.backward(slopes(pass.scores.shape) as tf.Tensor1D);
      return bitsOf(gradients);
    });
    assert.deepEqual(judged[1], judged[0]);
    for (const each of [model, adapted, base, judge]) each.dispose();
  });

  const row = (n: number) => ({ promptIds: [1 + n, 2, 3], responses: [[4, 5 + n, 0]] });
  const rows = [0, 1, 2, 3].map(row);
  const pairs: PairIds[] = rows.map(({ promptIds, responses }, n) => ({
    promptIds,
    chosenIds: responses[0]!,
    rejectedIds: [9 + n, 0],
  }));
  const prompts = rows.map(({ promptIds }) => promptIds);
  const labeled = rows.map(({ promptIds, responses }, n) => ({
    promptIds,
    responseIds: responses[0]!,
    desirable: n % 2 === 0,
  }));
  const common = { steps: 2, batchSize: 4, lr: 1e-2 };
  const sampled = { ...common, maxNewTokens: 4 };
  const reward = (samples: readonly { ids: readonly number[] }[]) => samples.map(({ ids }) => ids[0]! / 10);
  const trainers: Record<
    string,
    (model: GPT2, more: { gradientCheckpointing: boolean }) => Promise<AsyncIterable<object>>
  > = {
    sft: async (model, more) => trainSft(model, rows, { ...common, ...more }),
    'sft, packed': async (model, more) => trainSft(model, rows, { ...common, ...more, batchSize: 1, packing: true }),
    dpo: async (model, more) => trainDpo(model, pairs, { ...common, ...more }),
    kto: async (model, more) =>
      trainKto(model, labeled, { ...common, ...more }, { reference: (await loadEngineModel('a-group')).model }),
    ppo: async (model, more) =>
      trainPpo(model, prompts, { ...sampled, ...more, ppoEpochs: 2 }, { tokenizer: await letterTokenizer(37), reward }),
    grpo: async (model, more) =>
      trainGrpo(
        model,
        prompts,
        { ...sampled, ...more, groupSize: 2 },
        { tokenizer: await letterTokenizer(37), reward },
      ),
  };
  /** The events and the final weights, and how many blocks were computed. */
  const outcome = async (steps: AsyncIterable<object>, { weights }: Trainable) => {
    const { result, ops } = await profile(() => collect(steps));
    const events = result.map((event) => ({ ...event, seconds: 0 }));
    const softmaxes = ops.find(({ op }) => op === 'Softmax')!.calls;
    return { events, weights: weights.names.map((name) => bits(weights.values(name))), softmaxes };
  };
  /** Without and with checkpointing; the profile is one for the whole process. */
  const inTurn = async <Made>(train: (gradientCheckpointing: boolean) => Promise<Made>): Promise<[Made, Made]> => [
    await train(false),
    await train(true),
  ];
  for (const [name, train] of Object.entries(trainers))
    test(`${name}: equal steps`, async () => {
      const run = async (gradientCheckpointing: boolean) => {
        const { model } = await loadEngineModel('a-group');
        const made = await outcome(await train(model, { gradientCheckpointing }), model);
        model.dispose();
        return made;
      };
      await run(false); // where it samples, it notes the steps of generation, whose operations count then alone
      const [plain, checkpointed] = await inTurn(run);
      assert.deepEqual({ ...checkpointed, softmaxes: 0 }, { ...plain, softmaxes: 0 });
      assert.ok(checkpointed.softmaxes > plain.softmaxes, 'nothing was computed again');
    });

  test('reward model: equal steps', async () => {
    const { model: base } = await loadEngineModel('a-group');
    const [plain, checkpointed] = await inTurn(async (gradientCheckpointing) => {
      const judge = RewardModel.begin(base, new Random(4));
      const made = await outcome(trainReward(judge, pairs, { ...common, gradientCheckpointing }), judge);
      judge.dispose();
      return made;
    });
    assert.deepEqual({ ...checkpointed, softmaxes: 0 }, { ...plain, softmaxes: 0 });
    assert.equal(checkpointed.softmaxes, 2 * plain.softmaxes);
    base.dispose();
  });
});

describe('a base held in bfloat16', () => {
  interface Held {
    unrounded: number[][];
    base: number[][];
    logps: number[][];
    adapters: Record<string, number[]>;
    gradients: Record<string, number[]>;
  }
  type Fixture = Required<LoraOptions> & Record<'a-group' | 'five-layers', Held>;
  const fixture = JSON.parse(readFileSync(join(root, 'tests', 'fixtures', 'held-base.json'), 'utf8')) as Fixture;
  const { rank, alpha, targets } = fixture;
  const folder = mkdtempSync(join(tmpdir(), 'fitting-'));
  after(() => rmSync(folder, { recursive: true }));

  /** An engine model as a folder, opened with its matrices in BF16. */
  async function heldModel(name: string) {
    const { model, ...rest } = await loadEngineModel(name);
    const { weights, config } = model;
    const path = join(folder, name);
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, 'config.json'), configJson(config));
    writeSafetensors(
      join(path, 'model.safetensors'),
      weights.names.map((each) => ({ name: each, shape: weights.shape(each), values: weights.values(each) })),
    );
    return { ...rest, path, full: model, held: await GPT2.fromPretrained(path, { dtype: 'BF16' }) };
  }

  /** The greatest difference from ragged rows. */
  const furthest = (made: tf.Tensor2D, rows: readonly (readonly number[])[]) => {
    const values = made.arraySync();
    return Math.max(...rows.flatMap((row, r) => row.map((value, t) => Math.abs(values[r]![t]! - value))));
  };

  for (const name of ['a-group', 'five-layers'] as const)
    test(`${name}: log-probs and the adapters' gradients are PyTorch's`, async () => {
      const { held, full, expected } = await heldModel(name);
      const of = fixture[name];
      const batch = responseBatch(expected.rows, { maxLength: held.config.blockSize });
      // Float32 here, float64 there: as in engine.test.ts. The rounding of the base itself is far larger.
      assert.ok(furthest(held.score(batch), of.base) <= 1e-5);
      assert.ok(furthest(held.score(batch), of.unrounded) > 1e-3, 'nothing was rounded');
      assert.ok(furthest(full.score(batch), of.unrounded) <= 1e-5);

      const model = lora(held, { rank, alpha, targets }, new Random(0));
      const { trained } = model.weights;
      assert.deepEqual(trained.names, Object.keys(of.adapters));
      for (const each of trained.names) trained.assign(each, Float32Array.from(of.adapters[each]!));
      for (const gradientCheckpointing of [false, true]) {
        using pass = model.record(batch, { gradientCheckpointing });
        assert.ok(furthest(pass.perTokenLogps, of.logps) <= 2e-5); // the log-probs reach 20
        const L = pass.perTokenLogps.shape[1];
        const slope = expected.weights.map((row) => [...row, ...Array<number>(L - row.length).fill(0)]);
        using gradients = pass.backward(tf.tensor2d(slope));
        for (const each of trained.names) {
          const [made, wanted] = [gradients.values(each), of.gradients[each]!];
          const largest = Math.max(...wanted.map(Math.abs));
          const furthestOff = Math.max(...wanted.map((value, n) => Math.abs(value - made[n]!)));
          assert.ok(furthestOff <= 1.2e-5 * Math.max(largest, 1e-3), `${each}: ${furthestOff} of ${largest}`);
        }
      }
      for (const each of [model, held, full]) each.dispose();
    });

  test('computes as a float32 model of the rounded weights does, bit for bit, in less memory', async () => {
    const { held, full, path, expected } = await heldModel('a-group');
    const rounded = join(path, 'rounded');
    mkdirSync(rounded);
    writeFileSync(join(rounded, 'config.json'), configJson(held.config));
    const { weights } = held;
    writeSafetensors(
      join(rounded, 'model.safetensors'),
      weights.names.map((each) => ({ name: each, shape: weights.shape(each), values: weights.values(each) })),
    );
    const like = await GPT2.fromPretrained(rounded);
    for (const each of weights.names) {
      const [before, after] = [full.weights.values(each), weights.values(each)];
      const matrix = each.startsWith('h.') && weights.shape(each).length > 1;
      after.forEach((value, n) => assert.ok(Math.abs(value - before[n]!) <= (matrix ? Math.abs(before[n]!) / 256 : 0)));
      if (matrix)
        assert.ok(
          new Uint32Array(after.buffer).every((word) => (word & 0xffff) === 0),
          each,
        ); // bfloat16
    }
    const batch = responseBatch(expected.rows, { maxLength: held.config.blockSize });
    assert.equal(bits(held.score(batch).dataSync<'float32'>()), bits(like.score(batch).dataSync<'float32'>()));
    const prompts = expected.rows.map(({ promptIds }) => promptIds);
    const options = { maxNewTokens: 6, temperature: 1, seed: 3, samples: 20 };
    const texts = async (model: GPT2) => (await generate(model, prompts, options)).map(({ ids }) => ids);
    assert.deepEqual(await texts(held), await texts(like));
    assert.equal(held.weights.digest(), like.weights.digest());

    const count = (names: readonly string[]) =>
      names.reduce((sum, each) => sum + weights.shape(each).reduce((a, b) => a * b, 1), 0);
    const matrices = weights.names.filter((each) => each.startsWith('h.') && weights.shape(each).length > 1);
    const freed = (model: GPT2) => {
      const before = garbageCollectedBytes();
      model.dispose();
      return before - garbageCollectedBytes();
    };
    const all = count(weights.names);
    assert.equal(freed(full), 4 * all);
    assert.equal(freed(held), 4 * all - 2 * count(matrices));
    like.dispose();
  });

  test('where products round to bfloat16 anyway, nothing changes by holding it so', () => {
    const code = `
      const { GPT2, responseBatch } = require('alignbook');
      (async () => {
        const batch = responseBatch([{ promptIds: [5, 6, 7], responses: [[8, 9, 0], [10, 0]] }], { maxLength: 20 });
        for (const dtype of ['F32', 'BF16']) {
          const scores = (await GPT2.fromPretrained('tiny', { dtype })).score(batch).dataSync();
          console.log(Buffer.from(scores.buffer).toString('hex'));
        }
      })();`;
    const under = (ALIGNBOOK_COMPUTE: string): string[] =>
      execFileSync(process.execPath, ['-e', code], {
        encoding: 'utf8',
        cwd: root,
        env: { ...process.env, ALIGNBOOK_COMPUTE },
        stdio: ['ignore', 'pipe', 'ignore'], // TensorFlow says so where a processor has no bfloat16
      })
        .trim()
        .split('\n');
    const [full, held] = under('bf16');
    assert.equal(held, full);
    const [exact, rounded] = under('fp32');
    assert.ok(exact !== rounded && exact !== full);
  });

  test('adapters train on it and leave it as it is; its own weights are refused', async () => {
    const { held, full, expected } = await heldModel('a-group');
    const before = held.weights.digest();
    const live = tensors();
    const model = lora(held, EVERYWHERE, new Random(0));
    const rows = expected.rows.flatMap(({ promptIds, responses }) =>
      responses.map((response) => ({ promptIds, responses: [response] })),
    );
    const steps = await collect(
      trainSft(model, rows, { steps: 3, batchSize: 6, lr: 1e-2, gradientCheckpointing: true }),
    );
    assert.ok(steps.at(-1)!.loss < steps[0]!.loss);
    assert.equal(held.weights.digest(), before);
    model.dispose();
    assert.equal(tensors(), live);
    assert.throws(
      () => new AdamW(held.weights.trained),
      (error: Error) =>
        error instanceof InputError && /^weights held in BF16 stay as they are, .*LoRA/.test(error.message),
    );
    for (const each of [held, full]) each.dispose();
  });
});

describe('the commands', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fitting-commands-'));
  after(() => rmSync(folder, { recursive: true }));
  const at = (name: string): string => join(folder, name);
  before(async () => {
    await writeLetterModel(at('letters'));
    const rows = ['abc', 'd', 'xyz'].map((prompt) => JSON.stringify({ prompt, chosen: 'fg', rejected: 'h' }));
    writeFileSync(at('pairs.jsonl'), rows.join('\n'));
  });

  /** Runs train-dpo in this process. */
  async function trainDpoCommand(output: string, settings: object): Promise<void> {
    const common = { model: at('letters'), data: at('pairs.jsonl'), steps: 2, batchSize: 3, lr: 1e-2, saveEvery: 1 };
    writeFileSync(at('run.json'), JSON.stringify({ ...common, output: at(output), ...settings }));
    await printedBy('train-dpo', at('run.json'));
  }
  const written = (path: string): Buffer => readFileSync(at(path));

  test('adapters over a base in BF16 are trained and written, with checkpointing as without', async () => {
    const adapters = { loraRank: 2, baseDtype: 'BF16' };
    await trainDpoCommand('plain', adapters);
    await trainDpoCommand('mixed', { ...adapters, gradientCheckpointing: true });
    for (const file of ['adapter/adapter_model.safetensors', 'model/model.safetensors'])
      assert.ok(written(`plain/${file}`).equals(written(`mixed/${file}`)), file);

    // a run that goes on may do so without checkpointing, but not on another base
    assert.deepEqual(identifying({ gradientCheckpointing: true, baseDtype: 'BF16' }), { baseDtype: 'BF16' });

    using trained = new SafetensorsFile(at('plain/model/model.safetensors'));
    const low = (name: string) => new Uint32Array(trained.float32(name).buffer).some((word) => (word & 0xffff) !== 0);
    const key = (name: string) => [...trained.tensors.keys()].find((each) => each.endsWith(name))!;
    assert.equal(low(key('h.0.mlp.c_fc.weight')), false); // not adapted: as it was held
    assert.equal(low(key('h.0.attn.c_attn.weight')), true); // adapted, so not a bfloat16 any more
    assert.equal(low(key('wte.weight')), true); // never rounded
  });

  test('baseDtype BF16 without adapters, or for a reward model, is refused', async () => {
    await assert.rejects(
      trainDpoCommand('refused', { baseDtype: 'BF16' }),
      /^Error: baseDtype BF16 holds the model under adapters, and there are none; give loraRank, or leave/,
    );
    await assert.rejects(
      trainDpoCommand('refused', { baseDtype: 'BF16', continueAdapter: true }),
      /^Error: continueAdapter with baseDtype BF16 would compare the policy with a reference that is rounded oth/,
    );
    await assert.rejects(
      trainDpoCommand('refused', { baseDtype: 'F16', loraRank: 2 }),
      /baseDtype must be one of F32, BF16/,
    );
    assert.equal(existsSync(at('refused')), false);
  });
});

describe('the estimate', () => {
  const gpt2 = { nLayer: 12, nHead: 12, nEmbd: 768, blockSize: 1024, vocabSize: 50257, layerNormEpsilon: 1e-5 };
  const nothing = { tokens: 0, rows: 0, rowLength: 0, scored: 0 };

  test("GPT-2's numbers: 124,439,808 weights, and 294,912 of PEFT's adapters", () => {
    const all = 124_439_808; // transformers' num_parameters()
    const full = trainingMemory(gpt2, nothing);
    assert.deepEqual(
      [full.weights, full.moments, full.gradients, full.reference, full.activations, full.peak],
      [4 * all, 8 * all, 4 * all, 0, 0, 16 * all],
    );
    assert.equal(trainingMemory(gpt2, nothing, { reference: true }).peak, 20 * all);
    const adapters = 294_912; // rank 8 on c_attn: 12 * 8 * (768 + 2304), as PEFT's print_trainable_parameters says
    const held = trainingMemory(gpt2, nothing, { loraRank: 8, baseDtype: 'BF16' });
    // the matrices of a block have 12 * 768 * 768 numbers: 3 for queries, keys and values, 1, 4 and 4
    assert.equal(held.weights, 4 * all - 2 * 12 * 12 * 768 * 768 + 4 * adapters);
    assert.equal(held.moments, 8 * adapters);
    assert.equal(held.peak, held.weights + 12 * adapters);
    // 3 rows of 10 tokens: keys and values of 768 in 12 blocks, and c_attn [768, 2304] with its adapter in each
    const sampling = trainingMemory(
      gpt2,
      { ...nothing, rowLength: 10 },
      { loraRank: 8, baseDtype: 'BF16', sampled: 3 },
    );
    assert.equal(sampling.peak, held.weights + 8 * adapters + 4 * (2 * 12 * 3 * 10 * 768 + 12 * 768 * 2304));
  });

  test('activations: what the engine keeps, to the byte', async () => {
    const { model, expected } = await loadEngineModel('a-group');
    const { config, weights } = model;
    const bytes = (item: unknown): number => {
      if (typeof item !== 'object' || item === null) return 0;
      if (!('dtype' in item)) return Object.values(item).reduce((sum: number, part) => sum + bytes(part), 0);
      return 4 * (item as Handle).shape.reduce((product, length) => product * length, 1);
    };
    for (const layout of ['padded', 'shared', 'packed'] as const) {
      const batch = responseBatch(expected.rows, { layout, maxLength: config.blockSize });
      const [rows, rowLength] = batch.shape;
      const shape = { tokens: batch.tokens.length, rows, rowLength, scored: 0 };
      for (const gradientCheckpointing of [false, true]) {
        const keep = gradientCheckpointing ? 'inputs' : 'activations';
        const made = hiddenStates(batch, batch.tokens, (name) => weights.read(name), config, keep);
        const { activations } = trainingMemory(config, shape, { gradientCheckpointing });
        assert.equal(bytes(made.saved.blocks), activations, `${layout}, ${keep}`);
        release(made);
      }
    }
    model.dispose();
  });

  test('a note before loading says what does not fit, and what would', () => {
    assert.deepEqual(memoryNotes(gpt2, {}, { available: 2e9 }), []);
    assert.deepEqual(memoryNotes(gpt2, {}, { available: 1.9e9 }), [
      'this training takes at least 2.0 GB of memory (weights 0.5 GB, moments 1.0 GB, gradients 0.5 GB), and 1.9 GB ' +
        'are free; adapters over a base in BF16 (loraRank 8, baseDtype BF16) take 0.3 GB',
    ]);
    assert.match(
      memoryNotes(gpt2, {}, { available: 2e9, reference: true })[0]!,
      /2\.5 GB of memory .*, reference 0\.5 GB/,
    );
    // adapters are proposed only where the training can have them, and where they fit
    const noAdapters = /; take a smaller model, or a machine with more memory$/;
    assert.match(memoryNotes(gpt2, {}, { available: 1.9e9, mayAdapt: false })[0]!, noAdapters);
    assert.match(memoryNotes(gpt2, { loraRank: 8, baseDtype: 'BF16' }, { available: 1e8 })[0]!, noAdapters);
    assert.deepEqual(memoryNotes(gpt2, { loraRank: 8 }, { available: 1.9e9, reference: true }), []);
    assert.deepEqual(memoryNotes(gpt2, { frozen: ['wte'] }, { available: 1 }), []); // unknown how much is trained
  });
});
