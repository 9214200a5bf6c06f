/** The gradient of a loss with respect to each weight that is trained. */
import { release, type Handle } from './handle';
import { add, l2, mul, scalar } from './ops';

/** By the names of `Weights.trained`, in their shapes. Owns its tensors: dispose of it, or give it to an optimizer. */
export class Gradients implements Disposable {
  readonly #byName: Map<string, Handle>;
  /** Of all: they are multiplied one by one as they are taken, and so used while they are in the processor's cache. */
  #factor = 1;

  constructor(byName: Map<string, Handle>) {
    this.#byName = byName;
  }

  get names(): string[] {
    return [...this.#byName.keys()];
  }

  /** A copy of one gradient's values, in row-major order. */
  values(name: string): Float32Array {
    const values = this.#get(name).values() as Float32Array;
    return this.#factor === 1 ? values : values.map((value) => value * this.#factor);
  }

  /** Gives one gradient away. */
  take(name: string): Handle {
    const handle = this.#get(name);
    this.#byName.delete(name);
    if (this.#factor === 1) return handle;
    using unscaled = handle;
    using factor = scalar(this.#factor);
    return mul(unscaled, factor);
  }

  #get(name: string): Handle {
    const handle = this.#byName.get(name);
    if (handle === undefined) throw new RangeError(`there is no gradient of "${name}"`);
    return handle;
  }

  /** Adds other gradients of the same weights, and disposes of them: what accumulates over several batches. */
  add(other: Gradients): void {
    for (const name of this.names) {
      using own = this.take(name);
      using more = other.take(name);
      this.#byName.set(name, add(own, more));
    }
    this.#factor = 1;
    other[Symbol.dispose]();
  }

  /** The square root of the sum of all squares. */
  norm(): number {
    let squares = 0;
    for (const handle of this.#byName.values()) {
      using half = l2(handle);
      squares += 2 * half.values()[0]!;
    }
    return Math.sqrt(squares) * this.#factor;
  }

  /**
   * Scales all gradients by one factor where their norm is above `maxNorm`, as torch.nn.utils.clip_grad_norm_ does it:
   * maxNorm / (norm + 1e-6).
   *
   * @returns the norm before.
   */
  clip(maxNorm: number): number {
    const norm = this.norm();
    this.#factor *= Math.min(1, maxNorm / (norm + 1e-6));
    return norm;
  }

  [Symbol.dispose](): void {
    release(...this.#byName.values());
    this.#byName.clear();
  }
}
