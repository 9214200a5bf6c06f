// @ts-check
/** TensorFlow's shared libraries and C headers, from its wheel on PyPI. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { digest } from './digest.mjs';
import { paths, pythonEnv, pythonOf } from './paths.mjs';
import { platform } from './platform.mjs';
import { pip } from './python.mjs';
import { run, SetupError } from './run.mjs';
import { replaceFile } from './steps.mjs';

export const version = '2.21.0';

const members = ['include/tensorflow/c/', 'include/tensorflow/core/platform/', 'include/xla/tsl/', 'include/tsl/'];

export const libraries = join(paths.tensorflow, 'tensorflow');
const cudaLock = join(paths.requirements, 'cuda.txt');
const asked = join(paths.made, 'tensorflow-build');

/** @typedef {'cpu' | 'cuda'} Build */

/** `--cpu` and `--cuda` stay in effect until the other is chosen. @param {Build} build */
export function askFor(build) {
  replaceFile(asked, build);
}

/** @type {Build | undefined} */
let decided;

/** @returns {Build} */
export function build() {
  return (decided ??= existsSync(asked) ? /** @type {Build} */ (readFileSync(asked, 'utf8')) : defaultBuild());
}

/** @returns {Build} */
const defaultBuild = () => (platform().cuda && gpu() ? 'cuda' : 'cpu');

/** @throws {SetupError} if TensorFlow has no such build for this platform. */
function wheel() {
  const found = platform()[build()];
  if (found) return found;
  throw new SetupError(
    `TensorFlow has no CUDA build for ${process.platform} on ${process.arch}; run "npm run setup -- --cpu".`,
  );
}

/** The first NVIDIA GPU that the driver lists. */
export function gpu() {
  const { status, stdout } = spawnSync('nvidia-smi', ['-L'], { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? stdout.match(/^GPU 0: ([^(]*)/m)?.[1]?.trim() : undefined;
}

/** @type {import('./steps.mjs').Step} */
export const tensorflow = {
  name: 'tensorflow',
  get megabytes() {
    return build() === 'cuda' ? 9000 : 1400;
  },
  inputs: () => ({
    version,
    build: build(),
    wheel: wheel().sha256,
    cuda: build() === 'cuda' ? digest(cudaLock) : null,
  }),
  present: () => platform().libraries.every((file) => existsSync(join(libraries, file))),
  made: () => [paths.tensorflow],
  version: () => `${version}, ${build() === 'cuda' ? 'CUDA' : 'CPU'} build`,
  check: () => void wheel(),
  async run(progress) {
    const temporary = `${paths.tensorflow}.tmp`;
    rmSync(temporary, { recursive: true, force: true });
    mkdirSync(temporary, { recursive: true });
    await unpack(await download(wheel(), join(temporary, 'wheel'), progress), temporary, progress);
    rmSync(join(temporary, 'wheel'), { recursive: true });
    if (build() === 'cuda')
      await pip(
        pythonOf(paths.python),
        ['install', '--require-hashes', '--no-deps', '--only-binary=:all:', '--target', temporary, '-r', cudaLock],
        progress,
      );
    rmSync(paths.tensorflow, { recursive: true, force: true });
    renameSync(temporary, paths.tensorflow);
  },
};

/**
 * Downloads with pip, which uses the user's mirrors and proxies and checks the hash.
 * @param {import('./platform.mjs').Wheel} wheel @param {string} folder @param {(text: string) => void} progress
 */
async function download({ name, tag, megabytes, sha256 }, folder, progress) {
  mkdirSync(folder);
  const lock = join(folder, 'requirements.txt');
  writeFileSync(lock, `${name}==${version} --hash=sha256:${sha256}\n`);
  // pip prints nothing while it downloads into a pipe, so watch the file grow in its temporary folder, which is ours.
  const timer = setInterval(() => {
    const now = size(folder) / 1e6;
    progress(
      `downloading ${name} ${version}: ${now.toFixed(0)} of ${megabytes} MB ` +
        `(${Math.min(100, (100 * now) / megabytes).toFixed(0)} %)`,
    );
  }, 250);
  try {
    const target = [
      '--only-binary=:all:',
      '--implementation=cp',
      '--python-version=3.11',
      '--abi=cp311',
      `--platform=${tag}`,
    ];
    await pip(
      pythonOf(paths.python),
      ['download', '--require-hashes', '--no-deps', ...target, '--dest', folder, '-r', lock],
      () => {},
      { TMPDIR: folder },
    );
  } finally {
    clearInterval(timer);
  }
  const file = readdirSync(folder).find((entry) => entry.endsWith('.whl'));
  if (!file) throw new SetupError(`pip downloaded no wheel of ${name} ${version}`);
  return join(folder, file);
}

/**
 * @param {string} folder
 * @public for its test
 * @returns {number} bytes of all files below; pip may remove files and folders in the meantime
 */
export function size(folder) {
  /** @type {import('node:fs').Dirent[]} */
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return 0;
  }
  return entries.reduce((sum, entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sum + size(path);
    return sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0);
  }, 0);
}

/** @param {string} file @param {string} folder @param {(text: string) => void} progress */
async function unpack(file, folder, progress) {
  const code = `
import shutil, sys, zipfile
from pathlib import Path
wheel, folder, *members = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    wanted = [m for m in archive.infolist() if m.filename.startswith(tuple(members)) and not m.is_dir()]
    total, done = sum(m.file_size for m in wanted), 0
    for member in wanted:
        path = Path(folder, member.filename)
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, path.open("wb") as target:
            while chunk := source.read(1 << 24):
                target.write(chunk)
                done += len(chunk)
                print(f"unpacking: {done / 1e6:.0f} of {total / 1e6:.0f} MB ({100 * done / total:.0f} %)", flush=True)
`;
  const wanted = [...platform().libraries, ...members].map((member) => `tensorflow/${member}`);
  await run(pythonOf(paths.python), ['-c', code, file, folder, ...wanted], {
    env: pythonEnv(),
    onLine: progress,
  });
}
