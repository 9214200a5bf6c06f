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
import { release } from 'alignbook/dist/engine/handle';
import { assign, fill, floats, isUnshared, readVariable } from 'alignbook/dist/engine/ops';
import { hasAdamW } from 'alignbook/dist/tf';

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

/** In units of the last place, the greatest distance of two float32 arrays. */
function ulps(actual: Float32Array, expected: Float32Array): number {
  const order = (value: number): number => {
    const bits = new Int32Array(Float32Array.of(value).buffer)[0]!;
    return bits < 0 ? -(bits & 0x7fffffff) : bits;
  };
  assert.equal(actual.length, expected.length);
  return actual.reduce((most, value, n) => Math.max(most, Math.abs(order(value) - order(expected[n]!))), 0);
}

const dispose = (state: AdamWState): void => release(state.weight, state.m, state.v);

test('it is there', () => assert.ok(hasAdamW));

/** Compilers for other processors may fuse a multiplication with an addition in TensorFlow's operations. */
const MOST_ULPS = process.arch === 'x64' ? 0 : 4;

for (const size of [1, 15, 16, 33, 2 ** 18 + 1])
  test(`${size} numbers, four steps: the formulas, rounded after each operation`, () => {
    const state = stateOf(numbers(size, 0));
    const factors = [1, 2, 3, 4].map((step) => takeStep(state, size, step));
    assert.ok(isUnshared(state.weight), 'the later steps were taken in one pass');
    const expected = byHand(size, factors);
    valuesOf(state).forEach((values, n) => assert.ok(ulps(values, expected[n]!) <= MOST_ULPS, `${n}`));
    dispose(state);
  });

test("the bits are those of TensorFlow's operations", () => {
  const [own, theirs] = [stateOf(numbers(LARGE, 0)), stateOf(numbers(LARGE, 0))];
  for (let step = 1; step <= 4; step += 1) {
    takeStep(own, LARGE, step);
    using held = readVariable(theirs.m); // so that it is not written to
    takeStep(theirs, LARGE, step);
    assert.equal(held.shape[0], LARGE);
  }
  const expected = valuesOf(theirs);
  valuesOf(own).forEach((values, n) => assert.ok(ulps(values, expected[n]!) <= MOST_ULPS, `${n}`));
  dispose(own);
  dispose(theirs);
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
    /AlignbookAdamW: an input has a size of its own/,
  );
  assert.throws(() => execute('AlignbookAdamW', [], [...inputs, inputs[0]!, gradient], 0), /a size of its own/);
  release(inputs, gradient);
  assert.deepEqual(valuesOf(state), before);
  dispose(state);
});
