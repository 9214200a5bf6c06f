// @ts-check
/**
 * A lock that lets one set-up run at a time. It does not share the library's (lib/processes.ts), because set-up runs
 * before anything is compiled.
 */
import { linkSync, lstatSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

import { SetupError } from './run.mjs';

/**
 * @typedef {{ host: string, pid: number, start: string | null }} Holder `start` distinguishes it from a later
 * process with the same number
 */

const TOUCH_EVERY = 5_000; // milliseconds
/** If the holder is in another container or on another machine, only the lock's age shows that the holder is gone. */
const DEAD_AFTER = 600_000;
/** A lock appears with its content at once, so a lock that cannot be read has no holder. */
const UNREADABLE_AFTER = 10_000;

/**
 * Runs `work` while holding the lock; waits for a living holder, and takes over from a dead one.
 * @param {string} path
 * @param {() => Promise<void>} work
 */
export async function withLock(path, work) {
  const own = { host: hostname(), pid: process.pid, start: startOf(process.pid) };
  let told = false;
  while (!take(path, own)) {
    const holder = readHolder(path);
    if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory())
      throw new SetupError(`${path} is a folder where a lock should be; remove it.`);
    if (holder === null ? ageOf(path) > UNREADABLE_AFTER : isDead(holder, path)) {
      release(path, holder);
      continue;
    }
    if (!told)
      console.log(
        'waiting for another set-up, process ' +
          `${holder?.pid ?? '?'}${holder && holder.host !== own.host ? ` on ${holder.host}` : ''} (if there is ` +
          `none, remove ${path})`,
      );
    told = true;
    await sleep(200);
  }
  const touching = setInterval(() => touch(path), TOUCH_EVERY).unref();
  const drop = () => release(path, own);
  process.once('exit', drop);
  try {
    await work();
  } finally {
    clearInterval(touching);
    process.off('exit', drop);
    drop();
  }
}

/**
 * Linking a file that is already written makes name and content appear at once.
 * @param {string} path
 * @param {Holder} holder
 */
function take(path, holder) {
  const own = `${path}.${process.pid}`;
  writeFileSync(own, JSON.stringify(holder));
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

/**
 * Removes the lock if it is the holder's. Moves it aside first: another process may have taken it since it was read.
 * @param {string} path
 * @param {Holder | null} holder
 */
function release(path, holder) {
  const aside = `${path}.${process.pid}.old`;
  try {
    renameSync(path, aside);
  } catch {
    return; // another process was faster
  }
  if (JSON.stringify(readHolder(aside)) === JSON.stringify(holder)) rmSync(aside);
  else renameSync(aside, path);
}

/** @param {string} path @returns {Holder | null} null if the lock is free or cannot be read */
function readHolder(path) {
  try {
    const { host, pid, start } = JSON.parse(readFileSync(path, 'utf8'));
    return typeof host === 'string' && Number.isInteger(pid) ? { host, pid, start: start ?? null } : null;
  } catch {
    return null;
  }
}

/** Milliseconds since the lock was last touched; the clock may have been set back since then. @param {string} path */
function ageOf(path) {
  return Math.abs(Date.now() - (lstatSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()));
}

/** @param {Holder} holder @param {string} path */
function isDead({ host, pid, start }, path) {
  if (host !== hostname()) return ageOf(path) > DEAD_AFTER;
  return !isAlive(pid) || (start !== null && start !== startOf(pid));
}

/**
 * When the process began: after a restart, or in another container, a different process has its number.
 * @param {number} pid
 */
function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return (
      `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ` +
      `${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`
    );
  } catch {
    return null;
  }
}

/** @param {string} path */
function touch(path) {
  try {
    utimesSync(path, new Date(), new Date());
  } catch {
    // removed by hand: continue with set-up
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
