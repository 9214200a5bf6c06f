/**
 * This project's own operations for layer norm, GELU's relatives and attention in generation, of
 * scripts/setup/operations, against their formulas in float64. That whole models with them are transformers' is tested
 * in engine.test.ts and generate.test.ts; products of a few rows are in fewRows.test.ts.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

import { liveTensors, Random } from 'alignbook';
import { execute, float, op, type } from 'alignbook/dist/engine/call';
import { release, scope, type Handle } from 'alignbook/dist/engine/handle';
import { floats, inBfloat16, inFloat32, ints, isBfloat16, TF_BFLOAT16 } from 'alignbook/dist/engine/ops';
import { binding, hasVectorOperations } from 'alignbook/dist/tf';

const { TF_FLOAT } = binding;
const options = { skip: !hasVectorOperations && 'these operations are not available here' };

const random = new Random(31);
const normals = (size: number, mean = 0, scale = 1) =>
  Float32Array.from({ length: size }, () => mean + scale * random.normal());

/** Half of the last place of a float32, relative to it. */
const HALF_PLACE = 2 ** -24;

function close(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  assert.equal(actual.length, expected.length, what);
  for (let i = 0; i < expected.length; i += 1)
    if (!(Math.abs(actual[i]! - expected[i]!) <= tolerance))
      assert.fail(`${what}, element ${i}: ${actual[i]}, expected ${expected[i]}`);
}

const floatsOf = (x: Handle): Float32Array => scope(() => [inFloat32(x).values().slice() as Float32Array])[0]!;

/** With and without tails of vectors, on one thread and on several. */
const SHAPES = [[1, 1], [2, 5], [3, 8], [4, 21], [7, 64], [1, 768], [60, 768], [500, 100]] as const; // prettier-ignore

// --- layer norm ---

const EPSILON = 1e-5;

const layerNorm = (x: Handle, weight: Handle, bias: Handle, out = TF_FLOAT) =>
  execute('AlignbookLayerNorm', [float('epsilon', EPSILON), type('Ty', out)], [x, weight, bias], 3) as [
    y: Handle,
    normalized: Handle,
    inverseStd: Handle,
  ];

/** A row, in float64. */
function normalizedRow(x: ArrayLike<number>): { normalized: number[]; inverseStd: number } {
  const values = Array.from(x);
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  const inverseStd = 1 / Math.sqrt(variance + EPSILON);
  return { normalized: values.map((value) => (value - mean) * inverseStd), inverseStd };
}

test('layer norm', options, () => {
  for (const [N, C] of SHAPES)
    for (const mean of [0, 30]) {
      const [x, weight, bias] = [normals(N * C, mean), normals(C, 1), normals(C)];
      const rows = Array.from({ length: N }, (_, n) => normalizedRow(x.subarray(n * C, (n + 1) * C)));
      const handles = [floats(x, [N, C]), floats(weight, [C]), floats(bias, [C])] as const;
      const made = layerNorm(...handles);
      const [y, normalized, inverseStd] = made;
      assert.deepEqual([y.shape, normalized.shape, inverseStd.shape], [[N, C], [N, C], [N, 1]]); // prettier-ignore
      const what = `[${N}, ${C}], mean ${mean}`;
      // A number of 30 is known to half of its last place, 2 ** -20, and a deviation may be as small as sqrt(epsilon).
      const largest = Math.max(...rows.map((row) => row.inverseStd));
      const tolerance = 8 * HALF_PLACE * (8 + mean * largest);
      const deviations = rows.map((row) => row.inverseStd);
      close(inverseStd.values(), deviations, tolerance * largest, `${what}, 1 / std`);
      const units = rows.flatMap((row) => row.normalized);
      close(normalized.values(), units, tolerance, `${what}, normalized`);
      const expected = rows.flatMap((row) => row.normalized.map((unit, i) => unit * weight[i]! + bias[i]!));
      close(y.values(), expected, 5 * tolerance, what);
      const [half, ...rest] = layerNorm(...handles, TF_BFLOAT16);
      assert.ok(isBfloat16(half));
      using rounded = inBfloat16(y);
      assert.deepEqual(floatsOf(half), floatsOf(rounded));
      release(handles, made, half, rest);
    }
});

