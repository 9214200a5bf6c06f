/** Reports what is installed, which device computes, what is missing, and how to get it. */
import { embeddedModel } from './hub/modelFolder';
import {
  computePolicy,
  device,
  deviceName,
  hasAvx512,
  hasVectorOperations,
  nvidiaDriver,
  operations,
  setupCommand,
  tf,
} from './tf';

export interface Diagnosis {
  /** Lines of [part, its state]. */
  readonly lines: readonly (readonly [string, string])[];
  /** Whether everything works as it was set up. */
  readonly healthy: boolean;
}

/** Examines the machine, and computes one matrix product on its device. */
export function diagnose(): Diagnosis {
  const { name, build, tensorflow } = device();
  const product = tf.tidy(
    () =>
      tf
        .matMul(tf.ones([64, 64]), tf.ones([64, 64]))
        .sum()
        .dataSync()[0],
  );
  const computes = product === 64 ** 3;
  const tiny = tinyModel();
  return {
    healthy: computes && tiny.found && !(build === 'cuda' && name === 'cpu'),
    lines: [
      ['node', `${process.version} on ${process.platform} ${process.arch}`],
      ['tensorflow', `${tensorflow}, ${build === null ? 'not built by this set-up' : `${build.toUpperCase()} build`}`],
      ['device', deviceLine(name, build)],
      [
        'products',
        computePolicy === 'fp32'
          ? 'fp32; ALIGNBOOK_COMPUTE chooses tf32 or bf16'
          : `${computePolicy}, by ALIGNBOOK_COMPUTE`,
      ],
      ['operations', operationsLine(name)],
      ['arithmetic', computes ? 'a matrix product came out right' : `a matrix product came out wrong (${product})`],
      ['model tiny', tiny.text],
    ],
  };
}

function deviceLine(name: 'cpu' | 'gpu', build: 'cpu' | 'cuda' | null): string {
  if (name === 'gpu') return deviceName();
  const driver = nvidiaDriver();
  if (build === 'cuda') {
    const reason =
      driver === null
        ? 'no NVIDIA driver answers'
        : `TensorFlow does not use the ${driver}; TF_CPP_MIN_LOG_LEVEL=0 shows why`;
    return `CUDA build, no device: computing on the CPU. ${reason}`;
  }
  const cpu = deviceName();
  const setup = setupCommand.startsWith('npm ') ? `${setupCommand} -- --cuda` : `${setupCommand} --cuda`;
  return driver === null
    ? `${cpu}; on a machine with an NVIDIA GPU: ${setup}`
    : `${cpu}; to use the ${driver}: ${setup}`;
}

function operationsLine(name: 'cpu' | 'gpu'): string {
  if (operations === 'tensorflow') return "TensorFlow's alone, by ALIGNBOOK_OPERATIONS";
  if (hasVectorOperations) return `this project's own, for ${hasAvx512 ? 'AVX512' : 'AVX2'}, beside TensorFlow's`;
  return `TensorFlow's; this project's own need ${name === 'gpu' ? 'a CPU' : 'an x86 processor with AVX2, on Linux'}`;
}

function tinyModel(): { found: boolean; text: string } {
  try {
    return { found: true, text: embeddedModel() };
  } catch (error) {
    return { found: false, text: (error as Error).message };
  }
}
