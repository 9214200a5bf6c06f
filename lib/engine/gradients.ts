/** The gradient of a loss with respect to each weight that is trained. */
import { hasVectorOperations } from '../tf';
import { op } from './call';
import { Handle, release, scope, scoped } from './handle';
import {
  add,
  addRows,
  gather,
  inFloat32,
  ints,
  isBfloat16,
  l2,
  mul,
  reshape,
  scalar,
  segmentSum,
  sumLast,
} from './ops';
import { asFactor, matmul } from './products';

/**
 * Gradients by the names of `Weights.trained`, each of its weight's shape. Owns its tensors: dispose of it, or give it
 * to an optimizer.
 */
export class Gradients implements Disposable {
  readonly #byName: Map<string, Gradient>;
  /** Clipping's factor. Each gradient is multiplied when it is taken, while it is in the processor's cache. */
  #factor = 1;

  constructor(byName: Map<string, Gradient>) {
    this.#byName = byName;
  }

  get names(): string[] {
    return [...this.#byName.keys()];
  }

  /** A copy of one gradient's values, in row-major order. */
  values(name: string): Float32Array {
    const gradient = multiplied(this.#get(name)); // one kept in factors is a single tensor from now on
    this.#byName.set(name, gradient);
    const values = scope(() => inFloat32(gradient).values() as Float32Array);
    return this.#factor === 1 ? values : values.map((value) => value * this.#factor);
  }

  /** Gives one gradient to the caller, in float32. */
  take(name: string): Handle {
    const { gradient, factor } = this.takeUnscaled(name);
    const scaled = multiplied(gradient, factor);
    if (!isBfloat16(scaled)) return scaled;
    using half = scaled;
    return inFloat32(half);
  }

  /** The same, to a caller who multiplies by clipping's factor, and takes bfloat16, too. */
  takeUnscaled(name: string): { gradient: Handle; factor: number } {
    const gradient = this.#get(name);
    this.#byName.delete(name);
    if (gradient instanceof Handle) return { gradient, factor: this.#factor };
    return { gradient: multiplied(gradient, this.#factor), factor: 1 }; // cheaper while it is in factors
  }

  #get(name: string): Gradient {
    const gradient = this.#byName.get(name);
    if (gradient === undefined) throw new RangeError(`there is no gradient of "${name}"`);
    return gradient;
  }

  /** Adds other gradients of the same weights, as accumulation over several batches needs, and disposes of them. */
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
   * If the norm is above `maxNorm`, scales all gradients by maxNorm / (norm + 1e-6), as torch.nn.utils.clip_grad_norm_
   * does.
   *
   * @returns the norm before clipping.
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

/**
 * The gradient of one weight: in float32, or in bfloat16 where that is what its product was rounded to, in half the
 * memory. That of `wte.weight`, which is the head and the embedding at once, may be in factors.
 */
export type Gradient = Handle | Factored;

/**
 * The head's part of the gradient of `wte.weight`, dLogits' hidden [V, C]: as one tensor, or as its factors where they
 * are much smaller. For M scored tokens these are [M, V] and [M, C]: for four short pairs a seventh of the product,
 * which would be the largest tensor of a training step.
 */
export type HeadGradient = Handle | Factors;
type Factors = { readonly dLogits: Handle; readonly hidden: Handle };

/** dLogits' hidden, with the embedding's rows added. */
type Factored = Factors & {
  /** int32 [U]: the distinct tokens that the embedding read. */
  readonly ids: Handle;
  /** [U, C]: the embedding's gradient in their rows. */
  readonly rows: Handle;
};

/**
 * Takes over none of its arguments.
 *
 * @param factor dLogits as products read it (`asFactor`).
 */
export function headGradient(dLogits: Handle, hidden: Handle, factor = dLogits): HeadGradient {
  const [[M, V], [, C]] = [dLogits.shape, hidden.shape] as [[number, number], [number, number]];
  if (2 * M * (V + C) > V * C) return matmul(factor, hidden, { transposeX: true });
  const alias = (x: Handle) => reshape(x, x.shape); // the same memory, with an owner of its own
  return { dLogits: alias(dLogits), hidden: alias(hidden) };
}

/** Adds the embedding's part, rows `dx` [N, C] at `ids` [N]; takes over `head`. */
export function embeddingGradient(head: HeadGradient, ids: Handle, dx: Handle): Gradient {
  if (head instanceof Handle) {
    using product = head;
    return addRows(product, ids, dx);
  }
  const indices = new Map<number, number>(); // id -> its index among the distinct ids
  for (const id of ids.values()) if (!indices.has(id)) indices.set(id, indices.size);
  using segments = ints(
    Int32Array.from(ids.values(), (id) => indices.get(id)!),
    ids.shape,
  );
  const U = indices.size;
  return { ...head, ids: ints(Int32Array.from(indices.keys()), [U]), rows: segmentSum(dx, segments, U) };
}

/** The gradient times a factor, as a single tensor; takes over `gradient`. */
export function multiplied(gradient: Gradient, factor = 1): Handle {
  if (factor === 1 && gradient instanceof Handle) return gradient;
  const result = scope(() => {
    const scale = scalar(factor);
    if (gradient instanceof Handle) return mul(inFloat32(gradient), scale);
    const { dLogits, hidden, ids, rows } = gradient;
    const scaledHidden = mul(hidden, scale); // scaling the small tensors is cheaper than scaling the product
    const scaledRows = mul(rows, scale);
    return addRows(matmul(dLogits, scaledHidden, { transposeX: true }), ids, scaledRows);
  });
  release(gradient);
  return result;
}

/**
 * The sum of the gradient's squares. For factors, |D'H + R|^2 = |D'H|^2 + 2 <D'H, R> + |R|^2, and the first term is
 * <D D', H H'>.
 */
export const squares = scoped((gradient: Gradient): number => {
  if (gradient instanceof Handle) return sumOfSquares(gradient);
  const { dLogits, hidden, ids, rows } = gradient;
  const [logitFactor, hiddenFactor] = [asFactor(dLogits), asFactor(hidden)];
  const logitProducts = matmul(logitFactor, logitFactor, { transposeY: true }); // [M, M]
  const hiddenProducts = matmul(hiddenFactor, hiddenFactor, { transposeY: true }); // [M, M]
  const logitsAtIds = gather(dLogits, ids, 1); // [M, U]
  const hiddenByRows = matmul(hiddenFactor, rows, { transposeY: true }); // [M, U]
  const sum = dot(logitProducts, hiddenProducts) + 2 * dot(logitsAtIds, hiddenByRows) + sumOfSquares(rows);
  return sum < 0 ? 0 : sum; // below 0 by rounding where the terms cancel; NaN stays NaN
});

const sumOfSquares = scoped((x: Handle): number =>
  hasVectorOperations ? op('AlignbookSumOfSquares', [], x).values()[0]! : 2 * l2(inFloat32(x)).values()[0]!,
);

/** The sum of the products of two matrices' elements. */
const dot = scoped((x: Handle, y: Handle): number =>
  (sumLast(mul(x, y)).values() as Float32Array).reduce((sum, value) => sum + value, 0),
);