test("layer norm's gradients are those of its formula, by differences", options, () => {
  for (const [N, C] of [
    [1, 2],
    [2, 5],
    [3, 8],
    [4, 21],
    [70, 500],
  ] as const) {
    // prettier-ignore
    const [x, weight, bias, dy] = [normals(N * C), normals(C, 1), normals(C), normals(N * C)];
    const handles = [floats(x, [N, C]), floats(weight, [C]), floats(bias, [C]), floats(dy, [N, C])] as const;
    const [xs, weights, biases, gradient] = handles;
    const forward = layerNorm(xs, weights, biases);
    const [, normalized, inverseStd] = forward;
    const made = execute('AlignbookLayerNormGradient', [], [gradient, normalized, inverseStd, weights], 3);
    const [dx, dWeight, dBias] = made.map((one) => one.values()) as [Float32Array, Float32Array, Float32Array];

    const units = Array.from({ length: N }, (_, n) => normalizedRow(x.subarray(n * C, (n + 1) * C)).normalized);
    const sums = (of: (n: number, c: number) => number) =>
      Array.from({ length: C }, (_, c) => units.reduce((sum, _, n) => sum + of(n, c), 0));
    close(dWeight, sums((n, c) => dy[n * C + c]! * units[n]![c]!), 2e-6 * N, 'weight'); // prettier-ignore
    close(dBias, sums((n, c) => dy[n * C + c]!), 1e-6 * N, 'bias'); // prettier-ignore
    /** The sum of dy y over one row of x, whose derivative is dx. */
    const lossOf = (row: readonly number[], n: number) =>
      normalizedRow(row).normalized.reduce((sum, unit, c) => sum + dy[n * C + c]! * unit * weight[c]!, 0);
    const STEP = 1e-5;
    for (let n = 0; n < N; n += Math.ceil(N / 4)) {
      const row = Array.from(x.subarray(n * C, (n + 1) * C));
      const expected = row.slice(0, 21).map((value, c) => {
        const moved = (by: number) => lossOf(row.with(c, value + by), n);
        return (moved(STEP) - moved(-STEP)) / (2 * STEP);
      });
      const largest = Math.max(...expected.map(Math.abs), 1);
      close(dx.subarray(n * C, n * C + expected.length), expected, 2e-5 * largest, `[${N}, ${C}], row ${n}`);
    }
    release(handles, forward, made);
  }
});

// --- gates ---

const GATES = { gelu_new: [2 * Math.sqrt(2 / Math.PI), 0.044715], quick_gelu: [1.702, 0], silu: [1, 0] } as const;
type Gate = readonly [slope: number, cubic: number];

const attributesOf = ([slope, cubic]: Gate) => [float('slope', slope), float('cubic', cubic)];
const gated = (x: Handle, gate: Gate, out = TF_FLOAT) =>
  op('AlignbookSigmoidGate', [...attributesOf(gate), type('Ty', out)], x);

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const argument = (x: number, [slope, cubic]: Gate) => slope * (x + cubic * x ** 3);

test('gates', options, () => {
  for (const [name, gate] of Object.entries(GATES))
    for (const shape of SHAPES) {
      const values = normals(shape[0] * shape[1], 0, 3);
      const x = floats(values, shape);
      using y = gated(x, gate);
      assert.deepEqual(y.shape, shape);
      y.values().forEach((value, n) => {
        const [given, z] = [values[n]!, argument(values[n]!, gate)];
        // Where the sigmoid is small, an error of z in its last places counts as many times as z is large.
        const tolerance = HALF_PLACE * (6 + 3 * Math.abs(z)) * Math.abs(given * sigmoid(z)) + 1e-36;
        assert.ok(Math.abs(value - given * sigmoid(z)) <= tolerance, `${name} of ${given}: ${value}`);
      });
      using half = gated(x, gate, TF_BFLOAT16);
      using rounded = inBfloat16(y);
      assert.deepEqual(floatsOf(half), floatsOf(rounded));
      release(x);
    }
});

