// @ts-check
/** Runs the steps whose result is missing or was made from other inputs. Does not know what a step does. */
import {
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';

import { withLock } from './lock.mjs';
import { SetupError } from './run.mjs';

/**
 * @typedef {object} Step
 * @property {string} name
 * @property {number} megabytes Disk space that it needs while it runs, including downloads.
 * @property {() => unknown} [inputs] Everything that its result depends on, as JSON. If they change, the step
 *   runs again. Without inputs, only `present` decides.
 * @property {() => boolean} present Whether its result exists.
 * @property {() => unknown} [check] Throws a SetupError if it is certain to fail, before any step runs.
 * @property {() => string[]} [made] Files and folders of its result: the size of each file is kept, so that a damaged
 *   one is found.
 * @property {() => void} [discard] Called before a damaged result is made again.
 * @property {(progress: (text: string) => void) => unknown} run Leaves either a complete result or none; can be run
 *   again after it was killed.
 * @property {() => string} [version] What is installed, for `--check`.
 */

/**
 * @typedef {object} Options
 * @property {string} folder The folder for stamps and the lock.
 * @property {boolean} [quiet] Print nothing if there is nothing to do.
 */

/**
 * Replaces a whole file at once: a reader sees either the old or the new one. It does not share the library's
 * (lib/formats/replace.ts), because set-up runs before anything is compiled.
 * @param {string} path
 * @param {string | Buffer} content
 */
export function replaceFile(path, content) {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.tmp`;
  const file = openSync(temporary, 'w');
  writeSync(file, /** @type {string} */ (content));
  fsyncSync(file);
  closeSync(file);
  renameSync(temporary, path);
}

/** @param {Step} step @param {string} folder */
function stampPath(step, folder) {
  return join(folder, 'stamps', `${step.name}.json`);
}

/** @param {Step} step */
function inputsOf(step) {
  return JSON.stringify(step.inputs?.() ?? null, null, 2);
}

/** @param {Step} step @param {string} folder */
export function isDone(step, folder) {
  if (!step.present()) return false;
  const stamp = stampPath(step, folder);
  return !step.inputs || (existsSync(stamp) && readFileSync(stamp, 'utf8') === inputsOf(step));
}

/** @param {Step} step @param {string} folder */
const sizesPath = (step, folder) => join(folder, 'stamps', `${step.name}.files.json`);

/** Files that programs make beside their own and then change; they do not belong to any result. */
const CHANGES = new Set(['__pycache__', '.cache', '.package-lock.json']);

/**
 * Sizes in bytes of all files under the paths; names are relative to the folder.
 * @param {string[]} paths
 * @param {string} folder
 * @returns {Record<string, number>}
 */
function sizes(paths, folder) {
  /** @type {Record<string, number>} */
  const found = {};
  const visit = (/** @type {string} */ path) => {
    const entry = lstatSync(path, { throwIfNoEntry: false });
    if (entry?.isDirectory())
      for (const name of readdirSync(path).sort()) if (!CHANGES.has(name)) visit(join(path, name));
    if (entry?.isFile()) found[relative(folder, path)] = entry.size;
  };
  for (const path of paths) visit(path);
  return found;
}

/**
 * Files of a step's result that are missing, or whose size differs from when they were made. Checks every file: a
 * second for all steps.
 * @param {Step} step
 * @param {string} folder
 */
export function damagedFiles(step, folder) {
  const path = sizesPath(step, folder);
  if (!step.made || !existsSync(path)) return [];
  const recorded = /** @type {Record<string, number>} */ (JSON.parse(readFileSync(path, 'utf8')));
  return Object.entries(recorded)
    .filter(([name, size]) => lstatSync(join(folder, name), { throwIfNoEntry: false })?.size !== size)
    .map(([name]) => join(folder, name));
}

/** @param {Step[]} steps @param {Options} options If quiet, trusts what exists, so that every command can call it. */
export async function runSteps(steps, { folder, quiet = false }) {
  const isSound = (/** @type {Step} */ step) =>
    isDone(step, folder) && (quiet || damagedFiles(step, folder).length === 0);
  if (steps.every(isSound)) {
    if (!quiet) console.log('set-up is complete');
    return;
  }
  mkdirSync(folder, { recursive: true });
  await withLock(join(folder, 'setup.lock'), async () => {
    const pending = steps.filter((step) => !isSound(step)); // another set-up may have run some in the meantime
    for (const step of pending) step.check?.();
    checkSpace(pending, folder);
    for (const step of steps) {
      if (isSound(step)) continue;
      if (isDone(step, folder)) step.discard?.();
      await runStep(step, folder);
    }
  });
  console.log('set-up is complete');
}

/** @param {Step} step @param {string} folder */
async function runStep(step, folder) {
  const stamp = stampPath(step, folder);
  rmSync(stamp, { force: true }); // from here on, the old result may be damaged
  const start = performance.now();
  const { progress, end } = progressLine(step.name);
  progress('…');
  try {
    await step.run(progress);
    if (!step.present()) throw new SetupError('it ended well, but its result is not there; run set-up again');
  } catch (error) {
    end();
    if (error instanceof SetupError)
      throw new SetupError(`set-up failed at "${step.name}". ${error.message}`, { cause: error });
    throw error;
  }
  if (step.made) replaceFile(sizesPath(step, folder), JSON.stringify(sizes(step.made(), folder)));
  replaceFile(stamp, inputsOf(step));
  end(`done in ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

/** One changing line on a terminal; elsewhere an occasional line. @param {string} name */
function progressLine(name) {
  const terminal = process.stdout.isTTY;
  let printed = -Infinity;
  /** @param {string} text */
  const line = (text) => `${name.padEnd(10)} ${text}`;
  return {
    /** @param {string} text */
    progress(text) {
      const wait = terminal ? 50 : 5000;
      if (performance.now() - printed < wait) return;
      printed = performance.now();
      const short = line(text).slice(0, (process.stdout.columns ?? 100) - 1);
      if (terminal) process.stdout.write(`\r\x1b[K${short}`);
      else console.log(short);
    },
    end(text = '') {
      if (terminal) process.stdout.write('\r\x1b[K');
      if (text) console.log(line(text));
    },
  };
}

/** @param {Step[]} pending @param {string} folder */
function checkSpace(pending, folder) {
  const { bavail, bsize } = statfsSync(folder);
  const free = (bavail * bsize) / 1e6;
  const needed = pending.reduce((sum, step) => sum + step.megabytes, 0);
  if (free >= needed) return;
  const parts = pending.map((step) => `${step.name} ${step.megabytes}`).join(', ');
  throw new SetupError(
    `The disk is too full: set-up needs ${Math.ceil(needed)} MB in ${folder} (${parts}), and ${Math.floor(free)} ` +
      'MB are free. Free some space and run it again.',
  );
}
