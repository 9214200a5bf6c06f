/**
 * Raw TensorFlow operations: they bypass tfjs's tape, which keeps every intermediate, and reach kernels that tfjs does
 * not. Every operation returns new handles, which the caller owns (see `handle.ts`), and frees none of its arguments.
 * Tensors are float32 unless stated otherwise.
 */
import { binding, hasVectorOperations } from '../tf';
import { bool, execute, int, op, shapeOf, string, type } from './call';
import { Handle, outsideScopes, release } from './handle';

const { TF_FLOAT, TF_INT32 } = binding;
export const TF_BFLOAT16 = 14; // tensorflow/core/framework/types.proto; tfjs has no name for it

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

/** A tensor whose values are not set, float32 or bfloat16. */
export const empty = (shape: readonly number[], half = false): Handle =>
  op('Empty', [type('dtype', half ? TF_BFLOAT16 : TF_FLOAT)], vector(shape));

/** Constants (axes, shapes, scalars) are made once per process and kept; they belong to no scope. */
const constants = new Map<string, Handle>();

const constantHandles = new WeakSet<Handle>();
export const isConstant = (x: Handle): boolean => constantHandles.has(x);

/** How many of `liveTensors` are such constants: about one for each shape used so far. */
export const constantCount = (): number => constants.size;

function constant(key: string, make: () => Handle): Handle {
  let handle = constants.get(key);
  if (handle === undefined) {
    handle = outsideScopes(make);
    constants.set(key, handle);
    constantHandles.add(handle);
  }
  return handle;
}

/** A number that varies from call to call; `constantScalar` is for one fixed in the code. */
export const scalar = (value: number): Handle => floats(Float32Array.of(value), []);
export const constantScalar = (value: number): Handle => constant(`f${value}`, () => scalar(value));
/** A vector without numbers, in the place of one that there may be. */
export const constantEmpty = (): Handle => constant('empty', () => floats(new Float32Array(0), [0]));
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
/** Over the first axis: [N, C] -> [C]. */
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

export const reshape = (x: Handle, shape: readonly number[]): Handle => sharing(op('Reshape', [], x, vector(shape)), x);

export const transpose = (x: Handle, permutation: readonly number[]): Handle =>
  sharing(op('Transpose', [], x, vector(permutation)), x); // where it only moves axes of length 1

/** Equal parts along the first axis. */
export const split = (x: Handle, parts: number): Handle[] =>
  execute('Split', [int('num_split', parts)], [axis(0), x], parts).map((part) => sharing(part, x));

/** Of one type. */
export const concat = (parts: readonly Handle[], along: number): Handle =>
  op('ConcatV2', [int('N', parts.length), type('T', parts[0]!.dtype)], ...parts, axis(along));

/** From `begin` on, `size` long; -1 stands for everything that is left. */
export const slice = (x: Handle, begin: readonly number[], size: readonly number[]): Handle =>
  sharing(op('Slice', [], x, vector(begin), vector(size)), x);

/** The rows of `x` [R, …] at the indices int32 [N], or the same along another axis. */
export const gather = (x: Handle, indices: Handle, along = 0): Handle => op('GatherV2', [], x, indices, axis(along));

// --- bfloat16 ---

export const isBfloat16 = (x: Handle): boolean => x.dtype === TF_BFLOAT16;

/** Rounded to bfloat16, to the nearest, ties to even. */
export const inBfloat16 = (x: Handle): Handle => (isBfloat16(x) ? x : cast(x, TF_BFLOAT16));

/** The tensor itself, or a bfloat16 one in float32, which holds every bfloat16 exactly. */
export const inFloat32 = (x: Handle): Handle => (isBfloat16(x) ? cast(x, TF_FLOAT) : x);

const cast = (x: Handle, to: number): Handle =>
  hasVectorOperations ? op('AlignbookCast', [type('Ty', to)], x) : op('Cast', [type('DstT', to)], x);

// --- the ends of layers ---

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

/** The variables that hold bfloat16, which no optimizer here updates; the others hold float32. */
const halves = new WeakSet<Handle>();
export const isHalf = (variable: Handle): boolean => halves.has(variable);

/** A variable that TensorFlow's optimizers update in place; takes over `value`, float32 or bfloat16. */
export function variable(value: Handle): Handle {
  const made = op('VarHandleOp', [
    string('container', ''),
    string('shared_name', ANONYMOUS),
    type('dtype', value.dtype),
    shapeOf('shape', value.shape),
  ]);
  if (isBfloat16(value)) halves.add(made);
  const size = (isHalf(made) ? 2 : 4) * value.shape.reduce((product, length) => product * length, 1);
  assign(made, value);
  return made.freeWhenCollected(size);
}

/**
 * The variables whose memory was allocated by an operation that updated them in place: before its first update, that of
 * a variable may be an array of JavaScript, or another tensor's.
 */
const allocated = new WeakSet<Handle>();

/** How many values that share the memory of a variable, because they were read from it, are not freed yet. */
const reads = new WeakMap<Handle, number>();

/** The variable with which a value shares its memory. */
const sources = new WeakMap<Handle, Handle>();

function countRead(variable: Handle, value: Handle): Handle {
  const count = (change: number) => reads.set(variable, (reads.get(variable) ?? 0) + change);
  count(1);
  sources.set(value, variable);
  return value.whenFreed(() => count(-1));
}

/** `value`, which may share its memory with `from`, and so with a variable from which that was read. */
function sharing(value: Handle, from: Handle): Handle {
  const source = sources.get(from);
  return source === undefined ? value : countRead(source, value);
}

/** Whether no other tensor, and no array, has the memory of this variable: it may be written to. */
export const isUnshared = (variable: Handle): boolean => allocated.has(variable) && (reads.get(variable) ?? 0) === 0;

/** Sets a variable to `value`, which is taken over, and rounded where the variable holds bfloat16. */
export function assign(x: Handle, value: Handle): void {
  allocated.delete(x);
  const source = sources.get(value);
  if (source !== undefined) allocated.delete(source); // the two share their memory until one is updated
  using held = isHalf(x) ? inBfloat16(value) : undefined;
  execute('AssignVariableOp', [], [x, held ?? value], 0);
  release(value);
}

/** Subtracts `x` from a variable in place. Values read from it must have been released, or it is copied first. */
export function assignSub(variable: Handle, x: Handle): void {
  execute('AssignSubVariableOp', [], [variable, x], 0);
}

/**
 * One step of Adam in place, in one pass (ResourceApplyAdam). `m` and `v` are variables too; the rest are scalars. A
 * variable whose memory others share gets its own.
 */
export function applyAdam(x: Handle, m: Handle, v: Handle, scalars: AdamScalars, gradient: Handle): void {
  const { beta1Power, beta2Power, lr, beta1, beta2, epsilon } = scalars;
  const inputs = [x, m, v, beta1Power, beta2Power, lr, beta1, beta2, epsilon, gradient];
  execute('ResourceApplyAdam', [], inputs, 0);
  for (const variable of [x, m, v]) allocated.add(variable);
}

export type AdamScalars = Record<'beta1Power' | 'beta2Power' | 'lr' | 'beta1' | 'beta2' | 'epsilon', Handle>;

/** The variable's current value (not a copy until the variable is next written to). */
export function readVariable(x: Handle): Handle {
  return countRead(x, op('ReadVariableOp', [type('dtype', isHalf(x) ? TF_BFLOAT16 : TF_FLOAT)], x));
}
