/**
 * Folders that are written whole or not at all, and what a process leaves behind if it is killed at any moment of
 * writing one.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { recoverFolder, recoverFolders, replaceFolder } from 'alignbook/dist/formats/replace';

const root = mkdtempSync(join(tmpdir(), 'replace-'));
after(() => rmSync(root, { recursive: true }));

/** The id of a process that has ended. */
const GONE = spawnSync('true').pid;

/** A model folder with the given content. */
function model(path: string, content: string): string {
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'config.json'), content);
  return path;
}
const content = (path: string) => readFileSync(join(path, 'config.json'), 'utf8');
const fresh = (name: string) => join(root, name, 'model');

test('a killed replacement is finished where the new folder is whole, and taken back where it is not there', () => {
  const both = fresh('both'); // killed between the two renames
  model(`${both}.${GONE}.old`, 'old');
  model(`${both}.${GONE}.tmp`, 'new');
  assert.equal(recoverFolder(both), true);
  assert.equal(content(both), 'new');

  const former = fresh('former'); // the new one was removed by hand
  model(`${former}.${GONE}.old`, 'old');
  assert.equal(recoverFolder(former), true);
  assert.equal(content(former), 'old');

  const begun = fresh('begun'); // killed at an unknown moment while the first one was written
  model(`${begun}.${GONE}.tmp`, 'half');
  assert.equal(recoverFolder(begun), false);
  assert.ok(!existsSync(begun));

  const replaced = fresh('replaced'); // killed after the second rename
  model(replaced, 'new');
  model(`${replaced}.${GONE}.old`, 'old');
  assert.equal(recoverFolder(replaced), false);
  assert.equal(content(replaced), 'new');

  const writing = fresh('writing'); // killed while the new one was written: the old one still has its name
  model(writing, 'old');
  model(`${writing}.${GONE}.tmp`, 'half');
  assert.equal(recoverFolder(writing), false);
  assert.equal(content(writing), 'old');

  for (const path of [both, former, begun, replaced, writing])
    assert.deepEqual(readdirSync(join(path, '..')), existsSync(path) ? ['model'] : []);
});

test('what a living process is about to rename is left to it, unless the caller knows better', () => {
  const path = fresh('alive');
  const other = process.ppid;
  model(`${path}.${other}.old`, 'old');
  model(`${path}.${other}.tmp`, 'new');
  assert.equal(recoverFolder(path), false);
  assert.ok(!existsSync(path));
  assert.equal(recoverFolder(path, { evenIfAlive: true }), true);
  assert.equal(content(path), 'new');
});

test('every folder of a run is brought back; other names are left alone', () => {
  const run = join(root, 'run');
  for (const name of ['checkpoint-00000003', 'best-00000002', 'model']) model(join(run, `${name}.${GONE}.old`), name);
  model(join(run, 'mine.old'), 'mine');
  assert.deepEqual(
    recoverFolders(run).sort(),
    ['best-00000002', 'checkpoint-00000003', 'model'].map((name) => join(run, name)),
  );
  assert.deepEqual(readdirSync(run).sort(), ['best-00000002', 'checkpoint-00000003', 'mine.old', 'model']);
  assert.deepEqual(recoverFolders(join(root, 'nowhere')), []);
});

test('a replacement that finds an unfinished one takes its place; one that fails leaves the old folder', () => {
  const path = fresh('again');
  model(`${path}.${GONE}.old`, 'old');
  replaceFolder(path, { force: true }, (out) => model(out, 'newer'));
  assert.equal(content(path), 'newer');
  assert.throws(
    () =>
      replaceFolder(path, { force: true }, (out) => {
        model(out, 'half');
        throw new Error('no space');
      }),
    /no space/,
  );
  assert.equal(content(path), 'newer');
  assert.deepEqual(readdirSync(join(path, '..')), ['model']);
});
