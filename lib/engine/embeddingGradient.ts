/**
 * The gradient of `wte.weight`, which is the head and the embedding at once: a product of few rows, and a few rows
 * added to it.
 */
import { Handle, release } from './handle';
import { addRows, gather, ints, l2, matmul, mul, reshape, scalar, segmentSum, sumLast } from './ops';

/**
 * The head's share, dLogits' hidden [V, C]: as that, or as its factors where they are much smaller. They are [M, V] and
 * [M, C], for
 * M scored tokens: of four short pairs a seventh of the product's size, which would be the largest tensor of a training
 * step.
 */
export type HeadGradient = Handle | Factors;
type Factors = { readonly dLogits: Handle; readonly hidden: Handle };

/** The gradient of a weight, of `wte.weight` perhaps in parts. */
export type Gradient = Handle | InParts;
type InParts = Factors & {
  /** int32 [U], each once: the tokens that were read. */
  readonly ids: Handle;
  /** [U, C]: what comes on top at those. */
  readonly rows: Handle;
};

/** Leaves its arguments alone. */
export function headGradient(dLogits: Handle, hidden: Handle): HeadGradient {
  const [[M, V], [, C]] = [dLogits.shape, hidden.shape] as [[number, number], [number, number]];
  if (2 * M * (V + C) > V * C) return matmul(dLogits, hidden, { transposeX: true });
  const shared = (x: Handle) => reshape(x, x.shape); // the same memory, to be released by itself
  return { dLogits: shared(dLogits), hidden: shared(hidden) };
}

/** Adds the embedding's share, rows `dx` [N, C] at `ids` [N]; takes over `head`. */
export function embeddingGradient(head: HeadGradient, ids: Handle, dx: Handle): Gradient {
  if (head instanceof Handle) {
    using product = head;
    return addRows(product, ids, dx);
  }
  const numbers = new Map<number, number>();
  for (const id of ids.values()) if (!numbers.has(id)) numbers.set(id, numbers.size);
  using segments = ints(
    Int32Array.from(ids.values(), (id) => numbers.get(id)!),
    ids.shape,
  );
  const U = numbers.size;
  return { ...head, ids: ints(Int32Array.from(numbers.keys()), [U]), rows: segmentSum(dx, segments, U) };
}

/** The gradient times a factor, as one tensor; takes over `gradient`. */
export function multiplied(gradient: Gradient, factor = 1): Handle {
  if (factor === 1 && gradient instanceof Handle) return gradient;
  using scale = scalar(factor);
  if (gradient instanceof Handle) {
    using unscaled = gradient;
    return mul(unscaled, scale);
  }
  const { dLogits, hidden, ids, rows } = gradient;
  using scaledHidden = mul(hidden, scale); // the small ones
  using scaledRows = mul(rows, scale);
  using product = matmul(dLogits, scaledHidden, { transposeX: true });
  const sum = addRows(product, ids, scaledRows);
  release(gradient);
  return sum;
}

/**
 * The sum of the gradient's squares; |D'H + R|^2 is |D'H|^2 + 2 <D'H, R> + |R|^2, of which the first is <D D', H H'>.
 */
export function squares(gradient: Gradient): number {
  if (gradient instanceof Handle) return ownSquares(gradient);
  const { dLogits, hidden, ids, rows } = gradient;
  using logitProducts = matmul(dLogits, dLogits, { transposeY: true }); // [M, M]
  using hiddenProducts = matmul(hidden, hidden, { transposeY: true });
  using logitsAtIds = gather(dLogits, ids, 1); // [M, U]
  using hiddenByRows = matmul(hidden, rows, { transposeY: true });
  const sum = dot(logitProducts, hiddenProducts) + 2 * dot(logitsAtIds, hiddenByRows) + ownSquares(rows);
  return sum < 0 ? 0 : sum; // by rounding, where the shares cancel; NaN stays NaN
}

function ownSquares(x: Handle): number {
  using half = l2(x);
  return 2 * half.values()[0]!;
}

/** The sum of all products of two matrices' elements. */
function dot(x: Handle, y: Handle): number {
  using products = mul(x, y);
  using sums = sumLast(products);
  return (sums.values() as Float32Array).reduce((sum, value) => sum + value, 0);
}
