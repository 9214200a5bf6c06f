// @ts-check
/** One set-up at a time. */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Runs `work` while holding the lock; waits for a living holder, takes over from a dead one.
 * @param {string} path
 * @param {() => Promise<void>} work
 */
export async function withLock(path, work) {
  let told = false;
  while (!take(path)) {
    const holder = readHolder(path);
    if (holder !== null && !isAlive(holder)) {
      release(path, holder);
      continue;
    }
    if (!told) console.log(`waiting for another set-up, process ${holder ?? '?'} (if there is none, remove ${path})`);
    told = true;
    await sleep(200);
  }
  const drop = () => release(path, process.pid);
  process.once('exit', drop);
  try {
    await work();
  } finally {
    process.off('exit', drop);
    drop();
  }
}

/** Linking a file that is already written makes name and content appear at once. @param {string} path */
function take(path) {
  const own = `${path}.${process.pid}`;
  writeFileSync(own, `${process.pid}`);
  try {
    linkSync(own, path);
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(own);
  }
}

/** Removes the lock if it is the holder's: moved aside first, as another process may have taken it since it was read. @param {string} path @param {number} holder */
function release(path, holder) {
  const aside = `${path}.${process.pid}.old`;
  try {
    renameSync(path, aside);
  } catch {
    return; // someone else was faster
  }
  if (readHolder(aside) === holder) rmSync(aside);
  else renameSync(aside, path);
}

/** @param {string} path @returns {number | null} null where the lock is free */
function readHolder(path) {
  try {
    return Number(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}
