/**
 * A lock between processes, so that two processes that need the same file download it only once.
 *
 * Python's huggingface_hub locks files in the same folder with flock(2), which Node lacks. A Python process that
 * downloads the same file at the same time is therefore not detected, nor does it detect this one. The lock is also
 * uncertain where machines or containers share a cache: there, an owner counts as dead once its lock has not been
 * touched for a minute, and an owner that was merely stopped for that long later continues. Correctness must therefore
 * never depend on the lock: each process writes to its own file, and renames it when it is complete. A failed lock
 * costs only a second download.
 */
import { randomBytes } from 'node:crypto';
import { linkSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { FileError } from '../errors';
import { isAlive, startOf } from '../processes';

const TOUCH_EVERY = 5_000; // milliseconds
const DEAD_AFTER = 60_000;
const LOOK_EVERY = 100;
const TELL_AFTER = 1_000;
/**
 * A lock appears together with its contents, so one that cannot be read was left by a disk failure or is not a lock.
 */
const UNREADABLE_AFTER = 10_000;

/** The owner of a lock. `id` distinguishes two owners in one process. */
export interface Holder {
  readonly host: string;
  readonly pid: number;
  readonly id: string;
  /**
   * Distinguishes the owner from a later process with the same pid, such as pid 1 of a container that was restarted.
   */
  readonly start: string | null;
}

export const ownHolder = (): Holder => ({
  host: hostname(),
  pid: process.pid,
  id: randomBytes(4).toString('hex'),
  start: startOf(process.pid),
});

/**
 * Runs `work` while holding the lock.
 *
 * @param tell called once if the wait for another owner exceeds a second.
 */
export async function withLock<T>(path: string, work: () => Promise<T>, tell: (reason: string) => void): Promise<T> {
  mkdirSync(dirname(path), { recursive: true });
  const own = ownHolder();
  const start = performance.now();
  for (let told = false; !take(path, own);) {
    const holder = readHolder(path);
    if (holder === null) clearUnreadable(path);
    else if (isDead(holder, ageOf(path), DEAD_AFTER)) {
      release(path, holder.id);
      continue;
    }
    if (!told && performance.now() - start > TELL_AFTER) {
      tell(`waiting for process ${holder?.pid ?? '?'}, which downloads it`);
      told = true;
    }
    await sleep(LOOK_EVERY);
  }
  const touching = setInterval(() => touch(path), TOUCH_EVERY).unref();
  try {
    return await work();
  } finally {
    clearInterval(touching);
    release(path, own.id);
  }
}

/**
 * Takes the lock. Linking a file that is already written makes its name and contents appear at once. @returns whether
 * the lock was free.
 */
export function take(path: string, own: Holder): boolean {
  const written = `${path}.${own.id}`;
  writeFileSync(written, JSON.stringify(own));
  try {
    linkSync(written, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(written);
  }
}

/** Removes the lock if it belongs to `id`. Moves it aside first, since another process may have taken it. */
export function release(path: string, id: string): void {
  const aside = `${path}.${id}.old`;
  try {
    renameSync(path, aside);
  } catch {
    return; // someone else was faster
  }
  if (readHolder(aside)?.id === id) rmSync(aside, { force: true });
  else renameSync(aside, path);
}

/** @returns null if the lock is free, about to be freed, or unreadable. */
export function readHolder(path: string): Holder | null {
  try {
    const holder = JSON.parse(readFileSync(path, 'utf8')) as Partial<Holder> | null;
    return typeof holder?.host === 'string' && Number.isInteger(holder.pid) && typeof holder.id === 'string'
      ? { ...(holder as Holder), start: holder.start ?? null }
      : null;
  } catch {
    return null;
  }
}

/**
 * Removes a lock that exists but cannot be read, once it is old enough.
 *
 * @throws FileError if it is a folder.
 */
export function clearUnreadable(path: string): void {
  const isFolder = lstatSync(path, { throwIfNoEntry: false })?.isDirectory();
  if (isFolder) throw new FileError(path, 'is a folder where a lock should be; remove it');
  if (ageOf(path) > UNREADABLE_AFTER && readHolder(path) === null) rmSync(path, { force: true });
}

/**
 * Milliseconds since the lock was last touched; 0 if it is gone. The absolute value allows for a clock that was set
 * back.
 */
export const ageOf = (path: string): number =>
  Math.abs(Date.now() - (lstatSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()));

/**
 * Whether the owner of a lock of this age is gone. On another machine, or in another container, only the age of its
 * lock says so.
 */
export function isDead({ host, pid, start }: Holder, age: number, deadAfter: number): boolean {
  if (host === hostname() && (!isAlive(pid) || (start !== null && start !== startOf(pid)))) return true;
  return age > deadAfter;
}

function touch(path: string): void {
  try {
    utimesSync(path, new Date(), new Date());
  } catch {
    // another process considered this one dead and took the lock: the work continues in this process's own file
  }
}
