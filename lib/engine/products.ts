/**
 * Matrix products, and the form in which they read matrices. Where the policy `bf16` rounds (`bfloat16By` in tf.ts), a
 * product reads both factors in bfloat16, and rounds its result too. The bits do not depend on how often a matrix is
 * rounded, so `asFactor` rounds one that several products read once; and what is kept for the backward, and read by
 * products only, is kept rounded, in half the memory. A rounded weight belongs to a forward pass and never to the
 * model, so that no update leaves a stale one.
 */
import { bfloat16By, binding, hasAvx512, hasVectorOperations } from '../tf';
import { bool, op, type } from './call';
import { scope, scoped, type Handle } from './handle';
import {
  biasAdd,
  concat,
  constantEmpty,
  fill,
  inBfloat16,
  inFloat32,
  isBfloat16,
  reshape,
  slice,
  sumRows,
  TF_BFLOAT16,
} from './ops';

/** A matrix as products read it: rounded to bfloat16 where they round, otherwise itself. */
export const asFactor = (x: Handle): Handle => (bfloat16By === 'rounding' ? inBfloat16(x) : x);

/** The type of what `asFactor` makes, for operations that can make it themselves. */
export const factorType = bfloat16By === 'rounding' ? TF_BFLOAT16 : binding.TF_FLOAT;

/**
 * A weight as products read it, and what to keep of it for the backward: the same where it was rounded; otherwise
 * nothing, and the backward reads the weight again.
 */
export function weightFactor(weight: Handle): { factor: Handle; kept: { readonly weight?: Handle } } {
  const factor = asFactor(weight);
  return { factor, kept: factor === weight ? {} : { weight: factor } };
}

interface ProductOptions {
  transposeX?: boolean;
  transposeY?: boolean;
  /** Leave the result as products read it, and as they round it. Default: in float32. */
  asFactor?: boolean;
}

interface MatrixOptions extends ProductOptions {
  /** Columns of the result, where y has a padded stride (see `padStride`). */
  columns?: number;
  /** A vector [N] to add to every row of the product; not for a result `asFactor`. */
  bias?: Handle;
}

/**
 * Matrix product of two matrices. In float32 this is mostly the MatMul kernel (`formOf`): tf.matMul runs BatchMatMulV2,
 * which on processors without AVX512 reaches less than half of its speed on the shapes of GPT-2. With AMX, however,
 * BatchMatMulV2 is what oneDNN computes in bfloat16.
 *
 * @param x float32, or what `asFactor` made of it.
 * @param y the same, or bfloat16 where a model's blocks are held so: where products do not round, it is cast for this
 *   product, which is then that of the rounded values in float32.
 */
export function matmul(x: Handle, y: Handle, options: MatrixOptions = {}): Handle {
  if (isOfFewRows(x, y, options)) return ofFewRows(x, y, options);
  const { bias } = options;
  return bias ? scope(() => biasAdd(ofManyRows(x, y, options), bias)) : ofManyRows(x, y, options);
}

function ofManyRows(x: Handle, y: Handle, options: MatrixOptions): Handle {
  if (bfloat16By === 'rounding') return rounded(matmulOf, x, y, options);
  if (isBfloat16(y)) return scope(() => ofManyRows(x, inFloat32(y), options));
  if (bfloat16By === 'oneDNN') return batchMatmulOf(x, y, options);
  const { columns = y.shape[1]! } = options;
  if (columns < y.shape[1]!) return firstColumns(x, y, columns);
  return inForm[isPlain() ? formOf(x.shape[0]!, y.shape, options, hasAvx512) : 'plain'](x, y, options);
}

/** Matrix products over the last two axes. */
export function batchMatmul(x: Handle, y: Handle, options: ProductOptions = {}): Handle {
  return bfloat16By === 'rounding' ? rounded(batchMatmulOf, x, y, options) : batchMatmulOf(x, y, options);
}

function matmulOf(x: Handle, y: Handle, { transposeX = false, transposeY = false }: ProductOptions): Handle {
  return op('MatMul', [bool('transpose_a', transposeX), bool('transpose_b', transposeY)], x, y);
}

function batchMatmulOf(x: Handle, y: Handle, { transposeX = false, transposeY = false }: ProductOptions): Handle {
  return op('BatchMatMulV2', [bool('adj_x', transposeX), bool('adj_y', transposeY)], x, y);
}

/** The product of two matrices in bfloat16; those that are not yet are rounded for this product. */
const rounded = scoped((product: typeof matmulOf, x: Handle, y: Handle, options: ProductOptions): Handle => {
  const result = scope(() => product(inBfloat16(x), inBfloat16(y), options));
  return options.asFactor ? result : inFloat32(result);
});

// --- a few rows on a CPU: as fast as the matrix is read ---

/**
 * Up to this many rows a product of few rows is faster than MatMul, as measured on an AMD EPYC with AVX512_BF16, in
 * float32 and bfloat16, with the kernels for AVX512 and for AVX2.
 */
const MOST_ROWS = 12;

