/**
 * Raw TensorFlow operations: they bypass tfjs's tape, which keeps every intermediate, and reach kernels that tfjs does
 * not. Every operation returns new handles, which the caller owns (see `handle.ts`), and frees none of its arguments.
 * Tensors are float32 unless stated otherwise.
 */
import { bfloat16By, binding, type OpAttribute } from '../tf';
import { Handle, outsideScopes, release, scope, scoped } from './handle';
import { timed } from './profile';

const { TF_FLOAT, TF_INT32 } = binding;
const TF_BFLOAT16 = 14; // tensorflow/core/framework/types.proto; tfjs has no name for it

/**
 * @param attributes without the types that TensorFlow infers from the inputs: each attribute costs a few microseconds.
 */
function execute(
  name: string,
  attributes: readonly OpAttribute[],
  inputs: readonly Handle[],
  outputs: number,
): Handle[] {
  const ids = inputs.map((input) => input.used());
  return timed(name, () => binding.executeOp(name, attributes, ids, outputs)).map((metadata) => new Handle(metadata));
}

function op(name: string, attributes: readonly OpAttribute[], ...inputs: readonly Handle[]): Handle {
  return execute(name, attributes, inputs, 1)[0]!;
}

const type = (name: string, value: number): OpAttribute => ({ name, type: binding.TF_ATTR_TYPE, value });
const bool = (name: string, value: boolean): OpAttribute => ({ name, type: binding.TF_ATTR_BOOL, value });
const int = (name: string, value: number): OpAttribute => ({ name, type: binding.TF_ATTR_INT, value });
const string = (name: string, value: string): OpAttribute => ({ name, type: binding.TF_ATTR_STRING, value });
const shapeOf = (name: string, value: readonly number[]): OpAttribute => ({ name, type: binding.TF_ATTR_SHAPE, value });

// --- making tensors ---

/** `values` must not be changed afterwards: TensorFlow may keep using its memory. */
export function floats(values: Float32Array, shape: readonly number[]): Handle {
  return new Handle({ id: binding.createTensor(shape, TF_FLOAT, values), shape: [...shape], dtype: TF_FLOAT });
}

/** int32; `values` must not be changed afterwards. */
export function ints(values: Int32Array, shape: readonly number[]): Handle {
  return new Handle({ id: binding.createTensor(shape, TF_INT32, values), shape: [...shape], dtype: TF_INT32 });
}

export const fill = (shape: readonly number[], value: number): Handle =>
  op('Fill', [], vector(shape), constantScalar(value));

/** A tensor whose values are not set. */
export const empty = (shape: readonly number[]): Handle => op('Empty', [type('dtype', TF_FLOAT)], vector(shape));

/** Constants (axes, shapes, scalars) are made once per process and kept; they belong to no scope. */
const constants = new Map<string, Handle>();

/** How many of `liveTensors` are such constants: about one for each shape used so far. */
export const constantCount = (): number => constants.size;

function constant(key: string, make: () => Handle): Handle {
  let handle = constants.get(key);
  if (handle === undefined) {
    handle = outsideScopes(make);
    constants.set(key, handle);
  }
  return handle;
}

/** A number that varies from call to call; use `constantScalar` for one fixed in the code. */
export const scalar = (value: number): Handle => floats(Float32Array.of(value), []);
export const constantScalar = (value: number): Handle => constant(`f${value}`, () => scalar(value));
const axis = (value: number): Handle => constant(`i${value}`, () => ints(Int32Array.of(value), []));
const vector = (values: readonly number[]): Handle =>
  constant(`v${values.join()}`, () => ints(Int32Array.from(values), [values.length]));

// --- elementwise, with broadcasting ---

const elementwise2 = (name: string) => (x: Handle, y: Handle) => op(name, [], x, y);
const elementwise1 = (name: string) => (x: Handle) => op(name, [], x);

export const add = elementwise2('AddV2');
export const sub = elementwise2('Sub');
export const mul = elementwise2('Mul');
export const squaredDifference = elementwise2('SquaredDifference');
export const square = elementwise1('Square');
export const sigmoid = elementwise1('Sigmoid');
export const rsqrt = elementwise1('Rsqrt');
export const erf = elementwise1('Erf');
export const exp = elementwise1('Exp');
export const relu = elementwise1('Relu');
/** dy where x is above 0. */
export const reluGradient = elementwise2('ReluGrad');
/** dy y (1 - y), the gradient of y = sigmoid(x). */
export const sigmoidGradient = elementwise2('SigmoidGrad');
/** Over the last axis. */
export const softmax = elementwise1('Softmax');

// --- reductions ---

const KEEP_DIMS = [bool('keep_dims', true)];

