// @ts-check
/** Set-up's choices for each platform: TensorFlow's wheel, the names of its libraries, and the addon's flags. */
import { SetupError } from './run.mjs';

/** @typedef {{ name: string, tag: string, megabytes: number, sha256: string }} Wheel */

/**
 * @typedef {object} Platform
 * @property {Wheel} cpu
 * @property {Wheel} [cuda] Missing where TensorFlow has no build for CUDA.
 * @property {string[]} libraries TensorFlow's, as the wheel names them: the main one first.
 * @property {string} zigTarget The oldest system on which the wheel runs, so that the addon loads wherever it does.
 * @property {string} needs What the wheel needs of a machine.
 */

const LINUX_LIBRARIES = ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'];

/**
 * The wheels of TensorFlow 2.21.0 for CPython 3.11, whichever Python is installed: their Python code is not used, and
 * the libraries are the same in all wheels of a platform. Only for Linux on x64 is there a smaller one, tensorflow-cpu.
 * @public for its test
 * @type {Readonly<Record<string, Platform>>}
 */
export const platforms = {
  'linux x64': {
    cpu: {
      name: 'tensorflow-cpu',
      tag: 'manylinux_2_27_x86_64',
      megabytes: 274,
      sha256: '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
    },
    cuda: {
      name: 'tensorflow',
      tag: 'manylinux_2_27_x86_64',
      megabytes: 572,
      sha256: '9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124',
    },
    libraries: LINUX_LIBRARIES,
    zigTarget: 'x86_64-linux-gnu.2.27',
    needs: 'glibc 2.27 or newer and a CPU with AVX',
  },
  'linux arm64': {
    cpu: {
      name: 'tensorflow',
      tag: 'manylinux_2_27_aarch64',
      megabytes: 282,
      sha256: '4b24aca16d527a3cf1c37f720c04c484c3d20f4d0fdfa98632ac8b9f3be6eb5c',
    },
    libraries: LINUX_LIBRARIES,
    zigTarget: 'aarch64-linux-gnu.2.27',
    needs: 'glibc 2.27 or newer',
  },
  'darwin arm64': {
    cpu: {
      name: 'tensorflow',
      tag: 'macosx_12_0_arm64',
      megabytes: 223,
      sha256: '51f46f4806139d01fc7920cc72a4c75876f80649bf40ff083ab6212ceb43ca88',
    },
    libraries: ['libtensorflow_cc.2.dylib', 'libtensorflow_framework.2.dylib'],
    zigTarget: 'aarch64-macos.12.0',
    needs: 'macOS 12 or newer',
  },
};

const ADVICE = /** @type {Readonly<Record<string, string>>} */ ({
  win32: 'On Windows it works inside WSL2: run "wsl --install", then clone and start it in the Linux that this opens.',
  darwin: "TensorFlow has no library for Macs with Intel's processors; a Linux container is the way there.",
});

/**
 * @param {string} [name] such as "linux x64"
 * @returns {Platform}
 * @throws {SetupError} if set-up knows no way for it.
 */
export function platform(name = `${process.platform} ${process.arch}`) {
  const found = platforms[name];
  if (found) return found;
  const [system = ''] = name.split(' ');
  throw new SetupError(
    `This set-up is for Linux (x64, arm64) and macOS (arm64); this is ${name}. ` +
      (ADVICE[system] ?? 'A Linux container or machine is the way.'),
  );
}

/**
 * The arguments that compile and link the addon.
 * @param {object} given
 * @param {string[]} given.sources C++ files
 * @param {string[]} given.includes folders
 * @param {string[]} given.libraries TensorFlow's, with their folders
 * @param {string} given.runPath TensorFlow's folder, as seen from the addon's: still valid if the project is moved
 * @param {string} [given.logLevel] the library that applies TF_CPP_MIN_LOG_LEVEL early, where it is needed
 * @param {string} [system] such as "linux"
 */
export function addonFlags({ sources, includes, libraries, runPath, logLevel }, system = process.platform) {
  const link =
    system === 'darwin'
      ? // A dylib, because Zig links no bundle; Node loads both. It has the functions of N-API itself.
        ['-shared', '-undefined', 'dynamic_lookup', `-Wl,-rpath,@loader_path/${runPath}`]
      : // It must stay when the thread of Node that loaded it ends: TensorFlow knows its operations.
        ['-shared', '-Wl,-z,nodelete', `-Wl,-rpath,$ORIGIN/${runPath}:$ORIGIN`];
  return [
    ...['-std=c++17', '-O3', '-fPIC', '-pthread', '-DNAPI_VERSION=8'],
    // For operations/adamw.cc: square roots are instructions, and all processors compute the same bits.
    ...['-fno-math-errno', '-ffp-contract=off'],
    ...includes.flatMap((folder) => ['-I', folder]),
    ...sources,
    ...libraries,
    // Last, because it must start before libraries that do not need it.
    ...(logLevel === undefined ? [] : ['-Wl,--no-as-needed', logLevel]),
    ...link,
  ];
}
