// @ts-check
/**
 * The paths that set-up uses. It writes only to `.alignbook`, `node_modules`, `lib/dist` and the tokenizer of
 * `data/models/tiny`.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
/** In an installed package (scripts/package.ts), set-up is beside the compiled library. */
const isPackage = existsSync(join(here, '..', 'dist'));
/** The project's folder, or the package's. */
export const root = isPackage ? dirname(here) : join(here, '..', '..');
const binding = isPackage
  ? dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-node-gpu/package.json'))
  : join(root, 'node_modules', '@tensorflow', 'tfjs-node-gpu');
const modules = join(binding, '..', '..');
/** A package's folder is replaced when the package is installed again; what set-up makes is beside it and stays. */
const made = join(isPackage ? modules : root, '.alignbook');
const python = join(made, 'python');

export const paths = {
  made,
  requirements: join(root, 'requirements'),
  modules,
  /** Virtual environments. */
  python,
  oracles: join(made, 'oracles'),
  ray: join(made, 'ray'),
  book: join(made, 'book'),
  lint: join(made, 'lint'),
  /** TRL 1.12, the last with a PPO trainer: a folder for the PYTHONPATH of the oracles. */
  trlPpo: join(made, 'trl-ppo'),
  /** Jupyter's tests for kernels, and nbmake: a folder for the PYTHONPATH of the notebooks. */
  testTools: join(made, 'test-tools'),
  /** Like a site-packages folder: tensorflow/ and, for CUDA, nvidia/ beside it, where the library looks for it. */
  tensorflow: join(made, 'tensorflow'),
  /** tfjs-node's C++ sources, and where it loads the addon from. */
  binding,
  addon: join(binding, 'lib', 'napi-v8', 'tfjs_binding.node'),
  zig: join(made, 'zig'),
  build: join(made, 'build'),
  jupyter: join(made, 'jupyter'),
  model: join(root, 'data', 'models', 'tiny'),
};

/** The Python of a virtual environment. @param {string} environment */
export function pythonOf(environment) {
  return join(environment, 'bin', 'python');
}

/**
 * The environment for Python: the project's own, without any of the user's settings.
 * @returns {NodeJS.ProcessEnv}
 */
export function pythonEnv() {
  const { PYTHONPATH, PYTHONHOME, ...env } = process.env;
  return { ...env, PYTHONNOUSERSITE: '1', PIP_DISABLE_PIP_VERSION_CHECK: '1', PIP_NO_INPUT: '1', PIP_USER: '0' };
}

/**
 * The environment for Jupyter: kernels, settings and run-time files of the project only, nothing in the home folder.
 * @returns {NodeJS.ProcessEnv}
 */
export function jupyterEnv() {
  const { JUPYTER_PATH, JUPYTER_CONFIG_PATH, ...env } = pythonEnv();
  return {
    ...env,
    VIRTUAL_ENV: python,
    PATH: [join(python, 'bin'), dirname(process.execPath), env.PATH].filter(Boolean).join(delimiter),
    JUPYTER_DATA_DIR: join(paths.jupyter, 'data'),
    JUPYTER_CONFIG_DIR: join(paths.jupyter, 'config'),
    JUPYTER_RUNTIME_DIR: join(paths.jupyter, 'runtime'),
    IPYTHONDIR: join(paths.jupyter, 'ipython'),
  };
}
