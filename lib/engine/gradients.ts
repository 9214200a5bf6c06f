/** The gradient of a loss with respect to each weight that is trained. */
import { multiplied, squares, type Gradient } from './embeddingGradient';
import { release, type Handle } from './handle';
import { add } from './ops';

/** By the names of `Weights.trained`, in their shapes. Owns its tensors: dispose of it, or give it to an optimizer. */
export class Gradients implements Disposable {
  readonly #byName: Map<string, Gradient>;
  /** Of all: they are multiplied one by one as they are taken, and so used while they are in the processor's cache. */
  #factor = 1;

  constructor(byName: Map<string, Gradient>) {
    this.#byName = byName;
  }

  get names(): string[] {
    return [...this.#byName.keys()];
  }

  /** A copy of one gradient's values, in row-major order. */
  values(name: string): Float32Array {
    const gradient = multiplied(this.#get(name)); // what was in parts is whole from now on
    this.#byName.set(name, gradient);
    const values = gradient.values() as Float32Array;
    return this.#factor === 1 ? values : values.map((value) => value * this.#factor);
  }

  /** Gives one gradient away. */
  take(name: string): Handle {
    const gradient = this.#get(name);
    this.#byName.delete(name);
    return multiplied(gradient, this.#factor);
  }

  #get(name: string): Gradient {
    const gradient = this.#byName.get(name);
    if (gradient === undefined) throw new RangeError(`there is no gradient of "${name}"`);
    return gradient;
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
    const sum = [...this.#byName.values()].reduce((sum, gradient) => sum + squares(gradient), 0);
    return Math.sqrt(sum) * this.#factor;
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
    for (const gradient of this.#byName.values()) release(gradient);
    this.#byName.clear();
  }
}
