/**
 * Locks a run's folder: two runs in the same folder would write the metrics twice and replace each other's checkpoints.
 */
import { mkdirSync, utimesSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';

import { FileError, InputError } from '../errors';
import { ageOf, clearUnreadable, isDead, ownHolder, readHolder, release, take, type Holder } from '../hub/lock';

const TOUCH_EVERY = 5_000; // milliseconds
/**
 * In milliseconds. If the lock's owner is on another machine or in another container, only the age of the lock can show
 * that it is gone; a step takes less time than this.
 */
const DEAD_AFTER = 15 * 60_000;
/** Milliseconds for which to retry an unreadable lock. */
const PATIENCE = 1000;

/**
 * Takes the lock of a run's folder. If the process that owns it is gone, the lock is taken over.
 *
 * @param path the lock's file; its folder is created if it is missing.
 * @returns an object that releases the lock when it is disposed of.
 * @throws InputError naming the process that owns the lock.
 */
export function lockRun(path: string): Disposable {
  mkdirSync(dirname(path), { recursive: true });
  const own = ownHolder();
  for (const begun = Date.now(); !take(path, own);) {
    const holder = readHolder(path);
    if (holder === null) {
      clearUnreadable(path);
      if (Date.now() - begun > PATIENCE) throw new FileError(path, 'is not the lock of a run; remove it');
      continue; // it was released a moment ago
    }
    if (isHeld(path, holder)) {
      const where = holder.host === own.host ? '' : ` on ${holder.host}`;
      throw new InputError(
        `${dirname(path)} is in use: process ${holder.pid}${where} trains in it; ` +
          `give another output folder, or wait for that run${where && `, or remove ${path} if it is gone`}`,
      );
    }
    release(path, holder.id);
  }
  const touching = setInterval(() => touch(path), TOUCH_EVERY).unref();
  return {
    [Symbol.dispose]() {
      clearInterval(touching);
      release(path, own.id);
    },
  };
}

/**
 * On this machine, the operating system says whether the owner is alive, so its lock may go untouched during a long
 * step.
 */
function isHeld(path: string, holder: Holder): boolean {
  return !isDead(holder, holder.host === hostname() ? 0 : ageOf(path), DEAD_AFTER);
}

function touch(path: string): void {
  try {
    utimesSync(path, new Date(), new Date());
  } catch {
    // someone removed the lock: the training continues
  }
}
