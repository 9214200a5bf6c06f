/** A folder written whole or not at all. */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

import { InputError } from '../errors';

/**
 * Fills a temporary folder beside `path`, then gives it that name: whoever looks finds the old folder or the new one. What
 * `fill` wrote is on the disk before it is named. A failure leaves the old folder, and no temporary one.
 *
 * @param options.force whether a model folder of that name is replaced.
 * @throws InputError as `mayReplace` does.
 */
export function replaceFolder(path: string, { force }: { force: boolean }, fill: (temporary: string) => void): void {
  const target = resolve(path);
  mayReplace(target, { force });
  const temporary = `${target}.${process.pid}.tmp`;
  const former = `${target}.${process.pid}.old`;
  mkdirSync(temporary, { recursive: true });
  try {
    fill(temporary);
    for (const name of readdirSync(temporary)) sync(join(temporary, name));
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
  const foreign = entries.find((entry) => entry.isDirectory()); // such as .git: forcing must not cost anyone their work
  if (foreign !== undefined || !entries.some(({ name }) => name === 'config.json')) {
    const reason = foreign === undefined ? 'has no config.json' : `holds the folder "${foreign.name}"`;
    throw new InputError(`${path} ${reason}, so it is not replaced even with --force; give another folder`);
  }
}

function sync(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
