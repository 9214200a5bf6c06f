/** Other processes: whether they are alive, and locks between them. */
import { randomBytes } from 'node:crypto';
import { linkSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { FileError } from './errors';

/** Whether a process with this id exists. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * When the process started, in a form that distinguishes it from a later process with the same id; null if the system
 * does not say.
 */
export function startOf(pid: number): string | null {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // field 22; counting starts after the process's name, which may contain spaces
    return `${boot} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    return null;
  }
}

const TOUCH_EVERY = 5_000; // milliseconds
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

/**
 * Milliseconds without a touch after which an owner counts as dead: one whose process lives on this machine, and one on
 * another machine or in another container, of which only the age of its lock says whether it is gone.
 */
export interface DeadAfter {
  readonly here: number;
  readonly elsewhere: number;
}

/**
 * Either the lock, which is this process's until it is disposed of, or the owner: null if the lock cannot be read or
 * was released a moment ago.
 */
export type Attempt = { readonly lock: Disposable } | { readonly holder: Holder | null };

/**
 * Takes the lock if it is free or its owner is dead. The lock is touched until it is disposed of, so that others see
 * that its owner lives.
 *
 * @param path the lock's file; its folder is created if it is missing.
 * @throws FileError if it is a folder.
 */
export function tryLock(path: string, deadAfter: DeadAfter): Attempt {
  mkdirSync(dirname(path), { recursive: true });
  const id = randomBytes(4).toString('hex');
  const own: Holder = { host: hostname(), pid: process.pid, id, start: startOf(process.pid) };
  while (!take(path, own)) {
    const holder = readHolder(path);
    if (holder === null) {
      clearUnreadable(path);
      return { holder };
    }
    if (!isDead(holder, ageOf(path), deadAfter)) return { holder };
    release(path, holder.id);
  }
  const touching = setInterval(() => touch(path), TOUCH_EVERY).unref();
  return {
    lock: {
      [Symbol.dispose]() {
        clearInterval(touching);
        release(path, id);
      },
    },
  };
}

/**
 * Runs `work` while holding the lock, once it is free.
 *
 * Python's huggingface_hub locks files with flock(2), which Node lacks, so Python's processes and these do not detect
 * each other. The lock is also uncertain where machines or containers share a folder: there, an owner counts as dead
 * once its lock has not been touched for a minute, and an owner that was merely stopped for that long later continues.
 * Correctness must therefore never depend on the lock: each process writes to its own file, and renames it when it is
 * complete. A failed lock costs only doing the work twice.
 *
 * @param tell called once, with the owner's pid or "?", if the wait exceeds a second.
 */
export async function withLock<T>(path: string, work: () => Promise<T>, tell: (pid: string) => void): Promise<T> {
  const start = performance.now();
  for (let told = false; ;) {
    const attempt = tryLock(path, { here: 60_000, elsewhere: 60_000 });
    if ('lock' in attempt) {
      using _ = attempt.lock;
      return await work();
    }
    if (!told && performance.now() - start > TELL_AFTER) {
      tell(`${attempt.holder?.pid ?? '?'}`);
      told = true;
    }
    await sleep(LOOK_EVERY);
  }
}

/**
 * Takes the lock. Linking a file that is already written makes its name and contents appear at once. @returns whether
 * the lock was free.
 */
function take(path: string, own: Holder): boolean {
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
function release(path: string, id: string): void {
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
function readHolder(path: string): Holder | null {
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
function clearUnreadable(path: string): void {
  const isFolder = lstatSync(path, { throwIfNoEntry: false })?.isDirectory();
  if (isFolder) throw new FileError(path, 'is a folder where a lock should be; remove it');
  if (ageOf(path) > UNREADABLE_AFTER && readHolder(path) === null) rmSync(path, { force: true });
}

/**
 * Milliseconds since the lock was last touched; 0 if it is gone. The absolute value allows for a clock that was set
 * back.
 */
const ageOf = (path: string): number =>
  Math.abs(Date.now() - (lstatSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()));

function isDead({ host, pid, start }: Holder, age: number, { here, elsewhere }: DeadAfter): boolean {
  if (host !== hostname()) return age > elsewhere;
  return !isAlive(pid) || (start !== null && start !== startOf(pid)) || age > here;
}

function touch(path: string): void {
  try {
    utimesSync(path, new Date(), new Date());
  } catch {
    // someone removed the lock, or considered this process dead and took it: the work continues
  }
}