function isOfFewRows(x: Handle, y: Handle, { transposeX, columns = y.shape[1]! }: MatrixOptions): boolean {
  if (!hasVectorOperations || bfloat16By === 'oneDNN') return false;
  return !transposeX && x.shape[0]! <= MOST_ROWS && columns === y.shape[1];
}

/**
 * The product by this project's own operation (scripts/setup/operations/few_rows.cc), whose sums are float32. Where
 * products round, it rounds both factors, as others do, but not a result that is wanted in float32.
 */
function ofFewRows(x: Handle, y: Handle, options: MatrixOptions): Handle {
  const { transposeY = false, asFactor: isFactor = false, bias = constantEmpty() } = options;
  const attributes = [
    bool('transpose_y', transposeY),
    bool('wide', hasAvx512),
    type('Tproduct', isFactor ? factorType : binding.TF_FLOAT),
  ];
  return scope(() => op('AlignbookFewRows', attributes, asFactor(x), asFactor(y), bias));
}

// --- float32 on a CPU: matrices that oneDNN reads slowly ---

/** Whether products are oneDNN's own in float32, for which the following is worth its while. */
const isPlain = (): boolean => bfloat16By === null && !binding.isUsingGpuDevice();

/** How a product is computed: by MatMul as it is; by BatchMatMulV2; in parts; or with a padded copy of y. */
export type Form = 'plain' | 'batch' | 'parts' | 'padded';

/** From this many numbers on, reading a float32 matrix takes as long as multiplying it by a few rows. */
const LARGE = 2 ** 19;
const PARTS = 4;

/**
 * The fastest form of x y, as measured on two processors: an AMD EPYC with AVX2, and one with AVX512_BF16.
 * BatchMatMulV2 calls oneDNN's newer kernels. They read a transposed y faster than MatMul's older ones, but multiply as
 * fast only with AVX512. With AVX512 the older kernels are slow only with a transposed y.
 *
 * @param M the rows of x.
 * @param shape that of y, before it is transposed.
 */
export function formOf(
  M: number,
  [rows, columns]: readonly number[],
  { transposeX, transposeY }: ProductOptions,
  avx512: boolean,
): Form {
  const isLarge = rows! * columns! >= LARGE;
  if (avx512) return transposeY && !transposeX && M >= 4 && isLarge ? 'batch' : 'plain';
  if (transposeX || transposeY) return 'plain';
  if (M === 1 && isLarge && rows! % PARTS === 0) return 'parts';
  return areRowsInFewSets(columns!) && isWorthPadding(M, columns!) ? 'padded' : 'plain';
}

/** The product in each form; 'parts' and 'padded' for factors that are not transposed, 'parts' for a single row. */
export const inForm: Readonly<Record<Form, (x: Handle, y: Handle, options: ProductOptions) => Handle>> = {
  plain: matmulOf,
  batch: batchMatmulOf,
  parts: rowInParts,
  padded: (x, y) => scope(() => firstColumns(x, padStride(y), y.shape[1]!)),
};

/** The first columns of a matrix product. */
function firstColumns(x: Handle, y: Handle, columns: number): Handle {
  return scope(() => slice(matmulOf(x, y, {}), [0, 0], [-1, columns]));
}

/**
 * The product of a single row, as the sum of the products of its parts: a batch, which all cores read at once. oneDNN
 * would divide the columns of y instead, and with AVX2 read the memory more slowly.
 */
function rowInParts(x: Handle, y: Handle): Handle {
  const [K, N] = y.shape as [number, number];
  return scope(
    () => sumRows(batchMatmulOf(reshape(x, [PARTS, 1, K / PARTS]), reshape(y, [PARTS, K / PARTS, N]), {})), // [1, N]
  );
}

/** Columns by which `padStride` widens a matrix: one cache line. */
const STRIDE_PADDING = 16;
/** Addresses this many bytes apart share a set of the processor's L1 cache. */
const PAGE = 4096;

/**
 * Whether a column of a float32 matrix falls into a few sets of the L1 cache, as in GPT-2's c_fc: where x has few rows,
 * oneDNN reads y in place, down its columns, and with AVX2 then takes twice as long.
 */
const areRowsInFewSets = (columns: number): boolean => (4 * columns) % PAGE === 0;

/** Whether a right factor y [K, N] that is read many times is worth a copy by `padStride`. */
export const isWorthPaddedCopy = (y: Handle): boolean =>
  !hasAvx512 && isPlain() && !isBfloat16(y) && areRowsInFewSets(y.shape[1]!);

/** The matrix with some columns of zeros appended; give `matmul` the option `columns` with it. */
export const padStride = scoped((y: Handle): Handle => concat([y, fill([y.shape[0]!, STRIDE_PADDING], 0)], 1));

/**
 * Whether it pays to `padStride` y for a single product: a copy takes as long as 40 rows save, and from some 290 rows
 * on (of 3072 columns) oneDNN copies y itself. oneDNN's rule, `nocopy_checker_avx2`: 1 / M + 1 / N below 0.0038.
 */
const isWorthPadding = (M: number, N: number): boolean => M >= 64 && 1 / M + 1 / N >= 0.0038;