test('gates of numbers that are large, tiny, infinite, or none', options, () => {
  const given = [0, -0, 1e-30, -1e-30, 50, -50, 1e4, -1e4, 3e38, Infinity, NaN, 1];
  using x = floats(Float32Array.from(given), [given.length]);
  for (const gate of Object.values(GATES)) {
    using y = gated(x, gate);
    const values = [...y.values()];
    close(values.slice(0, 4), given.slice(0, 4).map((value) => value / 2), 1e-36, 'around 0'); // prettier-ignore
    assert.equal(values[4], 50);
    assert.ok(values[5]! <= 0 && values[5]! > -1e-19);
    assert.equal(values[6], 1e4);
    assert.equal(Math.abs(values[7]!), 0);
    assert.equal(values[8], Math.fround(3e38));
    assert.equal(values[9], Infinity);
    assert.ok(Number.isNaN(values[10]));
    assert.ok(Math.abs(values[11]! - sigmoid(argument(1, gate))) < 1e-7);
  }
});

test("gates' gradients are those of their formulas, by differences", options, () => {
  const STEP = 1e-6;
  for (const [name, gate] of Object.entries(GATES))
    for (const size of [3, 16, 40_000]) {
      const [values, dy] = [normals(size, 0, 3), normals(size)];
      const [x, gradient] = [floats(values, [size]), floats(dy, [size])];
      using dx = op('AlignbookSigmoidGateGradient', attributesOf(gate), gradient, x);
      const formula = (at: number) => at * sigmoid(argument(at, gate));
      const expected = Float64Array.from(values, (at, n) => {
        const slope = (formula(at + STEP) - formula(at - STEP)) / (2 * STEP);
        return dy[n]! * slope;
      });
      close(dx.values(), expected, 5e-6, name);
      release(x, gradient);
    }
});

test("gates' gradients of numbers that are large or none", options, () => {
  const given = [1e4, -1e4, 1e19, -1e19, NaN];
  using x = floats(Float32Array.from(given), [given.length]);
  using dy = floats(new Float32Array(given.length).fill(2), [given.length]);
  for (const gate of Object.values(GATES)) {
    using dx = op('AlignbookSigmoidGateGradient', attributesOf(gate), dy, x);
    const values = [...dx.values()];
    assert.deepEqual(values.slice(0, 4).map(Math.abs), [2, 0, 2, 0]);
    assert.ok(Number.isNaN(values[4]));
  }
});

// --- attention of one more token ---

interface Case {
  readonly B: number;
  readonly nHead: number;
  readonly S: number;
  readonly hs: number;
}

const CASES: readonly Case[] = [
  { B: 1, nHead: 1, S: 1, hs: 1 },
  { B: 2, nHead: 3, S: 5, hs: 7 },
  { B: 3, nHead: 2, S: 17, hs: 8 },
  { B: 4, nHead: 12, S: 80, hs: 64 },
  { B: 1, nHead: 2, S: 1000, hs: 20 },
];

const attended = (inputs: readonly Handle[], scale: number, out = TF_FLOAT) =>
  op('AlignbookAttendToPast', [float('scale', scale), type('Ty', out)], ...inputs);

