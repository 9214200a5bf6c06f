/** Cases from tests/fixtures/losses.json (made by tests/oracles/losses.py) and similar files, and their comparison. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { InputError, liveTensors, tf } from 'alignbook';

import { root } from '../scripts/paths';

type Numbers = number | Numbers[];

const FIXTURES = join(root, 'tests', 'fixtures');

/**
 * The tolerance for a result, relative to the larger of 1 and the expected number: about 30 float32 roundings (6e-8
 * each). The oracle computes in float64 from the same float32 arguments.
 */
const TOLERANCE = 2e-6;

export class Case {
  readonly #fields: Record<string, Numbers>;

  constructor(
    readonly title: string,
    fields: Record<string, Numbers>,
  ) {
    this.#fields = fields;
  }

  has(name: string): boolean {
    return name in this.#fields;
  }

  number(name: string): number {
    return this.#values(name) as number;
  }

  text(name: string): string {
    return this.#values(name) as unknown as string;
  }

  floats<T extends tf.Tensor>(name: string): T {
    return tf.tensor(this.#values(name), undefined, 'float32') as T;
  }

  ints<T extends tf.Tensor>(name: string): T {
    return tf.tensor(this.#values(name), undefined, 'int32') as T;
  }

  /** @throws AssertionError unless `actual` is the field `name`. */
  check(actual: tf.Tensor, name: string, tolerance = TOLERANCE): void {
    close(actual, this.#values(name), `${this.title}: ${name}`, tolerance);
  }

  /** The same for a gradient. */
  checkGradient(actual: tf.Tensor, name: string): void {
    closeGradients([actual], [this.#values(name)], `${this.title}: ${name}`);
  }

  /** A field that contains cases itself. */
  inner(name: string): Case[] {
    const fields = [this.#fields[name]].flat() as unknown as Record<string, Numbers>[];
    return fields.map((inner, index) => new Case(`${this.title}: ${name} ${index}`, inner));
  }

  #values(name: string): Numbers {
    const values = this.#fields[name];
    assert.ok(values !== undefined, `${this.title} has no field "${name}"`);
    return values;
  }
}

export function cases(section: string, file = 'losses.json'): Case[] {
  const all = JSON.parse(readFileSync(join(FIXTURES, file), 'utf8')) as Record<string, Record<string, Numbers>[]>;
  return all[section]!.map((fields, index) => new Case(`${section} ${index}`, fields));
}

export function close(actual: tf.Tensor, expected: Numbers, what: string, tolerance = TOLERANCE): void {
  const wanted = tf.tensor(expected, undefined, 'float32');
  assert.deepEqual(actual.shape, wanted.shape, `${what}: shape`);
  const [got, want] = [actual.dataSync(), wanted.dataSync()];
  got.forEach((value: number, i: number) => {
    const allowed = tolerance * Math.max(1, Math.abs(want[i]!));
    // Written so that NaN fails.
    assert.ok(
      Math.abs(value - want[i]!) <= allowed,
      `${what}: expected ${want[i]} at ${i}, got ${value}, tolerance ${allowed}`,
    );
  });
}

/**
 * The same for the gradients of one result, but relative to the largest of them instead of 1, because all are small if
 * beta is. If all expected gradients are 0, as beyond the hinge, the actual ones must be 0, too.
 */
export function closeGradients(actual: tf.Tensor[], expected: Numbers[], what: string): void {
  const largest = Math.max(...(expected.flat(2) as number[]).map(Math.abs), 1e-30);
  actual.forEach((gradient, i) =>
    close(tf.div(gradient, largest), tf.div(tf.tensor(expected[i] as tf.TensorLike), largest).arraySync(), what),
  );
}

/** sum(weight * result): the scalar whose gradient is in the fixtures. */
export function weighted(result: tf.Tensor, weight: tf.Tensor): tf.Scalar {
  return tf.sum<tf.Scalar>(tf.mul(result, weight));
}

/** @throws AssertionError if `run` creates tensors that it does not return. */
export function keepsNothing(run: () => tf.TensorContainer): void {
  tf.dispose(run()); // once before counting: tfjs creates constants on first use
  const before = [tf.memory().numTensors, liveTensors()];
  tf.dispose(run());
  assert.deepEqual([tf.memory().numTensors, liveTensors()], before, 'live tensors, of tfjs and of TensorFlow');
}

/** @throws AssertionError unless `run` throws an InputError whose message matches. */
export function refused(run: () => unknown, message: RegExp): void {
  assert.throws(run, (error) => error instanceof InputError && message.test(error.message));
}
