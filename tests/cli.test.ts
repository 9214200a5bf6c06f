import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const ROOT = join(__dirname, '..', '..', '..');
const FIXTURES = join(ROOT, 'tests', 'fixtures', 'gpt2');

function alignbook(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'lib', 'bin', 'alignbook.js'), ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

test('doctor tells versions and device', () => {
  const { status, stdout } = alignbook('doctor');
  assert.match(stdout, new RegExp(`^node +${process.version.replaceAll('.', '\\.')} on `, 'm'));
  assert.match(stdout, /^tensorflow +2\.21\.0, (CPU|CUDA) build$/m);
  assert.match(stdout, /^device +(CPU|GPU|CUDA build, no device)/m);
  assert.match(stdout, /^arithmetic +a matrix product came out right$/m);
  assert.equal(status, /CUDA build, no device/.test(stdout) ? 1 : 0);
});

test('weights lists the tensors of a file, and of a folder', () => {
  for (const path of [FIXTURES, join(FIXTURES, 'model.safetensors')]) {
    const { status, stdout } = alignbook('weights', path);
    assert.equal(status, 0);
    assert.match(stdout, /^transformer\.wte\.weight +F32 +\[31, 15\]$/m);
    // By hand: 40 rows of embeddings, 3 blocks of 12 * 15^2 + 13 * 15, one norm.
    assert.match(stdout, /^40 tensors, 9,315 parameters$/m);
  }
});

test('a malformed file: one line that names it, exit 1', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cli-'));
  const path = join(folder, 'bad.safetensors');
  writeFileSync(path, Buffer.from([5, 0, 0, 0, 0, 0, 0, 0, 0x7b]));
  const { status, stdout, stderr } = alignbook('weights', path);
  assert.equal(status, 1);
  assert.equal(stdout, '');
  assert.equal(stderr, `alignbook: ${path}: is cut short: a header of 5 bytes in a file of 9\n`);
  rmSync(folder, { recursive: true });
});

test('a command that is not there: usage, exit 2', () => {
  for (const args of [[], ['nonsense'], ['weights'], ['doctor', '--nonsense']]) {
    const { status, stderr } = alignbook(...args);
    assert.equal(status, 2, args.join(' '));
    assert.match(stderr, /^Usage: npx alignbook COMMAND$/m);
  }
  assert.equal(alignbook('--help').status, 0);
});
