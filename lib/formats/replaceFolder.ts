/** A folder written whole or not at all, and what a killed writer leaves behind. */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

import { InputError } from '../errors';
import { isAlive } from '../processes';

/**
 * Fills a temporary folder beside `path`, then gives it that name: whoever looks finds the old folder or the new one.
 * What
 * `fill` wrote is on the disk before it is named. A failure leaves the old folder, and no temporary one.
 *
 * A process that is killed between the two renames leaves neither name: `recoverFolder` finishes its work.
 *
 * @param options.force whether a model folder of that name is replaced.
 * @throws InputError as `mayReplace` does.
 */
export function replaceFolder(path: string, { force }: { force: boolean }, fill: (temporary: string) => void): void {
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
 * Checked before any work, and again before the change.
 *
 * @throws InputError if there is something else than an empty folder; with `force`, something else than a model folder.
 */
export function mayReplace(path: string, { force }: { force: boolean }): void {
  if (!existsSync(path)) return;
  if (!statSync(path).isDirectory()) throw new InputError(`${path} is not a folder; give another name`);
  const entries = readdirSync(path, { withFileTypes: true });
  if (entries.length === 0) return;
  if (!force) throw new InputError(`${path} is not empty; give another folder, or --force to replace it`);
  // such as .git: forcing must not cost anyone their work
  const foreign = entries.find((entry) => entry.isDirectory() && entry.name !== 'additional_chat_templates');
  if (foreign !== undefined || !entries.some(({ name }) => name === 'config.json')) {
    const reason = foreign === undefined ? 'has no config.json' : `holds the folder "${foreign.name}"`;
    throw new InputError(`${path} ${reason}, so it is not replaced even with --force; give another folder`);
  }
}

/** What `replaceFolder` calls its folders while it works: `model.1234.tmp`, `model.1234.old`. */
const LEFTOVER = /^(.+)\.(\d+)\.(tmp|old)$/;

interface Leftover {
  readonly path: string;
  readonly pid: number;
  readonly kind: 'tmp' | 'old';
}

/**
 * Finishes, or takes back, a replacement of `path` whose process was killed, and removes what else it left.
 *
 * The former folder is moved aside only after the new one is whole and on the disk. So where the name is free and a
 * former folder waits,
 * the new folder beside it is whole and takes the name; where only the former one is left, it gets its name back.
 *
 * @param options.evenIfAlive also what a living process of that number left: for a caller that holds a lock, so that
 *   the number
 *   is another process's by now. Default false.
 * @returns whether a folder got the name.
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
 * Does the same for every folder in `parent` that a killed replacement may have left nameless.
 * @returns the paths that were brought back.
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
