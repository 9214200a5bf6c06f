/** One training at a time in one folder: two would double the metrics and replace each other's checkpoints. */
import { mkdirSync, utimesSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';

import { FileError, InputError } from '../errors';
import { ageOf, clearUnreadable, isDead, ownHolder, readHolder, release, take, type Holder } from '../hub/lock';

const TOUCH_EVERY = 5_000; // milliseconds
/**
 * On another machine, or in another container, only the lock's age can tell that its holder is gone: a step takes less
 * than this.
 */
const DEAD_AFTER = 15 * 60_000;
/** How long a lock that says nothing is looked at again, in milliseconds. */
const PATIENCE = 1000;

/**
 * Takes the lock of a run's folder. A lock whose process is gone is taken over.
 *
 * @param path the lock's file, whose folder is made if it is not there.
 * @returns what gives the lock back.
 * @throws InputError naming the process that holds it.
 */
export function lockRun(path: string): Disposable {
  mkdirSync(dirname(path), { recursive: true });
  const own = ownHolder();
  for (const begun = Date.now(); !take(path, own);) {
    const holder = readHolder(path);
    if (holder === null) {
      clearUnreadable(path);
      if (Date.now() - begun > PATIENCE) throw new FileError(path, 'is no lock of a training; remove it');
      continue; // given back a moment ago
    }
    if (isHeld(path, holder)) {
      const where = holder.host === own.host ? '' : ` on ${holder.host}`;
      throw new InputError(
        `${dirname(path)} is in use: process ${holder.pid}${where} trains in it; give another output folder, or wait for that run${where && `, or remove ${path} if it is gone`}`,
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

/** On this machine the process itself tells; a training may take longer over a step than a lock goes untouched. */
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
