/** What TensorFlow reads from the environment once, when it is loaded; what the user has set stays. */
import { totalmem } from 'node:os';

const SETTINGS: Readonly<Record<string, string>> = {
  TF_CPP_MIN_LOG_LEVEL: '2', // errors only
  TF_FORCE_GPU_ALLOW_GROWTH: 'true', // else TensorFlow takes the whole GPU at once
  // oneDNN's products on every x86 processor. Of itself TensorFlow takes them where there is AVX512_VNNI; its other
  // ones need 1.5 times as
  // long for the product with a transposed matrix, of which half of a backward pass consists, and several times for few
  // rows by the head.
  TF_ENABLE_ONEDNN_OPTS: '1',
  // Memory that a tensor leaves is taken by the next ones. malloc gives large blocks back to the system, and takes
  // fresh ones page by page.
  TF_CPU_ALLOCATOR_USE_BFC: 'true',
  TF_CPU_BFC_MEM_LIMIT_IN_MB: `${Math.ceil(totalmem() / 2 ** 20)}`,
};

export function setTensorFlowUp(): void {
  for (const [name, value] of Object.entries(SETTINGS)) process.env[name] ??= value;
}
