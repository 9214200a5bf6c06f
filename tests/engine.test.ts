/**
 * The engine on GPT-2s of odd sizes: hidden states, log-probs and every gradient, in each layout, against transformers
 * in float64.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import {
  AdamW,
  InputError,
  liveTensors,
  responseBatch,
  tf,
  type Layout,
  type PromptResponses,
  type ResponseBatch,
} from 'alignbook';

import { engineModels, loadEngineModel } from './engineFixtures';

const LAYOUTS: readonly Layout[] = ['padded', 'shared', 'packed', 'fitted'];

/**
 * Float32 here, float64 in the fixtures. Greatest differences seen: 2.4e-6 for log-probs and hidden states, which reach
 * 10; for a gradient, 3e-6 of the largest element of its parameter. Another processor sums in a different order, so
 * four times that is allowed.
 */
const VALUES = 1e-5;
const GRADIENTS = 1.2e-5;

/** [R, L] from ragged rows, with `filler` after their ends. */
function ragged(rows: readonly (readonly number[])[], filler: number): tf.Tensor2D {
  const L = Math.max(...rows.map((row) => row.length));
  return tf.tensor2d(rows.map((row) => [...row, ...Array<number>(L - row.length).fill(filler)]));
}

function near(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  assert.equal(actual.length, expected.length, what);
  for (let i = 0; i < expected.length; i += 1) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    assert.ok(difference <= tolerance, `${what}, element ${i}: ${actual[i]} instead of ${expected[i]}`);
  }
}

assert.equal(engineModels.length, 10);

/** A padded batch with each row's padding moved to the left; the positions move with the tokens. */
function padLeft(batch: ResponseBatch): ResponseBatch {
  const [B, T] = batch.shape;
  const lengths = Array.from(
    { length: B },
    (_, b) => 1 + Math.max(...Array.from({ length: T }, (_, t) => (batch.positions[b * T + t]! > 0 ? t : 0))),
  );
  const moved = (index: number) =>
    Math.floor(index / T) * T + (((index % T) + T - lengths[Math.floor(index / T)]!) % T);
  const left = {
    ...batch,
    ids: new Int32Array(B * T),
    positions: new Int32Array(B * T),
    visible: new Uint8Array(B * T * T),
  };
  for (let index = 0; index < B * T; index += 1) {
    left.ids[moved(index)] = batch.ids[index]!;
    left.positions[moved(index)] = batch.positions[index]!;
    for (let s = 0; s < T; s += 1)
      left.visible[moved(index) * T + (moved(index - (index % T) + s) % T)] = batch.visible[index * T + s]!;
  }
  return { ...left, tokens: batch.tokens.map(moved), scored: { ...batch.scored, from: batch.scored.from.map(moved) } };
}

for (const name of engineModels) {
  describe(name, () => {
    let loaded: Awaited<ReturnType<typeof loadEngineModel>>;
    before(async () => {
      loaded = await loadEngineModel(name);
    });
    after(() => loaded.model.dispose());

    test("hidden states are transformers'", () => {
      const { model, expected } = loaded;
      const sequences = expected.rows.flatMap(({ promptIds, responses }) =>
        responses.map((response) => [...promptIds, ...response]),
      );
      sequences.forEach((ids, n) =>
        near(
          model.hidden(tf.tensor2d([ids], undefined, 'int32')).dataSync(),
          expected.hidden[n]!.flat(),
          VALUES,
          `sequence ${n}`,
        ),
      );
    });

    for (const layout of [...LAYOUTS, 'padded on the left'] as const) {
      test(`${layout}: log-probs and the gradient of every weight are transformers'`, () => {
        const { model, expected, stored } = loaded;
        const made = (of: Layout) => responseBatch(expected.rows, { layout: of, maxLength: model.config.blockSize });
        const batch = layout === 'padded on the left' ? padLeft(made('padded')) : made(layout);
        using recording = model.record(batch);
        const wanted = ragged(expected.logps, 0).dataSync();
        near(recording.perTokenLogps.dataSync(), wanted, VALUES, 'perTokenLogps');
        near(model.score(batch).dataSync(), wanted, VALUES, 'score');
        assert.deepEqual(
          recording.responseMask.arraySync(),
          ragged(
            expected.logps.map((row) => row.map(() => 1)),
            0,
          ).arraySync(),
        );

        using gradients = recording.backward(ragged(expected.weights, NaN)); // values after an end must not matter
        assert.equal(gradients.names.length, model.weights.names.length);
        for (const weight of model.weights.names) {
          const values = stored(`gradient.${weight}`);
          const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
          near(gradients.values(weight), values, GRADIENTS * Math.max(largest, 1e-3), weight);
        }
      });
    }
  });
}

