/**
 * Tensors that we own: by `using`, by `release`, or by leaving the `scope` they were made in. tfjs does not see them,
 * so
 * neither its tape nor its tidy keeps or frees them.
 */
import { InputError } from '../errors';
import { binding, toTfjs, type TensorMetadata, type tf } from '../tf';
import { timed } from './profile';

/** Handles made in the scopes now open, innermost last. */
const scopes: Set<Handle>[] = [];

let bytes = 0;

/** Bytes of what lives until it is disposed of or forgotten: models' weights and what optimizers remember of them. */
export const longLivedBytes = (): number => bytes;

/** Frees what was forgotten. */
const forgotten = new FinalizationRegistry<{ id: number; size: number }>(({ id, size }) => {
  bytes -= size;
  binding.deleteTensor(id);
});

/** A tensor in TensorFlow: its number, shape and dtype. */
export class Handle implements Disposable {
  readonly id: number;
  readonly shape: readonly number[];
  readonly dtype: number;
  #live = true;
  /** In bytes, of what is to be freed with the last reference to it. */
  #size: number | undefined;

  constructor({ id, shape, dtype }: TensorMetadata) {
    this.id = id;
    this.shape = shape;
    this.dtype = dtype;
    scopes.at(-1)?.add(this);
  }

  /**
   * The number, for an operation.
   *
   * @throws InputError if the tensor has been freed.
   */
  used(): number {
    if (!this.#live)
      throw new InputError(
        'a model, or a part of it, is used after it was disposed of: load it again, or dispose of it later',
      );
    return this.id;
  }

  /** Frees the tensor; a second call does nothing. */
  [Symbol.dispose](): void {
    if (!this.#live) return;
    this.#live = false;
    if (this.#size !== undefined) {
      bytes -= this.#size;
      forgotten.unregister(this);
    }
    binding.deleteTensor(this.id);
    for (const scope of scopes) scope.delete(this);
  }

  /**
   * For what lives as long as a model, of `size` bytes: it is freed with the last reference to it, too, if nobody
   * disposes of it before.
   */
  freedWhenForgotten(size: number): this {
    this.#size = size;
    bytes += size;
    forgotten.register(this, { id: this.id, size }, this);
    return this;
  }

  /** Copies the values out, in row-major order. */
  values(): Float32Array | Int32Array {
    return timed('read', () => binding.tensorDataSync(this.id));
  }

  /** Gives the tensor away to tfjs, which owns it from now on. */
  toTensor(): tf.Tensor {
    this.#live = false;
    for (const scope of scopes) scope.delete(this);
    return toTfjs({ id: this.id, shape: [...this.shape], dtype: this.dtype });
  }
}

/** Handles in any arrangement of arrays, maps and objects. */
export type Handles = Handle | readonly Handles[] | ReadonlyMap<string, Handle> | { readonly [name: string]: Handles };

const parts = (item: object): Iterable<unknown> => (item instanceof Map ? item.values() : Object.values(item));

/** Frees every handle found in the arguments. */
export function release(...handles: readonly (Handles | undefined)[]): void {
  for (const item of handles) {
    if (item === undefined) continue;
    if (item instanceof Handle) item[Symbol.dispose]();
    else for (const part of parts(item) as Iterable<Handles>) release(part);
  }
}

function contained(item: unknown, found = new Set<Handle>()): Set<Handle> {
  if (item instanceof Handle) found.add(item);
  else if (typeof item === 'object' && item !== null && !ArrayBuffer.isView(item)) {
    for (const part of parts(item)) contained(part, found);
  }
  return found;
}

/** Runs `body` and frees every handle made in it, also when it throws, but for those in what it returns. */
export function scope<Result>(body: () => Result): Result {
  const made = new Set<Handle>();
  scopes.push(made);
  let kept = new Set<Handle>();
  try {
    const result = body();
    kept = contained(result);
    return result;
  } finally {
    scopes.pop();
    for (const handle of [...made]) {
      if (kept.has(handle)) scopes.at(-1)?.add(handle);
      else handle[Symbol.dispose]();
    }
  }
}

/** Runs `body` as if no scope were open: what it makes belongs to none. */
export function outsideScopes<Result>(body: () => Result): Result {
  const open = scopes.splice(0);
  try {
    return body();
  } finally {
    for (const scope of open) scopes.push(scope);
  }
}
