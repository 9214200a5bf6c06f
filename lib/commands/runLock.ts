/** A lock on a run's folder: two runs in it would double the metrics and replace each other's checkpoints. */
import { mkdirSync, utimesSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';

import { FileError, InputError } from '../errors';
import { ageOf, clearUnreadable, isDead, ownHolder, readHolder, release, take, type Holder } from '../hub/lock';

const TOUCH_EVERY = 5_000; // milliseconds
/**
 * Milliseconds. For a holder on another machine, or in another container, only the lock's age can tell that it is gone;
 * a step takes less than this.
 */
const DEAD_AFTER = 15 * 60_000;
/** Milliseconds for which an unreadable lock is read again. */
const PATIENCE = 1000;

/**
 * Takes the lock of a run's folder. A lock whose process is gone is taken over.
 *
 * @param path the lock's file; its folder is made if it is missing.
 * @returns an object that releases the lock when it is disposed of.
 * @throws InputError naming the process that holds it.
 */
export function lockRun(path: string): Disposable {
  mkdirSync(dirname(path), { recursive: true });
  const own = ownHolder();
  for (const begun = Date.now(); !take(path, own);) {
    const holder = readHolder(path);
    if (holder === null) {
      clearUnreadable(path);
      if (Date.now() - begun > PATIENCE) throw new FileError(path, 'is not the lock of a run; remove it');
      continue; // released a moment ago
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

/** On this machine the process itself tells whether it lives, so its lock may go untouched during a long step. */
function isHeld(path: string, holder: Holder): boolean {
  return !isDead(holder, holder.host === hostname() ? 0 : ageOf(path), DEAD_AFTER);
}

function touch(path: string): void {
  try {
    utimesSync(path, new Date(), new Date());
  } catch {
    // removed by hand: the training goes on
  }
}
