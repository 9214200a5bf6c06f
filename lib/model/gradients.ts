/** The gradient of a loss with respect to each weight that is trained. */
import { release, type Handle } from './handle';
import { add, l2, mul, scalar } from './ops';

/** By the names of `Weights.trained`, in their shapes. Owns its tensors: dispose of it, or give it to an optimizer. */
export class Gradients implements Disposable {
  readonly #byName: Map<string, Handle>;

  constructor(byName: Map<string, Handle>) {
    this.#byName = byName;
  }

  get names(): string[] {
    return [...this.#byName.keys()];
  }

  /** A copy of one gradient's values, in row-major order. */
  values(name: string): Float32Array {
    return this.get(name).values() as Float32Array;
  }

  /** The tensor of one gradient, which this object goes on owning. */
  get(name: string): Handle {
    const handle = this.#byName.get(name);
    if (handle === undefined) throw new RangeError(`there is no gradient of "${name}"`);
    return handle;
  }

  /** Adds other gradients of the same weights, and disposes of them: what accumulates over several batches. */
  add(other: Gradients): void {
    for (const [name, handle] of this.#byName) {
      this.#byName.set(name, add(handle, other.get(name)));
      release(handle);
    }
    other[Symbol.dispose]();
  }

  /** The square root of the sum of all squares. */
  norm(): number {
    let squares = 0;
    for (const handle of this.#byName.values()) {
      using half = l2(handle);
      squares += 2 * half.values()[0]!;
    }
    return Math.sqrt(squares);
  }

  /**
   * Scales all gradients by one factor where their norm is above `maxNorm`, as torch.nn.utils.clip_grad_norm_ does it:
   * maxNorm / (norm + 1e-6).
   *
   * @returns the norm before.
   */
  clip(maxNorm: number): number {
    const norm = this.norm();
    const factor = maxNorm / (norm + 1e-6);
    if (factor < 1) this.scale(factor);
    return norm;
  }

  scale(factor: number): void {
    using by = scalar(factor);
    for (const [name, handle] of this.#byName) {
      this.#byName.set(name, mul(handle, by));
      release(handle);
    }
  }

  [Symbol.dispose](): void {
    release(...this.#byName.values());
    this.#byName.clear();
  }
}