/** Over the last axis, which is kept with length 1. */
export const meanLast = (x: Handle): Handle => op('Mean', KEEP_DIMS, x, axis(-1));
export const sumLast = (x: Handle): Handle => op('Sum', KEEP_DIMS, x, axis(-1));
/** Over the rows of a matrix: [N, C] -> [C]. */
export const sumRows = (x: Handle): Handle => op('Sum', [], x, axis(0));

/** The index of the largest value in each row, the first among equals: [N, C] -> int32 [N]. */
export const argMaxLast = (x: Handle): Handle => op('ArgMax', [type('output_type', TF_INT32)], x, axis(-1));

/** Half the sum of all squares, a scalar. */
export const l2 = (x: Handle): Handle => op('L2Loss', [], x);

/** Sums the rows of `x` [N, C] by their segment, int32 [N] -> [count, C]. Rows with a negative segment are skipped. */
export const segmentSum = (x: Handle, segments: Handle, count: number): Handle =>
  op('UnsortedSegmentSum', [], x, segments, axis(count));

/**
 * Adds rows [N, C] to the rows of `x` [R, C] at the indices `places`, int32 [N], which may repeat. On the CPU this
 * works in place: `x` is changed, and the result shares its memory. On a GPU that kernel adds without atomics and would
 * lose some of the rows at repeated indices.
 */
export function addRows(x: Handle, places: Handle, rows: Handle): Handle {
  if (!binding.isUsingGpuDevice()) return op('InplaceAdd', [], x, places, rows);
  using sums = segmentSum(rows, places, x.shape[0]!);
  return add(x, sums);
}

/**
 * Overwrites the rows of `x` [R, C] at the indices `places`, int32 [N], each given once, with rows [N, C]. Works in
 * place: `x` is changed, and the result shares its memory.
 */
export const putRows = (x: Handle, places: Handle, rows: Handle): Handle => op('InplaceUpdate', [], x, places, rows);

// --- shape ---

export const reshape = (x: Handle, shape: readonly number[]): Handle => op('Reshape', [], x, vector(shape));

export const transpose = (x: Handle, permutation: readonly number[]): Handle =>
  op('Transpose', [], x, vector(permutation));

/** Equal parts along the first axis. */
export const split = (x: Handle, parts: number): Handle[] =>
  execute('Split', [int('num_split', parts)], [axis(0), x], parts);

export const concat = (parts: readonly Handle[], along: number): Handle =>
  op('ConcatV2', [int('N', parts.length), type('T', TF_FLOAT)], ...parts, axis(along));

/** The rows of `x` [R, …] at the indices int32 [N], or the same along another axis. */
export const gather = (x: Handle, indices: Handle, along = 0): Handle => op('GatherV2', [], x, indices, axis(along));

// --- products ---

interface Transposed {
  transposeX?: boolean;
  transposeY?: boolean;
}

interface Columns {
  /** Columns of the result, where y has a padded stride (see `padStride`). */
  columns?: number;
}

/**
 * Matrix product of two matrices. In float32 this is the MatMul kernel: tf.matMul runs BatchMatMulV2, which reaches
 * less than half of its speed on the shapes of GPT-2. With AMX, however, BatchMatMulV2 is what oneDNN computes in
 * bfloat16.
 */
export function matmul(x: Handle, y: Handle, options: Transposed & Columns = {}): Handle {
  if (bfloat16By === 'rounding') return rounded(matmulOf, x, y, options);
  if (bfloat16By === 'oneDNN') return batchMatmulOf(x, y, options);
  const { transposeX, transposeY, columns = y.shape[1]! } = options;
  if (columns < y.shape[1]!) return firstColumns(x, y, columns);
  if (transposeX || transposeY || !hasCacheConflicts(y) || !isWorthPadding(x.shape[0]!, columns))
    return matmulOf(x, y, options);
  return scope(() => firstColumns(x, padStride(y), columns));
}

/** The first columns of a matrix product. */
const firstColumns = scoped((x: Handle, y: Handle, columns: number): Handle =>
  op('Slice', [], matmulOf(x, y, {}), vector([0, 0]), vector([-1, columns])),
);

/** Columns by which `padStride` widens a matrix: one cache line. */
const STRIDE_PADDING = 16;
/** Addresses this many bytes apart share a set of the processor's L1 cache. */
const PAGE = 4096;

/**
 * Whether the rows of a right factor y [K, N] lie so that a column of it falls into a few sets of the L1 cache, as in
 * GPT-2's c_fc: where x has few rows, oneDNN reads y in place, down its columns, and then takes twice as long. (Only
 * for float32 on the CPU.)
 */
export const hasCacheConflicts = (y: Handle): boolean =>
  (4 * y.shape[1]!) % PAGE === 0 && bfloat16By === null && !binding.isUsingGpuDevice();