test('attention to earlier positions', options, () => {
  for (const { B, nHead, S, hs } of CASES)
    for (const half of [false, true]) {
      const C = nHead * hs;
      const scale = 1 / Math.sqrt(hs);
      const qkv = normals(B * 3 * C);
      const positions = Array.from({ length: B }, (_, row) => (row === 0 ? S - 1 : random.integer(S)));
      const places = Int32Array.from({ length: nHead * B }, (_, n) => n * S + positions[n % B]!);
      const room = (values: Float32Array) =>
        values.map((value, i) => (Math.floor(i / hs) % S > positions[Math.floor(i / hs / S) % B]! ? NaN : value));
      const cache = [0, 1].map(() => room(normals(nHead * B * S * hs)));
      const held = cache.map((values) => {
        const made = floats(values.slice(), [nHead, B, S, hs]);
        if (!half) return made;
        using whole = made;
        return inBfloat16(whole);
      });
      const before = held.map(floatsOf);
      const inputs = [floats(qkv, [B, 3 * C]), ...held, ints(places, [nHead * B])];
      using y = attended(inputs, scale);
      assert.deepEqual(y.shape, [B, C]);

      const written = [1, 2].map((part) => {
        using own = floats(
          Float32Array.from({ length: B * C }, (_, i) => qkv[Math.floor(i / C) * 3 * C + part * C + (i % C)]!),
          [B, C],
        );
        using kept = half ? inBfloat16(own) : own;
        return floatsOf(kept);
      });
      const expected = new Float64Array(B * C);
      const [keys, values] = before.map((former, part) => {
        const full = former.slice();
        places.forEach((place, n) => {
          const from = (n % B) * C + Math.floor(n / B) * hs;
          full.set(written[part]!.subarray(from, from + hs), place * hs);
        });
        assert.deepEqual(floatsOf(held[part]!), full, 'the own key or value is written, and nothing else');
        return full;
      }) as [Float32Array, Float32Array];
      for (let n = 0; n < nHead * B; n += 1) {
        const [head, row] = [Math.floor(n / B), n % B];
        const at = (s: number, i: number) => (n * S + s) * hs + i;
        const each = (count: number, of: (i: number) => number) => Array.from({ length: count }, (_, i) => of(i));
        const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);
        const query = (i: number) => qkv[row * 3 * C + head * hs + i]!;
        const scores = each(positions[row]! + 1, (s) => scale * sum(each(hs, (i) => query(i) * keys[at(s, i)]!)));
        const most = Math.max(...scores);
        const powers = scores.map((score) => Math.exp(score - most));
        for (let i = 0; i < hs; i += 1)
          expected[row * C + head * hs + i] = sum(powers.map((power, s) => power * values[at(s, i)]!)) / sum(powers);
      }
      close(y.values(), expected, 4e-6, `B ${B}, ${nHead} heads of ${hs}, ${S} positions${half ? ', bfloat16' : ''}`);
      using rounded = attended(inputs, scale, TF_BFLOAT16);
      using cast = inBfloat16(y);
      assert.deepEqual(floatsOf(rounded), floatsOf(cast));
      release(inputs);
    }
});

test('a token without a finite score has no finite result; others are as before', options, () => {
  const [B, S, hs] = [2, 3, 8];
  const qkv = normals(B * 3 * hs);
  qkv[0] = NaN;
  const cache = () => floats(normals(B * S * hs), [1, B, S, hs]);
  const inputs = [floats(qkv, [B, 3 * hs]), cache(), cache(), ints(Int32Array.of(2, S + 1), [B])];
  using y = attended(inputs, 1);
  y.values().forEach((value, i) => assert.equal(Number.isNaN(value), i < hs));
  release(inputs);
});

