// @ts-check
/** TensorFlow's shared libraries and C headers, from its wheel on PyPI. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { digest } from './digest.mjs';
import { paths, pythonEnv, pythonOf } from './paths.mjs';
import { pip } from './python.mjs';
import { run, SetupError } from './run.mjs';
import { replaceFile } from './steps.mjs';

export const version = '2.21.0';

/**
 * The wheels are for CPython 3.11, whichever Python is installed: their Python code is not used, and the libraries are
 * the same in all wheels.
 */
const wheels = {
  cpu: {
    name: 'tensorflow-cpu',
    megabytes: 274,
    sha256: '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
  },
  cuda: {
    name: 'tensorflow',
    megabytes: 572,
    sha256: '9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124',
  },
};
const members = [
  'libtensorflow_cc.so.2',
  'libtensorflow_framework.so.2',
  'include/tensorflow/c/',
  'include/tensorflow/core/platform/',
  'include/xla/tsl/',
  'include/tsl/',
];

export const libraries = join(paths.tensorflow, 'tensorflow');
const cudaLock = join(paths.requirements, 'cuda.txt');
const asked = join(paths.made, 'tensorflow-build');

/** @typedef {keyof typeof wheels} Build */

/** `--cpu` and `--cuda` stay in effect until the other is chosen. @param {Build} build */
export function askFor(build) {
  replaceFile(asked, build);
}

/** @type {Build | undefined} */
let decided;

/** @returns {Build} */
export function build() {
  return (decided ??= existsSync(asked) ? /** @type {Build} */ (readFileSync(asked, 'utf8')) : gpu() ? 'cuda' : 'cpu');
}

/** The first NVIDIA GPU that the driver lists. */
export function gpu() {
  const { status, stdout } = spawnSync('nvidia-smi', ['-L'], { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? stdout.match(/^GPU 0: ([^(]*)/m)?.[1]?.trim() : undefined;
}

function checkPlatform() {
  if (process.platform === 'linux' && process.arch === 'x64') return;
  const advice =
    process.platform === 'win32'
      ? 'On Windows it works inside WSL2 (wsl --install): clone and run it there.'
      : 'Here a Linux x64 container or machine is the way; nothing else has been tried.';
  throw new SetupError(`This set-up is for Linux on x64; this is ${process.platform} on ${process.arch}. ${advice}`);
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
    wheel: wheels[build()].sha256,
    cuda: build() === 'cuda' ? digest(cudaLock) : null,
  }),
  present: () => existsSync(join(libraries, 'libtensorflow_cc.so.2')),
  made: () => [paths.tensorflow],
  version: () => `${version}, ${build() === 'cuda' ? 'CUDA' : 'CPU'} build`,
  check: checkPlatform,
  async run(progress) {
    const temporary = `${paths.tensorflow}.tmp`;
    rmSync(temporary, { recursive: true, force: true });
    mkdirSync(temporary, { recursive: true });
    await unpack(await download(wheels[build()], join(temporary, 'wheel'), progress), temporary, progress);
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
 * @param {typeof wheels[Build]} wheel @param {string} folder @param {(text: string) => void} progress
 */
async function download({ name, megabytes, sha256 }, folder, progress) {
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
      '--platform=manylinux_2_27_x86_64',
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
  const wheel = readdirSync(folder).find((file) => file.endsWith('.whl'));
  if (!wheel) throw new SetupError(`pip downloaded no wheel of ${name} ${version}`);
  return join(folder, wheel);
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

/** @param {string} wheel @param {string} folder @param {(text: string) => void} progress */
async function unpack(wheel, folder, progress) {
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
  await run(pythonOf(paths.python), ['-c', code, wheel, folder, ...members.map((member) => `tensorflow/${member}`)], {
    env: pythonEnv(),
    onLine: progress,
  });
}
