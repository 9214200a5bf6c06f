/**
 * A seeded random number generator that gives the same numbers on every machine.
 *
 * xoshiro128** (Blackman and Vigna, https://prng.di.unimi.it/), its state filled from the seed by splitmix32.
 * Everything is exact integer arithmetic except `normal`, which also uses Math.log and Math.sqrt.
 */
import { InputError } from './errors';

export type RandomState = readonly [number, number, number, number];

export class Random {
  #state: [number, number, number, number];

  /** @param seed an integer (its low 32 bits count), or a state saved from another generator. */
  constructor(seed: number | RandomState) {
    if (typeof seed !== 'number') {
      this.#state = [...seed];
      return;
    }
    if (!Number.isSafeInteger(seed)) throw new InputError(`seed must be an integer, got ${seed}`);
    let counter = seed | 0;
    const next = () => {
      counter = (counter + 0x9e3779b9) | 0;
      let z = counter;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) >>> 0;
    };
    this.#state = [next(), next(), next(), next()];
  }

  /** Four 32-bit words, which a checkpoint can save and the constructor accepts. */
  get state(): RandomState {
    return [...this.#state];
  }

  /** The next 32 random bits, 0 to 2^32 - 1. */
  uint32(): number {
    const s = this.#state;
    const result = Math.imul(rotateLeft(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotateLeft(s[3], 11);
    return result;
  }

  /** Uniform in [0, 1), 53 random bits. */
  uniform(): number {
    const high = this.uint32() >>> 5;
    const low = this.uint32() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  /** Standard normal, by Marsaglia's polar method. */
  normal(): number {
    for (;;) {
      const x = 2 * this.uniform() - 1;
      const y = 2 * this.uniform() - 1;
      const square = x * x + y * y;
      if (square > 0 && square < 1) return x * Math.sqrt((-2 * Math.log(square)) / square);
    }
  }

  /** An integer in [0, n), every one equally likely. */
  integer(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32)
      throw new InputError(`n must be an integer from 1 to 2^32, got ${n}`);
    const limit = 2 ** 32 - (2 ** 32 % n); // rejects the incomplete last run, which would favor low numbers
    for (;;) {
      const bits = this.uint32();
      if (bits < limit) return bits % n;
    }
  }

  /** A shuffled copy (Fisher and Yates). */
  shuffle<Item>(items: readonly Item[]): Item[] {
    const shuffled = [...items];
    for (let last = shuffled.length - 1; last > 0; last -= 1) {
      const other = this.integer(last + 1);
      [shuffled[last], shuffled[other]] = [shuffled[other]!, shuffled[last]!];
    }
    return shuffled;
  }
}

function rotateLeft(x: number, bits: number): number {
  return (x << bits) | (x >>> (32 - bits));
}