test('what does not fit is an error, and nothing is written', options, () => {
  const [B, nHead, S, hs] = [2, 1, 3, 4];
  const values = normals(nHead * B * S * hs);
  const cache = () => floats(values.slice(), [nHead, B, S, hs]);
  const qkv = floats(normals(B * 3 * hs), [B, 3 * hs]);
  const [keys, held] = [cache(), cache()];
  const places = ints(Int32Array.of(0, 5), [2]);
  const wrong = ints(Int32Array.of(0, 6), [2]);
  const few = ints(Int32Array.of(0), [1]);
  const narrow = floats(normals(B * hs), [B, hs]);
  assert.throws(() => attended([qkv, keys, held, wrong], 1), /a place is not among its row's/);
  assert.throws(() => attended([qkv, keys, held, few], 1), /AlignbookAttendToPast: the shapes do not fit/);
  assert.throws(() => attended([narrow, keys, held, places], 1), /AlignbookAttendToPast: the shapes do not fit/);
  assert.deepEqual([keys.values(), held.values()], [values, values]);

  assert.throws(() => layerNorm(qkv, narrow, few), /float/); // places are int32
  const vector = floats(normals(3 * hs), [3 * hs]);
  assert.throws(() => layerNorm(qkv, vector, narrow), /AlignbookLayerNorm: the shapes do not fit/);
  const inputs = [qkv, narrow, vector, vector];
  assert.throws(() => execute('AlignbookLayerNormGradient', [], inputs, 3), /Gradient: the shapes do not fit/);
  const gate = attributesOf(GATES.silu);
  assert.throws(() => op('AlignbookSigmoidGateGradient', gate, qkv, narrow), /Gradient: the shapes do not fit/);
  release(qkv, keys, held, places, wrong, few, narrow, vector);
});

// --- casts, and sums of squares ---

test('casts are those of TensorFlow, to the bit', options, () => {
  const special = [0, -0, 1e-40, 1e-38, 3.4e38, Infinity, -Infinity, NaN, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -1 - 2 ** -8];
  for (const size of [1, 7, 8, 31, 300_000]) {
    const values = normals(size).map((value, n) => (n % 3 === 0 ? special[(n / 3) % special.length]! : value));
    const whole = floats(values, [size]);
    using half = op('AlignbookCast', [type('Ty', TF_BFLOAT16)], whole);
    using expected = op('Cast', [type('DstT', TF_BFLOAT16)], whole);
    using back = op('AlignbookCast', [type('Ty', TF_FLOAT)], half);
    using expectedBack = op('Cast', [type('DstT', TF_FLOAT)], expected);
    assert.deepEqual(back.values(), expectedBack.values());
    assert.throws(() => op('AlignbookCast', [type('Ty', TF_FLOAT)], whole), /AlignbookCast: the types are the same/);
    release(whole);
  }
});

test('sums of squares, in float32 and bfloat16', options, () => {
  for (const size of [0, 1, 9, 4096, 4097, 700_001]) {
    const whole = floats(normals(size), [size]);
    using half = inBfloat16(whole);
    for (const x of [whole, half]) {
      const expected = floatsOf(x).reduce((sum, value) => sum + value * value, 0);
      using sum = op('AlignbookSumOfSquares', [], x);
      assert.deepEqual(sum.shape, []);
      // 4096 squares are added up in 32 lanes of float32, one after another; then in float64.
      assert.ok(Math.abs(sum.values()[0]! - expected) <= 128 * HALF_PLACE * expected, `${size}: ${sum.values()[0]}`);
    }
    release(whole);
  }
  using infinite = floats(Float32Array.of(1, Infinity, 2), [3]);
  using none = floats(Float32Array.of(1, NaN, 2), [3]);
  assert.equal(op('AlignbookSumOfSquares', [], infinite).values()[0], Infinity);
  assert.ok(Number.isNaN(op('AlignbookSumOfSquares', [], none).values()[0]));
});

test('they leave no tensor behind', options, () => {
  const [x, vector] = [floats(normals(80), [10, 8]), floats(normals(8), [8])];
  const once = () => {
    const [y, normalized, inverseStd] = layerNorm(x, vector, vector);
    const back = execute('AlignbookLayerNormGradient', [], [y, normalized, inverseStd, vector], 3);
    release(y, normalized, inverseStd, back, gated(x, GATES.silu));
  };
  once();
  const before = liveTensors();
  once();
  assert.equal(liveTensors(), before);
  release(x, vector);
});

/** Without them, as on a GPU or another processor, TensorFlow's own operations compute the same formulas. */
test("the engine's tests pass with TensorFlow's own operations, too", { ...options, timeout: 600_000 }, () => {
  const files = ['engine', 'generate', 'compiled', 'products'].map((name) => join(__dirname, `${name}.test.js`));
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { stdout, status } = spawnSync(process.execPath, ['--test', '--test-reporter=tap', ...files], {
    encoding: 'utf8',
    env: { ...env, ALIGNBOOK_OPERATIONS: 'tensorflow' },
    maxBuffer: 2 ** 26,
  });
  const tail = stdout.slice(-3000);
  const failed = stdout.split('\n').filter((line) => line.includes('not ok'));
  assert.equal(status, 0, `${failed.join('\n')}\n${tail}`);
  assert.match(tail, /^# pass [1-9]\d+$/m);
});
