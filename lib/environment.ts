/** Environment variables that TensorFlow reads once, when it is loaded; values set by the user stay. */
import { totalmem } from 'node:os';

const SETTINGS: Readonly<Record<string, string>> = {
  TF_CPP_MIN_LOG_LEVEL: '2', // errors only
  TF_FORCE_GPU_ALLOW_GROWTH: 'true', // else TensorFlow takes the whole GPU at once
  // oneDNN's products on every x86 processor. By default TensorFlow uses them only with AVX512_VNNI; its other kernels
  // take 1.5 times as long for the product with a transposed matrix, which is half of a backward pass, and several
  // times as long for few rows times the head.
  TF_ENABLE_ONEDNN_OPTS: '1',
  // Memory freed by one tensor is reused by the next. malloc would return large blocks to the system and get new ones
  // page by page.
  TF_CPU_ALLOCATOR_USE_BFC: 'true',
  TF_CPU_BFC_MEM_LIMIT_IN_MB: `${Math.ceil(totalmem() / 2 ** 20)}`,
};

export function setEnvironment(): void {
  for (const [name, value] of Object.entries(SETTINGS)) process.env[name] ??= value;
}
