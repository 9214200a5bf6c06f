/** Files and folders written completely or not at all, and recovery after a writer was killed. */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

import { FileError, InputError } from '../errors';
import { isAlive } from '../processes';

const MAX_WRITE = 2 ** 30; // bytes; one call takes less than 2^31

/** @throws FileError if no file can be written there. Call it before long work whose result goes there. */
export function requireWritable(path: string): void {
  const folder = dirname(path);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new FileError(path, 'is a folder; give the name of a file');
  if (!existsSync(folder))
    throw new FileError(path, `cannot be written: ${folder} does not exist; make that folder first`);
  try {
    accessSync(folder, constants.W_OK);
  } catch (cause) {
    throw new FileError(
      path,
      `cannot be written: ${folder} does not allow it (${(cause as NodeJS.ErrnoException).code})`,
      { cause },
    );
  }
}

/**
 * Writes under a temporary name beside `path`, then renames: readers find either the old file or the new one, and only
 * the old one after a failure.
 *
 * @param fill receives a function that appends bytes, or text as UTF-8.
 */
export function replaceFile(path: string, fill: (write: (part: Uint8Array | string) => void) => void): void {
  requireWritable(path);
  replaceEntry(path, (temporary) => {
    const file = openSync(temporary, 'w');
    try {
      fill((part) => {
        const bytes = typeof part === 'string' ? Buffer.from(part) : part;
        for (let done = 0; done < bytes.length;)
          done += writeSync(file, bytes, done, Math.min(bytes.length - done, MAX_WRITE));
      });
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  });
}

/** Does the same for a file or link that `make` makes under the temporary name, without checking the folder first. */
export function replaceEntry(path: string, make: (temporary: string) => void): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    make(temporary);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/**
 * Fills a temporary folder beside `path`, then renames it: readers find either the old folder or the new one. The
 * contents are on the disk before the rename. A failure leaves the old folder, and no temporary one.
 *
 * If the process is killed between the two renames, no folder has the name: `recoverFolder` finishes the work.
 *
 * @param options.force whether to replace an existing model folder; undefined where the caller has no such option, so
 *   that the message does not name it.
 * @throws InputError as `mayReplace` does.
 */
export function replaceFolder(path: string, { force }: { force?: boolean }, fill: (temporary: string) => void): void {
  const target = resolve(path);
  recoverFolder(target);
  mayReplace(target, { force });
  const temporary = `${target}.${process.pid}.tmp`;
  const former = `${target}.${process.pid}.old`;
  mkdirSync(temporary, { recursive: true });
  try {
    fill(temporary);
    for (const name of readdirSync(temporary, { recursive: true, encoding: 'utf8' })) sync(join(temporary, name));
    sync(temporary);
    if (existsSync(target)) renameSync(target, former);
    renameSync(temporary, target);
    sync(dirname(target));
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    if (!existsSync(target) && existsSync(former)) renameSync(former, target);
    throw error;
  }
  rmSync(former, { recursive: true, force: true });
}

/**
 * Call it before any work; `replaceFolder` checks again before the change.
 *
 * @throws InputError if `path` exists and is not an empty folder, or with `force`, not a model folder.
 */
export function mayReplace(path: string, { force }: { force?: boolean }): void {
  if (!existsSync(path)) return;
  if (!statSync(path).isDirectory()) throw new InputError(`${path} is not a folder; give another name`);
  const entries = readdirSync(path, { withFileTypes: true });
  if (entries.length === 0) return;
  if (!force) {
    const remedy = force === undefined ? 'remove it' : '--force to replace it';
    throw new InputError(`${path} is not empty; give another folder, or ${remedy}`);
  }
  // such as .git: --force must not cost anyone their work
  const foreign = entries.find((entry) => entry.isDirectory() && entry.name !== 'additional_chat_templates');
  if (foreign !== undefined || !entries.some(({ name }) => /^(adapter_)?config\.json$/.test(name))) {
    const reason = foreign === undefined ? 'has no config.json' : `holds the folder "${foreign.name}"`;
    throw new InputError(`${path} ${reason}, so even --force does not replace it; give another folder`);
  }
}

/** Names of `replaceFolder`'s temporary folders: `model.1234.tmp`, `model.1234.old`. */
const LEFTOVER = /^(.+)\.(\d+)\.(tmp|old)$/;

interface Leftover {
  readonly path: string;
  readonly pid: number;
  readonly kind: 'tmp' | 'old';
}

/**
 * Finishes, or undoes, a replacement of `path` whose process was killed, and removes its temporary folders.
 *
 * The former folder is moved aside only after the new one is complete and on the disk. So if nothing has the name and
 * the former folder is there, the new folder beside it is complete and takes the name; if only the former one is left,
 * it gets its name back.
 *
 * @param options.evenIfAlive whether to recover even if a process with that id is alive: for a caller that holds a
 *   lock, so that the id must belong to another process by now. Default false.
 * @returns whether a folder was renamed to `path`.
 */
export function recoverFolder(path: string, { evenIfAlive = false } = {}): boolean {
  const target = resolve(path);
  const left = leftovers(target).filter(({ pid }) => evenIfAlive || pid === process.pid || !isAlive(pid));
  const former = left.find(({ kind }) => kind === 'old');
  const found =
    existsSync(target) || former === undefined
      ? undefined
      : (left.find(({ kind, pid }) => kind === 'tmp' && pid === former.pid) ?? former);
  if (found) {
    renameSync(found.path, target);
    sync(dirname(target));
  }
  for (const other of left) if (other !== found) rmSync(other.path, { recursive: true, force: true });
  return found !== undefined;
}

/**
 * Does the same for every folder in `parent` that a killed replacement may have left without its name.
 *
 * @returns the recovered paths.
 */
export function recoverFolders(parent: string, options: { evenIfAlive?: boolean } = {}): string[] {
  if (!existsSync(parent)) return [];
  const targets = readdirSync(parent).flatMap((name) => LEFTOVER.exec(name)?.[1] ?? []);
  return [...new Set(targets)].map((name) => join(parent, name)).filter((path) => recoverFolder(path, options));
}

function leftovers(target: string): Leftover[] {
  const [parent, own] = [dirname(target), basename(target)];
  if (!existsSync(parent)) return [];
  return readdirSync(parent).flatMap((entry) => {
    const [, name, pid, kind] = LEFTOVER.exec(entry) ?? [];
    return name === own ? [{ path: join(parent, entry), pid: Number(pid), kind: kind as Leftover['kind'] }] : [];
  });
}

function sync(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
