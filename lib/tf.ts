/** The only import of the TensorFlow binding. Everything else in the library takes `tf` from here. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import util from 'node:util';

import { SetupError } from './errors';

/** Settings that TensorFlow reads once, when it is loaded; what the user has set stays. */
const environment = {
  TF_CPP_MIN_LOG_LEVEL: '2', // errors only
  TF_FORCE_GPU_ALLOW_GROWTH: 'true', // else TensorFlow takes the whole GPU at once
  NVIDIA_TF32_OVERRIDE: '0', // float32 means float32: from Ampere on, TF32 is TensorFlow's default
};

/** tfjs-node 4.22 calls helpers that Node 22 warns of, on stderr, and Node 23 removed (tfjs issue #8609). */
const formerHelpers = {
  isArray: Array.isArray,
  isNullOrUndefined: (x: unknown) => x === null || x === undefined,
  isString: (x: unknown) => typeof x === 'string',
};

function addonFolder(): string {
  return join(dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json')), 'lib', 'napi-v8');
}

function prepare(): void {
  for (const [name, value] of Object.entries(environment)) process.env[name] ??= value;
  Object.assign(util, formerHelpers);
  if (!existsSync(join(addonFolder(), 'tfjs_binding.node'))) {
    throw new SetupError('the TensorFlow addon is not built; run "npm run setup"');
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
  readonly TF_ATTR_INT: number;
  readonly TF_ATTR_SHAPE: number;
  readonly TF_ATTR_STRING: number;
  readonly TF_ATTR_TYPE: number;
  readonly TF_Version: string;
  createTensor(shape: readonly number[], dtype: number, values: Float32Array | Int32Array): number;
  deleteTensor(id: number): void;
  tensorDataSync(id: number): Float32Array | Int32Array;
  executeOp(name: string, attributes: readonly OpAttribute[], inputs: readonly number[], outputs: number): TensorMetadata[];
  getNumOfTensors(): number;
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

/** Hands a raw tensor over to tfjs, which owns it from then on (tidy, dispose, memory). */
export function toTfjs(metadata: TensorMetadata): tf.Tensor {
  return backend.createOutputTensor(metadata);
}

/** The number under which TensorFlow knows a tfjs tensor; the tensor keeps owning it. */
export function tensorId(tensor: tf.Tensor): number {
  return backend.getInputTensorIds([tensor])[0]!;
}

/** Where TensorFlow computes, and what the installed build could use. */
export interface Device {
  readonly name: 'cpu' | 'gpu';
  /** Null where the addon was not built by this project's set-up. */
  readonly build: 'cpu' | 'cuda' | null;
  /** TensorFlow's version, such as "2.21.0". */
  readonly tensorflow: string;
}

export function device(): Device {
  const record = join(addonFolder(), 'build.json'); // written by set-up beside the addon
  const build = existsSync(record) ? (JSON.parse(readFileSync(record, 'utf8')) as { build: 'cpu' | 'cuda' }).build : null;
  return { name: binding.isUsingGpuDevice() ? 'gpu' : 'cpu', build, tensorflow: binding.TF_Version };
}

/** Live tensors in TensorFlow, of tfjs and of raw ops alike: flat across calls wherever nothing leaks. */
export function liveTensors(): number {
  return binding.getNumOfTensors();
}
