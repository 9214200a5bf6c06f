/** The only import of the TensorFlow binding: everything else in the library imports `tf` from here. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import util from 'node:util';

import { setEnvironment } from './environment';
import { InputError, plural, SetupError } from './errors';

/**
 * How matrix products are computed; everything else is always float32. ALIGNBOOK_COMPUTE chooses for the whole process,
 * because TensorFlow reads its settings only once.
 *
 * - `fp32`, the default: exact float32 products.
 * - `tf32`: on NVIDIA GPUs from Ampere on, products of 10-bit fractions, summed in float32. Elsewhere the same as fp32.
 * - `bf16`: products of bfloat16 numbers, 7-bit fractions, summed in float32; on a GPU, or a CPU with AVX512_BF16 or
 *   AMX.
 */
export type ComputePolicy = 'fp32' | 'tf32' | 'bf16';

/** The environment variables of TensorFlow's libraries for each policy. */
const POLICIES: Record<ComputePolicy, { NVIDIA_TF32_OVERRIDE?: string; TF_SET_ONEDNN_FPMATH_MODE?: string }> = {
  fp32: { NVIDIA_TF32_OVERRIDE: '0' }, // TF32 is TensorFlow's default
  tf32: {},
  bf16: { TF_SET_ONEDNN_FPMATH_MODE: 'BF16' },
};

export const computePolicy = policyOf(process.env.ALIGNBOOK_COMPUTE ?? 'fp32');

function policyOf(name: string): ComputePolicy {
  if (Object.hasOwn(POLICIES, name)) return name as ComputePolicy;
  throw new InputError(`ALIGNBOOK_COMPUTE is "${name}"; choose from ${Object.keys(POLICIES).join(', ')}`);
}

/** tfjs-node 4.22 calls helpers that Node 22 warns about on stderr and Node 23 removed (tfjs issue #8609). */
const formerHelpers = {
  isArray: Array.isArray,
  isNullOrUndefined: (x: unknown) => x === null || x === undefined,
  isString: (x: unknown) => typeof x === 'string',
};

/** What builds the addon: set-up comes with an installed package, and else with the repository. */
export const setupCommand = existsSync(join(__dirname, '..', 'setup')) ? 'npx alignbook setup' : 'npm run setup';

