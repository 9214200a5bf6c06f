/** One training at a time in one folder: two would double the metrics and replace each other's checkpoints. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, statSync, utimesSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';

import { InputError } from '../errors';
import { readHolder, release, take, type Holder } from '../hub/lock';
import { isAlive, startOf } from '../processes';

const TOUCH_EVERY = 5_000; // milliseconds
/** On another machine, or in another container, only the lock's age can tell that its holder is gone: a step takes less than this. */
const DEAD_AFTER = 15 * 60_000;

interface Run extends Holder {
  /** Tells the holder from a later process of the same number. */
  readonly start?: string | null;
}

/**
 * Takes the lock of a run's folder. A lock whose process is gone is taken over.
 *
 * @param path the lock's file, whose folder is made if it is not there.
 * @returns what gives the lock back.
 * @throws InputError naming the process that holds it.
 */
export function lockRun(path: string): Disposable {
  mkdirSync(dirname(path), { recursive: true });
  const own: Run = { host: hostname(), pid: process.pid, id: randomBytes(4).toString('hex'), start: startOf(process.pid) };
  while (!take(path, own)) {
    const holder = readHolder(path) as Run | null;
    if (holder === null) continue; // given back a moment ago
    if (isHeld(path, holder)) {
      const where = holder.host === own.host ? '' : ` on ${holder.host}`;
      throw new InputError(`${dirname(path)} is in use: process ${holder.pid}${where} trains in it; give another output folder, or wait for that run${where && `, or remove ${path} if it is gone`}`);
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

function isHeld(path: string, { host, pid, start }: Run): boolean {
  if (host === hostname()) return isAlive(pid) && (start == null || start === startOf(pid));
  return Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0) < DEAD_AFTER;
}

function touch(path: string): void {
  try {
    utimesSync(path, new Date(), new Date());
  } catch {
    // removed by hand: the training goes on
  }
}