test('the batch in each layout: ids, positions, who sees whom, what is scored', () => {
  const rows = [{ promptIds: [7, 8], responses: [[1], [2, 3]] }];
  const shared = responseBatch(rows);
  assert.deepEqual(shared.shape, [1, 5]);
  assert.deepEqual([...shared.tokens], [0, 1, 2, 3, 4]);
  assert.deepEqual([...shared.ids], [7, 8, 1, 2, 3]);
  assert.deepEqual([...shared.positions], [0, 1, 2, 2, 3]);
  const sees = (batch: typeof shared, row: number) =>
    Array.from({ length: batch.shape[1] }, (_, t) =>
      [...batch.visible.subarray((row * batch.shape[1] + t) * batch.shape[1]).subarray(0, batch.shape[1])].join(''),
    );
  assert.deepEqual(sees(shared, 0), ['10000', '11000', '11100', '11010', '11011']);
  assert.deepEqual([...shared.scored.from], [1, 1, 3]);
  assert.deepEqual([...shared.scored.ids], [1, 2, 3]);
  assert.deepEqual([...shared.scored.to], [0, 2, 3]);
  assert.deepEqual([...shared.responseMask], [1, 0, 1, 1]);

  const padded = responseBatch(rows, { layout: 'padded' });
  assert.deepEqual(padded.shape, [2, 4]);
  assert.deepEqual([...padded.ids], [7, 8, 1, 0, 7, 8, 2, 3]);
  assert.deepEqual(sees(padded, 0), ['1000', '1100', '1110', '0001']);
  assert.deepEqual([...padded.scored.from], [1, 5, 6]);
  assert.deepEqual([...padded.tokens], [0, 1, 2, 4, 5, 6, 7]); // not the padding at 3
  const left = padLeft(padded);
  assert.deepEqual([...left.ids], [0, 7, 8, 1, 7, 8, 2, 3]);
  assert.deepEqual(sees(left, 0), ['1000', '0100', '0110', '0111']);
  assert.deepEqual([...left.scored.from], [2, 5, 6]);

  const packed = responseBatch([...rows, { promptIds: [9], responses: [[4]] }], { layout: 'packed' });
  assert.deepEqual(packed.shape, [1, 7]);
  assert.deepEqual([...packed.positions], [0, 1, 2, 2, 3, 0, 1]);
  assert.deepEqual(sees(packed, 0).slice(5), ['0000010', '0000011']);
});

test('a batch that cannot be is refused by row', () => {
  const refused = (message: RegExp, rows: PromptResponses[], maxLength = 9) =>
    assert.throws(
      () => responseBatch(rows, { maxLength }),
      (error) => error instanceof InputError && message.test(error.message),
    );
  const good = { promptIds: [1], responses: [[2]] };
  refused(/^a batch needs at least one row$/, []);
  refused(/^row 1: it has no response$/, [good, { promptIds: [1], responses: [] }]);
  refused(/^row 1: promptIds is empty$/, [good, { promptIds: [], responses: [[1]] }]);
  refused(/^row 1: response 1 is empty$/, [good, { promptIds: [1], responses: [[1], []] }]);
  refused(/^row 1: response 0 holds -1, which is not a token id$/, [good, { promptIds: [1], responses: [[-1]] }]);
  refused(/^row 1: 10 tokens, the limit is 9; shorten/, [
    good,
    { promptIds: [1, 2, 3], responses: [[1], [1, 2, 3, 4, 5, 6, 7]] },
  ]);
});

test('a forward pass serves one backward pass, and leaves nothing behind, with or without it', async () => {
  const { model, expected } = await loadEngineModel('a-group');
  const batch = responseBatch(expected.rows);
  const gradient = ragged(expected.weights, 0);
  const round = (follow: boolean) => {
    const recording = model.record(batch);
    if (follow) recording.backward(gradient)[Symbol.dispose]();
    recording[Symbol.dispose]();
    return recording;
  };
  round(true); // makes the constants
  model.score(batch).dispose();
  const live = liveTensors();
  round(false);
  assert.equal(liveTensors(), live);
  const recording = round(true);
  assert.equal(liveTensors(), live);
  model.score(batch).dispose();
  assert.equal(liveTensors(), live);
  assert.throws(
    () => recording.backward(gradient),
    /this forward pass has already been used for a backward pass, or was disposed of; record the batch again/,
  );
  assert.throws(() => model.record(batch).backward(tf.zeros([1, 1])), /gradient must have shape \[6,8\], got \[1,1\]/);
  assert.throws(
    () => model.score(responseBatch([{ promptIds: [37], responses: [[1]] }])),
    /ids must lie from 0 to 36, got 37/,
  );
  model.dispose();
});

