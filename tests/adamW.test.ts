/**
 * AdamW in one pass over memory: its bits, and that it writes into nobody else's memory. That its steps are PyTorch's
 * is checked in engine.test.ts and fitting.test.ts, whose trainings use it from their second step on.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

import { liveTensors } from 'alignbook';
import type { AdamWState } from 'alignbook/dist/engine/adamW';
import { execute } from 'alignbook/dist/engine/call';
import { Gradients } from 'alignbook/dist/engine/gradients';
import { release, scope, type Handle } from 'alignbook/dist/engine/handle';
import {
  assign,
  fill,
  floats,
  inBfloat16,
  inFloat32,
  isBfloat16,
  isUnshared,
  readVariable,
  reshape,
  slice,
  split,
  variable,
} from 'alignbook/dist/engine/ops';
import { binding, hasAdamW } from 'alignbook/dist/tf';

import { LARGE, numbers, OPTIONS, stateOf, takeStep, valuesOf } from './adamWSteps';

/**
 * The formulas in float32: each operation rounds once.
 *
 * @param factors by which each step's gradient is multiplied.
 */
function byHand(size: number, factors: readonly number[]): Float32Array[] {
  const r = Math.fround;
  const { lr, beta1, beta2, epsilon, weightDecay } = OPTIONS;
  const [weights, m, v] = [numbers(size, 0), new Float32Array(size), new Float32Array(size)] as const;
  for (const [index, factor] of factors.entries()) {
    const step = index + 1;
    const gradient = numbers(size, step);
    const rate = r(r(r(lr) * r(Math.sqrt(r(1 - r(beta2 ** step))))) / r(1 - r(beta1 ** step)));
    const added = r(epsilon * Math.sqrt(1 - beta2 ** step));
    const [rate1, rate2, decay] = [r(1 - r(beta1)), r(1 - r(beta2)), r(lr * weightDecay)];
    for (let n = 0; n < size; n += 1) {
      const g = r(gradient[n]! * r(factor));
      const decayed = r(weights[n]! - r(weights[n]! * decay));
      m[n] = r(m[n]! + r(r(g - m[n]!) * rate1));
      v[n] = r(v[n]! + r(r(r(g * g) - v[n]!) * rate2));
      weights[n] = r(decayed - r(r(m[n]! * rate) / r(r(Math.sqrt(v[n]!)) + added)));
    }
  }
  return [weights, m, v];
}

/**
 * Equal to the bit. Compilers for other processors may fuse a multiplication with an addition in TensorFlow's own
 * operations, which take the first step; there, 1e-6 of the largest number is allowed.
 */
function agree(actual: readonly Float32Array[], expected: readonly Float32Array[]): void {
  assert.equal(actual.length, expected.length);
  for (const [n, values] of actual.entries()) {
    const wanted = expected[n]!;
    assert.equal(values.length, wanted.length);
    const most = process.arch === 'x64' ? 0 : 1e-6 * wanted.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    const wrong = values.findIndex(
      (value, i) => !(Object.is(value, wanted[i]) || Math.abs(value - wanted[i]!) <= most),
    );
    assert.equal(wrong, -1, `tensor ${n}, element ${wrong}: ${values[wrong]} instead of ${wanted[wrong]}`);
  }
}

const dispose = (state: AdamWState): void => release(state.weight, state.m, state.v);

const excluded = binding.isUsingGpuDevice() || process.env['ALIGNBOOK_OPERATIONS'] === 'tensorflow';
test('it is there', { skip: excluded && 'not asked for, or on a GPU' }, () => assert.ok(hasAdamW));

for (const size of [1, 15, 16, 33, 2 ** 18 + 1])
  test(`${size} numbers, four steps: the formulas, rounded after each operation`, () => {
    const state = stateOf(numbers(size, 0));
    const factors = [1, 2, 3, 4].map((step) => takeStep(state, size, step));
    assert.ok(isUnshared(state.weight), 'the later steps were taken in one pass');
    const expected = byHand(size, factors);
    agree(valuesOf(state), expected);
    dispose(state);
  });

/** Steps in one pass and the same by TensorFlow's operations, from the same weights. */
function inBothWays(weights: Float32Array, decays: boolean, gradientOf?: (step: number) => Float32Array): void {
  const [own, theirs] = [stateOf(weights), stateOf(weights.slice())];
  const size = weights.length;
  for (let step = 1; step <= 4; step += 1) {
    takeStep(own, size, step, { decays, gradient: gradientOf?.(step) });
    using held = readVariable(theirs.m); // so that it is not written to
    takeStep(theirs, size, step, { decays, gradient: gradientOf?.(step) });
    assert.equal(held.shape[0], size);
  }
  agree(valuesOf(own), valuesOf(theirs));
  dispose(own);
  dispose(theirs);
}

test("the bits are those of TensorFlow's operations", () => {
  inBothWays(numbers(LARGE, 0), true);
  inBothWays(numbers(1000, 0), false);
});

test('so are those of weights without a gradient: zeros of either sign, and what is not finite', () => {
  const weights = Float32Array.of(1, 0, -0, Infinity, -Infinity, NaN, 1e-40, 3e38);
  for (const decays of [true, false]) inBothWays(weights, decays, () => new Float32Array(weights.length));
});

