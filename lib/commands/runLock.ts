/**
 * Locks a run's folder: two runs in the same folder would write the metrics twice and replace each other's checkpoints.
 */
import { hostname } from 'node:os';
import { dirname } from 'node:path';

import { FileError, InputError } from '../errors';
import { tryLock, type DeadAfter } from '../processes';

/**
 * In milliseconds. On this machine, the operating system says whether the owner is alive, so its lock may go untouched
 * during a long step; elsewhere, a step takes less time than this.
 */
const DEAD_AFTER: DeadAfter = { here: Infinity, elsewhere: 15 * 60_000 };
/** Milliseconds for which to retry a lock that cannot be read, or that was released a moment ago. */
const PATIENCE = 1000;

/**
 * Takes the lock of a run's folder. If the process that owns it is gone, the lock is taken over.
 *
 * @param path the lock's file; its folder is created if it is missing.
 * @returns an object that releases the lock when it is disposed of.
 * @throws InputError naming the process that owns the lock.
 */
export function lockRun(path: string): Disposable {
  for (const begun = Date.now(); ;) {
    const attempt = tryLock(path, DEAD_AFTER);
    if ('lock' in attempt) return attempt.lock;
    const { holder } = attempt;
    if (holder !== null) {
      const where = holder.host === hostname() ? '' : ` on ${holder.host}`;
      throw new InputError(
        `${dirname(path)} is in use: process ${holder.pid}${where} trains in it; ` +
          `give another output folder, or wait for that run${where && `, or remove ${path} if it is gone`}`,
      );
    }
    if (Date.now() - begun > PATIENCE) throw new FileError(path, 'is not the lock of a run; remove it');
  }
}