/** The matrix with some columns of zeros appended; give `matmul` the option `columns` with it. */
export const padStride = scoped((y: Handle): Handle => concat([y, fill([y.shape[0]!, STRIDE_PADDING], 0)], 1));

/**
 * Whether it pays to `padStride` y for a single product: a copy takes as long as 40 rows save, and from some 290 rows
 * on (of 3072 columns) oneDNN copies y itself. oneDNN's rule, `nocopy_checker_avx2`: 1 / M + 1 / N below 0.0038.
 */
const isWorthPadding = (M: number, N: number): boolean => M >= 64 && 1 / M + 1 / N >= 0.0038;

/** Matrix products over the last two axes. */
export function batchMatmul(x: Handle, y: Handle, options: Transposed = {}): Handle {
  return bfloat16By === 'rounding' ? rounded(batchMatmulOf, x, y, options) : batchMatmulOf(x, y, options);
}

const matmulOf = (x: Handle, y: Handle, { transposeX = false, transposeY = false }: Transposed): Handle =>
  op('MatMul', [bool('transpose_a', transposeX), bool('transpose_b', transposeY)], x, y);

const batchMatmulOf = (x: Handle, y: Handle, { transposeX = false, transposeY = false }: Transposed): Handle =>
  op('BatchMatMulV2', [bool('adj_x', transposeX), bool('adj_y', transposeY)], x, y);

/** The product of two matrices rounded to bfloat16, cast back to float32; y may be in bfloat16 already. */
const rounded = scoped((product: typeof matmulOf, x: Handle, y: Handle, options: Transposed): Handle => {
  const inBfloat16 = (matrix: Handle) => (matrix.dtype === TF_BFLOAT16 ? matrix : roundedMatrix(matrix));
  return cast(
    scope(() => product(inBfloat16(x), inBfloat16(y), options)),
    TF_FLOAT,
  );
});

/** A float32 matrix rounded to bfloat16: done once for many products where `bfloat16By` is 'rounding'. */
export const roundedMatrix = (x: Handle): Handle => cast(x, TF_BFLOAT16);

const cast = (x: Handle, to: number): Handle => op('Cast', [type('DstT', to)], x);

/** Adds a vector [C] to every row of `x` [N, C]. */
export const biasAdd = (x: Handle, bias: Handle): Handle => op('BiasAdd', [], x, bias);

/**
 * Cross-entropy of logits [N, V] against int32 labels [N]: the losses [N] in nats, and their gradient with respect to
 * the logits, softmax - onehot [N, V], in one pass.
 */
export const crossEntropy = (logits: Handle, labels: Handle): [losses: Handle, gradient: Handle] =>
  execute('SparseSoftmaxCrossEntropyWithLogits', [], [logits, labels], 2) as [Handle, Handle];

// --- variables ---

/**
 * TensorFlow's `ResourceHandle::ANONYMOUS_NAME`: under any other name, its resource manager would keep a variable after
 * the handle is gone.
 */
const ANONYMOUS = 'cd2c89b7-88b7-44c8-ad83-06c2a9158347';

/** A variable that TensorFlow's optimizers update in place; takes over `value`. */
export function variable(value: Handle): Handle {
  const made = op('VarHandleOp', [
    string('container', ''),
    string('shared_name', ANONYMOUS),
    type('dtype', TF_FLOAT),
    shapeOf('shape', value.shape),
  ]);
  const size = 4 * value.shape.reduce((product, length) => product * length, 1);
  assign(made, value);
  return made.freeWhenCollected(size);
}

/** Sets a variable to `value`, which is taken over. */
export function assign(x: Handle, value: Handle): void {
  execute('AssignVariableOp', [], [x, value], 0);
  release(value);
}

/** Subtracts `x` from a variable in place. Values read from it must have been released, or it is copied first. */
export function assignSub(variable: Handle, x: Handle): void {
  execute('AssignSubVariableOp', [], [variable, x], 0);
}

/** One step of Adam in place, in one pass (ResourceApplyAdam). `m` and `v` are variables too; the rest are scalars. */
export function applyAdam(x: Handle, m: Handle, v: Handle, scalars: AdamScalars, gradient: Handle): void {
  const { beta1Power, beta2Power, lr, beta1, beta2, epsilon } = scalars;
  const inputs = [x, m, v, beta1Power, beta2Power, lr, beta1, beta2, epsilon, gradient];
  execute('ResourceApplyAdam', [], inputs, 0);
}

export type AdamScalars = Record<'beta1Power' | 'beta2Power' | 'lr' | 'beta1' | 'beta2' | 'epsilon', Handle>;

/** The variable's current value (not a copy until the variable is next written to). */
export const readVariable = (x: Handle): Handle => op('ReadVariableOp', [type('dtype', TF_FLOAT)], x);
