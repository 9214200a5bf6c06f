/**
 * Locks that no process holds: a download and a training take them over, or report in one line what is in their place.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { lockRun } from 'alignbook/dist/commands/runLock';
import { startOf, withLock } from 'alignbook/dist/processes';

const folder = mkdtempSync(join(tmpdir(), 'locks-'));
after(() => rmSync(folder, { recursive: true, force: true }));

let locks = 0;
function left(content: string, seconds: number): string {
  const path = join(folder, `${(locks += 1)}`, 'lock');
  mkdirSync(join(path, '..'));
  writeFileSync(path, content);
  utimesSync(path, Date.now() / 1000 + seconds, Date.now() / 1000 + seconds);
  return path;
}

const holder = (more: object) =>
  JSON.stringify({ host: hostname(), pid: process.pid, id: 'left', start: startOf(process.pid), ...more });
/** The lock that is left behind, and when it was last touched, in seconds from now. */
const DEAD: Readonly<Record<string, readonly [content: string, seconds: number]>> = {
  empty: ['', -60],
  'of a clock that was ahead': ['', 3600],
  cut: ['{"host": "x', -60],
  'of another kind': ['5', -60],
  'of a process that is gone': [holder({ pid: 2 ** 22 + 1 }), 0],
  'of a process number that lives again': [holder({ start: 'another start' }), 0],
  'of another machine, long ago': [holder({ host: 'elsewhere' }), -3600],
};

for (const [name, [content, seconds]] of Object.entries(DEAD)) {
  test(`a lock that is ${name} is taken over`, { timeout: 5000 }, async () => {
    const told: string[] = [];
    const path = left(content, seconds);
    assert.equal(
      await withLock(
        path,
        () => Promise.resolve(7),
        (reason) => told.push(reason),
      ),
      7,
    );
    assert.deepEqual([told, existsSync(path)], [[], false]);
    const ofRun = left(content, seconds);
    {
      using _held = lockRun(ofRun);
      assert.ok(existsSync(ofRun));
    }
    assert.equal(existsSync(ofRun), false);
  });
}

test('a lock that is held is waited for, or named', { timeout: 5000 }, async () => {
  const path = left(holder({}), 0);
  assert.throws(() => lockRun(path), new RegExp(`is in use: process ${process.pid} trains in it`));
  let done = false;
  const waiting = withLock(
    path,
    () => Promise.resolve((done = true)),
    () => undefined,
  );
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(done, false);
  rmSync(path);
  await waiting;
});

test('a folder, or a fresh file that is no lock, in its place: one line', { timeout: 10_000 }, async () => {
  const path = left('', 0);
  assert.throws(() => lockRun(path), { name: 'FileError', message: `${path}: is not the lock of a run; remove it` });
  rmSync(path);
  mkdirSync(path);
  const message = `${path}: is a folder where a lock should be; remove it`;
  assert.throws(() => lockRun(path), { name: 'FileError', message });
  await assert.rejects(
    withLock(
      path,
      () => Promise.resolve(),
      () => undefined,
    ),
    { name: 'FileError', message },
  );
});
