/**
 * Tensors with an owner: they are freed by `using`, by `release`, or by leaving the `scope` they were made in. tfjs
 * does not see them, so neither its tape nor its tidy keeps or frees them.
 */
import { InputError } from '../errors';
import { binding, toTfjs, type TensorMetadata, type tf } from '../tf';
import { timed } from './profile';

/** Handles made in the scopes now open, innermost last. */
const scopes: Set<Handle>[] = [];

let bytes = 0;

/** Bytes of the tensors that JavaScript's garbage collector may free: models' weights and optimizers' moments. */
export const garbageCollectedBytes = (): number => bytes;

const collected = new FinalizationRegistry<{ id: number; size: number }>(({ id, size }) => {
  bytes -= size;
  binding.deleteTensor(id);
});

/** A tensor in TensorFlow: its id, shape and dtype. */
export class Handle implements Disposable {
  readonly id: number;
  readonly shape: readonly number[];
  readonly dtype: number;
  #live = true;
  /** In bytes, where `freeWhenCollected` was called. */
  #size: number | undefined;
  #whenFreed: (() => void) | undefined;

  constructor({ id, shape, dtype }: TensorMetadata) {
    this.id = id;
    this.shape = shape;
    this.dtype = dtype;
    scopes.at(-1)?.add(this);
  }

  /**
   * The id, as the input of an operation.
   *
   * @throws InputError if the tensor has been freed.
   */
  used(): number {
    if (!this.#live)
      throw new InputError(
        'a model, or a part of it, is used after it was disposed of; load it again, or dispose of it later',
      );
    return this.id;
  }

  /** Frees the tensor; a second call does nothing. */
  [Symbol.dispose](): void {
    if (!this.#live) return;
    this.#live = false;
    if (this.#size !== undefined) {
      bytes -= this.#size;
      collected.unregister(this);
    }
    binding.deleteTensor(this.id);
    for (const scope of scopes) scope.delete(this);
    this.#whenFreed?.();
  }

  /** Calls back when the tensor is freed; never if it is given to tfjs. */
  whenFreed(callback: () => void): this {
    this.#whenFreed = callback;
    return this;
  }

  /**
   * For tensors that live as long as a model: if nobody disposes of this one, it is freed when JavaScript's garbage
   * collector finds that nothing refers to it any more.
   *
   * @param size in bytes.
   */
  freeWhenCollected(size: number): this {
    this.#size = size;
    bytes += size;
    collected.register(this, { id: this.id, size }, this);
    return this;
  }

  /** A copy of the values, in row-major order. */
  values(): Float32Array | Int32Array {
    return timed('read', () => binding.tensorDataSync(this.id));
  }

  /** Gives the tensor to tfjs, which owns it from now on. */
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

/** The handles found in any arrangement, in its order, each once. */
export function contained(item: unknown, found = new Set<Handle>()): Set<Handle> {
  if (item instanceof Handle) found.add(item);
  else if (typeof item === 'object' && item !== null && !ArrayBuffer.isView(item)) {
    for (const part of parts(item)) contained(part, found);
  }
  return found;
}

/**
 * Runs `body` and frees every handle made in it, also when it throws, except those found in its result. These then
 * belong to the enclosing scope, or to the caller if there is none.
 */
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

/** A function whose every call runs in a scope of its own: its formulas can be written as expressions. */
export const scoped =
  <Args extends readonly unknown[], Result>(body: (...args: Args) => Result) =>
  (...args: Args): Result =>
    scope(() => body(...args));

/** Runs `body` as if no scope were open: the handles made in it belong to none. */
export function outsideScopes<Result>(body: () => Result): Result {
  const open = scopes.splice(0);
  try {
    return body();
  } finally {
    for (const scope of open) scopes.push(scope);
  }
}

/**
 * The innermost open scope, for results that must outlive the scopes opened inside it, such as a weight that one layer
 * reads and another reads again. `adopt` takes handles out of those inner scopes and into this one.
 */
export function currentScope(): { adopt<Result>(item: Result): Result } {
  const owner = scopes.at(-1);
  return {
    adopt(item) {
      for (const handle of contained(item)) {
        for (const scope of scopes) scope.delete(handle);
        owner?.add(handle);
      }
      return item;
    },
  };
}