function addonFolder(): string {
  return join(dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json')), 'lib', 'napi-v8');
}

function prepare(): void {
  setEnvironment();
  for (const name of ['NVIDIA_TF32_OVERRIDE', 'TF_SET_ONEDNN_FPMATH_MODE'] as const) {
    const value = POLICIES[computePolicy][name];
    if (value === undefined)
      delete process.env[name]; // a leftover setting must not override the policy
    else process.env[name] = value;
  }
  Object.assign(util, formerHelpers);
  if (!existsSync(join(addonFolder(), 'tfjs_binding.node'))) {
    throw new SetupError(`the TensorFlow addon is not built; run "${setupCommand}"`);
  }
}

prepare(); // before the next line loads the addon
import tf = require('@tensorflow/tfjs-node-gpu');

export { tf };

/** The part of tfjs-node's backend that raw ops go through; tfjs declares it private. */
export interface Binding {
  readonly TF_FLOAT: number;
  readonly TF_INT32: number;
  readonly TF_ATTR_BOOL: number;
  readonly TF_ATTR_FLOAT: number;
  readonly TF_ATTR_INT: number;
  readonly TF_ATTR_SHAPE: number;
  readonly TF_ATTR_STRING: number;
  readonly TF_ATTR_TYPE: number;
  readonly TF_Version: string;
  createTensor(shape: readonly number[], dtype: number, values: Float32Array | Int32Array): number;
  deleteTensor(id: number): void;
  tensorDataSync(id: number): Float32Array | Int32Array;
  executeOp(
    name: string,
    attributes: readonly OpAttribute[],
    inputs: readonly number[],
    outputs: number,
  ): TensorMetadata[];
  getNumOfTensors(): number;
  /** @returns the id of a session. */
  loadSavedModel(folder: string, tag: string): number;
  /** @param inputs names of the inputs, and of the outputs, each with `:` and its index, separated by commas. */
  runSavedModel(session: number, ids: readonly number[], inputs: string, outputs: string): TensorMetadata[];
  isUsingGpuDevice(): boolean;
}

export interface OpAttribute {
  readonly name: string;
  readonly type: number;
  readonly value: boolean | number | string | readonly number[];
}

export interface TensorMetadata {
  readonly id: number;
  readonly shape: number[];
  readonly dtype: number;
}

interface Backend {
  readonly binding: Binding;
  createOutputTensor(metadata: TensorMetadata): tf.Tensor;
  getInputTensorIds(tensors: readonly tf.Tensor[]): number[];
}

const backend = tf.backend() as unknown as Backend;

export const binding = backend.binding;

/** Gives a raw tensor to tfjs, which owns it from then on (tidy, dispose, memory). */
export function toTfjs(metadata: TensorMetadata): tf.Tensor {
  return backend.createOutputTensor(metadata);
}

/** TensorFlow's id of a tfjs tensor, which still owns it. */
export function tensorId(tensor: tf.Tensor): number {
  return backend.getInputTensorIds([tensor])[0]!;
}

/**
 * Frees the tensors that tfjs's tape saved for a backward pass. After computing gradients tfjs does so itself, but not
 * when the function being differentiated throws (tfjs-core 4.22, `Engine.gradients`).
 */
export function freeTape(): void {
  const { state } = tf.engine() as unknown as {
    state: { gradientDepth: number; activeTape: { saved?: tf.Tensor[] }[] | null };
  };
  if (state.gradientDepth > 0) return; // the enclosing gradient needs it
  for (const { saved } of state.activeTape ?? []) if (saved) tf.dispose(saved);
  state.activeTape = null;
}

/** The features of the processor, as Linux names them; elsewhere none. */
export const processorFlags: ReadonlySet<string> = new Set(
  existsSync('/proc/cpuinfo') ? /^flags\b.*$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[0].split(/\s+/) : [],
);

/**
 * How float32 becomes bfloat16 under the `bf16` policy: 'oneDNN' converts inside its products where the CPU has AMX (it
 * reads TF_SET_ONEDNN_FPMATH_MODE); elsewhere 'rounding' rounds the factors first, for tensor cores or AVX512_BF16.
 * Null under the other policies.
 */
export const bfloat16By =
  computePolicy !== 'bf16'
    ? null
    : !binding.isUsingGpuDevice() && processorFlags.has('amx_bf16')
      ? 'oneDNN'
      : 'rounding';

/** Whether the processor has what oneDNN's kernels for AVX512 need. */
export const hasAvx512 = ['avx512f', 'avx512bw', 'avx512vl', 'avx512dq'].every((flag) => processorFlags.has(flag));

/** Where TensorFlow computes, and which build is installed. */
export interface Device {
  readonly name: 'cpu' | 'gpu';
  /** Null if this project's set-up did not build the addon. */
  readonly build: 'cpu' | 'cuda' | null;
  /** TensorFlow's version, such as "2.21.0". */
  readonly tensorflow: string;
}

interface BuildRecord {
  readonly build: 'cpu' | 'cuda';
  /** This project's own operations of TensorFlow in the addon. */
  readonly operations?: readonly string[];
}

/** Written by set-up beside the addon. */
function buildRecord(): BuildRecord | null {
  const record = join(addonFolder(), 'build.json');
  return existsSync(record) ? (JSON.parse(readFileSync(record, 'utf8')) as BuildRecord) : null;
}

export function device(): Device {
  const build = buildRecord()?.build ?? null;
  return { name: binding.isUsingGpuDevice() ? 'gpu' : 'cpu', build, tensorflow: binding.TF_Version };
}

/**
 * Whose operations compute, where there are both: this project's own, or TensorFlow's alone, for comparisons.
 * ALIGNBOOK_OPERATIONS chooses for the whole process.
 */
export const operations = process.env.ALIGNBOOK_OPERATIONS ?? 'own';

const OPERATIONS = ['own', 'tensorflow'];
if (!OPERATIONS.includes(operations))
  throw new InputError(`ALIGNBOOK_OPERATIONS is "${operations}"; choose from ${OPERATIONS.join(', ')}`);

/** Whether an operation of scripts/setup/operations is used; all of them are for CPUs. */
const hasOperation = (name: string): boolean =>
  operations === 'own' && !binding.isUsingGpuDevice() && Boolean(buildRecord()?.operations?.includes(name));

export const hasAdamW = hasOperation('AlignbookAdamW');

/** The operations that need an x86 processor with AVX2 and FMA, here one that Linux describes. */
const VECTOR_OPERATIONS = [
  'AlignbookAttendToPast',
  'AlignbookCast',
  'AlignbookFewRows',
  'AlignbookLayerNorm',
  'AlignbookLayerNormGradient',
  'AlignbookSigmoidGate',
  'AlignbookSigmoidGateGradient',
  'AlignbookSumOfSquares',
];

export const hasVectorOperations =
  ['avx2', 'fma'].every((flag) => processorFlags.has(flag)) && VECTOR_OPERATIONS.every(hasOperation);

/** What computes, such as "CPU (2 cores)" or "GPU (NVIDIA H200, 570.86.15)", the number being the driver's. */
export function deviceName(): string {
  if (device().name === 'cpu') return `CPU (${plural(cpus().length, 'core')})`;
  const driver = nvidiaDriver();
  return `GPU${driver === null ? '' : ` (${driver})`}`;
}

/** The first GPU that the NVIDIA driver lists, or null. */
export function nvidiaDriver(): string | null {
  const { status, stdout } = spawnSync('nvidia-smi', ['--query-gpu=name,driver_version', '--format=csv,noheader'], {
    encoding: 'utf8',
  });
  const first = status === 0 ? stdout.split('\n')[0]!.trim() : '';
  return first === '' ? null : first;
}

/** The number of live tensors in TensorFlow, both tfjs's and the engine's: constant across calls if nothing leaks. */
export function liveTensors(): number {
  return binding.getNumOfTensors();
}