test('and those of the smallest and largest gradients', () => {
  const gradients = Float32Array.of(1e-38, -1e-38, 1e-21, 1e-45, 1e18, -1e18, 3e38, 0);
  inBothWays(numbers(gradients.length, 0), true, () => gradients);
  const many = Float32Array.from({ length: LARGE }, (_, n) => gradients[n % gradients.length]!);
  inBothWays(numbers(LARGE, 0), true, () => many); // on every thread
});

test('a gradient in bfloat16 is as its numbers in float32 are: taken, added up, clipped, and in a step', () => {
  for (const size of [1000, LARGE]) {
    const states = (['bfloat16', 'float32'] as const).map((rounded) => {
      const state = stateOf(numbers(size, 0));
      for (let step = 1; step <= 3; step += 1) takeStep(state, size, step, { rounded });
      return state;
    });
    const [half, whole] = states.map(valuesOf) as [Float32Array[], Float32Array[]];
    assert.deepEqual(half, whole);
    states.forEach(dispose);
  }

  const values = numbers(1000, 1);
  const [halves, wholes] = [true, false].map((isHalf) => {
    const rounded = () =>
      scope(() => {
        const half = inBfloat16(floats(values.slice(), [10, 100]));
        return isHalf ? half : inFloat32(half);
      });
    using gradients = new Gradients(new Map([['a', rounded()], ['b', rounded()]])); // prettier-ignore
    using more = new Gradients(new Map([['a', rounded()], ['b', rounded()]])); // prettier-ignore
    const seen = [gradients.values('a'), gradients.norm(), gradients.clip(1), gradients.values('b')];
    gradients.add(more);
    using taken = gradients.take('a');
    assert.ok(!isBfloat16(taken));
    using other = new Gradients(new Map([['a', rounded()]]));
    other.clip(2);
    using clipped = other.take('a');
    assert.ok(!isBfloat16(clipped));
    return [...seen, taken.values(), clipped.values(), gradients.values('b')];
  });
  assert.deepEqual(halves, wholes);
});

test('with one thread as with two or five', () => {
  const [one, ...others] = ['1', '2', '5'].map((threads) => {
    const { stdout, stderr, status } = spawnSync(process.execPath, [join(__dirname, 'adamWSteps.js')], {
      encoding: 'utf8',
      env: { ...process.env, TF_NUM_INTRAOP_THREADS: threads },
    });
    assert.equal(status, 0, stderr);
    return stdout;
  });
  assert.match(one!, /^[0-9a-f]{64}\n$/);
  assert.deepEqual(others, [one, one]);
});

test('arrays from which variables were made, and values that were read, stay as they are', () => {
  const size = 1000;
  const array = numbers(size, 0);
  const state = stateOf(array);
  takeStep(state, size, 1);
  takeStep(state, size, 2);
  assert.deepEqual(array, numbers(size, 0), 'the array of the beginning');

  const before = valuesOf(state);
  const held = readVariable(state.weight);
  takeStep(state, size, 3);
  takeStep(state, size, 4);
  assert.deepEqual(held.values(), before[0], 'a value that is still held');
  assert.notDeepEqual(valuesOf(state)[0], before[0]);
  held[Symbol.dispose]();
  takeStep(state, size, 5);
  assert.ok(isUnshared(state.weight), 'freed, it holds the variable no longer');

  const views = [
    (value: Handle) => [reshape(value, [10, size / 10])],
    (value: Handle) => [slice(value, [0, 0], [-1, -1])],
    (value: Handle) => split(value, 2),
  ];
  for (const view of views) {
    using value = readVariable(state.weight);
    const made = view(value);
    value[Symbol.dispose]();
    const seen = made.map((one) => one.values());
    takeStep(state, size, 6);
    takeStep(state, size, 7);
    assert.deepEqual(
      made.map((one) => one.values()),
      seen,
      'what was made of such a value, and shares its memory',
    );
    release(made);
  }

  const copy = variable(readVariable(state.weight));
  const [copied] = valuesOf(state);
  takeStep(state, size, 6);
  takeStep(state, size, 7);
  using value = readVariable(copy);
  assert.deepEqual(value.values(), copied, 'a variable that was made from another');
  release(copy);

  const [weights, m] = [numbers(size, 8), numbers(size, 9)];
  assign(state.weight, floats(weights, [size, 1]));
  assign(state.m, floats(m, [size, 1]));
  takeStep(state, size, 6);
  takeStep(state, size, 7);
  assert.deepEqual([weights, m], [numbers(size, 8), numbers(size, 9)], 'the arrays of a checkpoint');
  dispose(state);
});

test('it leaves no tensor behind', () => {
  const state = stateOf(numbers(100, 0));
  takeStep(state, 100, 1);
  takeStep(state, 100, 2);
  const before = liveTensors();
  for (let step = 3; step <= 6; step += 1) takeStep(state, 100, step);
  assert.equal(liveTensors(), before);
  dispose(state);
});

test('an input of another size is refused, and nothing is written', () => {
  const state = stateOf(numbers(100, 0));
  takeStep(state, 100, 1);
  const before = valuesOf(state);
  const [inputs, gradient] = [[state.weight, state.m, state.v].map(readVariable), fill([99], 1)];
  using scalars = fill([6], 0.5);
  assert.throws(
    () => execute('AlignbookAdamW', [], [...inputs, gradient, scalars], 0),
    /AlignbookAdamW: the inputs differ in size/,
  );
  assert.throws(() => execute('AlignbookAdamW', [], [...inputs, inputs[0]!, gradient], 0), /the inputs differ in size/);
  release(inputs, gradient);
  assert.deepEqual(valuesOf(state), before);
  dispose(state);
});