test('gradients add up, are measured and clipped as PyTorch does it', async () => {
  const { model, expected } = await loadEngineModel('width-21');
  const record = () => model.record(responseBatch(expected.rows)).backward(ragged(expected.weights, 0));
  using once = record();
  using twice = record();
  twice.add(record());
  for (const name of model.weights.names)
    near(
      twice.values(name),
      once.values(name).map((value) => 2 * value),
      1e-6,
      name,
    );
  const squares = once.names.reduce(
    (sum, name) => sum + once.values(name).reduce((total, value) => total + value * value, 0),
    0,
  );
  assert.ok(Math.abs(once.norm() / Math.sqrt(squares) - 1) < 1e-6);

  const before = once.values('wte.weight');
  assert.ok(Math.abs(once.clip(1) / Math.sqrt(squares) - 1) < 1e-6); // it returns the norm before clipping
  const factor = 1 / (Math.sqrt(squares) + 1e-6);
  assert.ok(factor < 1);
  near(
    once.values('wte.weight'),
    before.map((value) => value * factor),
    1e-6,
    'clipped',
  );
  const clipped = once.values('wte.weight');
  once.clip(10);
  assert.deepEqual(once.values('wte.weight'), clipped); // below the limit nothing changes
  once.add(record());
  near(
    once.values('wte.weight'),
    before.map((value) => value * (1 + factor)),
    1e-6,
    'added to clipped ones',
  );
  model.dispose();
});

test('AdamW with decay and clipping walks as PyTorch does', async () => {
  const { model, expected, stored } = await loadEngineModel('a-group');
  const { config } = model;
  const optimizer = new AdamW(model.weights, { beta2: 0.95, epsilon: 1e-3, weightDecay: 0.1 });
  const batch = responseBatch(expected.rows);
  const gradient = ragged(expected.weights, 0);
  const live = () => liveTensors() - 2 * model.weights.names.length; // not counting the moments, once they exist
  const before = liveTensors();
  for (const lr of [0.01, 0.02, 0.005]) {
    using recording = model.record(batch);
    const gradients = recording.backward(gradient);
    assert.ok(gradients.clip(5) > 5, 'the clipping is part of the test');
    optimizer.step(gradients, lr);
    recording.perTokenLogps.dispose();
    recording.responseMask.dispose();
    assert.ok(live() - before <= 12, 'only constants are left behind');
  }
  assert.equal(optimizer.steps, 3);
  // A bias of the keys changes no attention, so its gradient is a rounding error: here up to 1e-7 after clipping, which
  // Adam, dividing by 1e-3 at least, makes steps of up to 1e-4 lr; three of them sum to 3.5e-6.
  const keys = [config.nEmbd, 2 * config.nEmbd] as const;
  for (const name of model.weights.names) {
    const [ours, theirs] = [model.weights.values(name), stored(`trained.${name}`).slice()];
    if (name.endsWith('attn.c_attn.bias')) {
      near(ours.subarray(...keys), theirs.subarray(...keys), 4e-6, `${name}, keys`);
      theirs.set(ours.subarray(...keys), keys[0]);
    }
    near(ours, theirs, 2e-6, name);
  }
  optimizer.dispose();
  model.dispose();
});

test('an optimizer refuses options that mean nothing', async () => {
  const { model } = await loadEngineModel('two-tokens');
  const refused = (message: RegExp, make: () => unknown) =>
    assert.throws(make, (error) => error instanceof InputError && message.test(error.message));
  refused(
    /^beta1 must be in \[0, 1\), also when rounded to 32 bits, got 1$/,
    () => new AdamW(model.weights, { beta1: 1 }),
  );
  refused(/^weightDecay must be a number from 0 up, got -1$/, () => new AdamW(model.weights, { weightDecay: -1 }));
  const gradients = model.record(responseBatch([{ promptIds: [0], responses: [[1]] }])).backward(tf.ones([1, 1]));
  const before = model.weights.values('wte.weight');
  refused(/^lr must be a number from 0 up, got NaN$/, () => new AdamW(model.weights).step(gradients, NaN));
  assert.deepEqual(model.weights.values('wte.weight'), before);
  gradients[Symbol.dispose]();
  model.dispose();
});
