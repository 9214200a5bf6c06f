/** Named TensorFlow variables: the values that training changes. */
import { createHash } from 'node:crypto';

import { release, scope, type Handle } from './handle';
import { assign, floats, inFloat32, isHalf, readVariable } from './ops';

/** Owns its variables: dispose of it. */
export class Variables {
  readonly #variables: ReadonlyMap<string, Handle>;
  readonly #shapes: ReadonlyMap<string, readonly number[]>;

  constructor(variables: ReadonlyMap<string, Handle>, shapes: ReadonlyMap<string, readonly number[]>) {
    this.#variables = variables;
    this.#shapes = shapes;
  }

  /** In the order of the forward pass. */
  get names(): string[] {
    return [...this.#variables.keys()];
  }

  shape(name: string): readonly number[] {
    return this.#shapes.get(name)!;
  }

  /** The variable itself, for an optimizer; this object still owns it. */
  variable(name: string): Handle {
    return this.#variables.get(name)!;
  }

  /** Whether some are held in bfloat16, and so cannot be trained. */
  get areHalf(): boolean {
    return [...this.#variables.values()].some(isHalf);
  }

  /** Sets one variable to `values`, which must not be changed afterwards. */
  assign(name: string, values: Float32Array): void {
    assign(this.variable(name), floats(values, this.shape(name)));
  }

  /** A copy of one variable's values, in row-major order. */
  values(name: string): Float32Array {
    return scope(() => inFloat32(readVariable(this.variable(name))).values() as Float32Array);
  }

  /** The sha256 of all names, shapes and values: equal for equal contents, whatever their origin. */
  digest(): string {
    const hash = createHash('sha256');
    for (const name of this.names) hash.update(`${name} ${this.shape(name).join()}\n`).update(this.values(name));
    return hash.digest('hex');
  }

  dispose(): void {
    release(this.#variables);
  }
}
