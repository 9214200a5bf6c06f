/**
 * The kit for a GPU machine: refuses what does not fit, names what is damaged or missing, and does not ask again for
 * what has arrived.
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
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';

import { Results, run } from '../scripts/gpu/run';
import { disagreement, timeLine } from '../scripts/gpu/tasks';
import { root } from '../scripts/paths';
import { matching } from './matching';

const folder = mkdtempSync(join(tmpdir(), 'gpu-kit-'));
after(() => rmSync(folder, { recursive: true }));
const python = join(root, '.alignbook', 'python', 'bin', 'python');
const scripts = join(root, 'scripts', 'gpu');

function py(args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(python, args, { encoding: 'utf8', env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' } });
}

/** Packs files with pack.py's own functions, as two parts, the second with 3 MB that do not compress. */
const MAKE = `
import json, os, random, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pack
from kit import FORMAT, MIB
folder, out = Path(sys.argv[2]), Path(sys.argv[3])
pack.BLOCK = MIB // 4
for path in (folder, out):
    path.mkdir(parents=True, exist_ok=True)
(folder / "text.txt").write_text("text\\n" * 1000)
(folder / "noise.bin").write_bytes(random.Random(1).randbytes(3 * MIB))
(folder / "program").write_text("#!/bin/sh\\n")
os.chmod(folder / "program", 0o755)
manifest = out / "manifest.json"
before = json.loads(manifest.read_text())["parts"] if manifest.exists() else []
earlier = {part["name"]: part for part in before}
contents = {
    "small": [(folder / "text.txt", Path("a/text.txt")), (folder / "program", Path("bin/program"))],
    "large": [(folder / "noise.bin", Path("noise.bin"))],
}
parts = [pack.make_part(name, files, out, MIB, 1, earlier) for name, files in contents.items()]
facts = {"format": FORMAT, "made": "2026-01-01", "commit": "test", "build": "cpu", "tensorflow": "2"}
manifest.write_text(json.dumps({**facts, "parts": parts}))
`;

describe('pieces of a kit', () => {
  const [source, out, came, target] = ['files', 'out', 'came', 'target'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
    string,
  ];
  const make = () => {
    const { status, stdout, stderr } = py(['-c', MAKE, scripts, source, out]);
    assert.equal(status, 0, stderr);
    return stdout;
  };
  const pieces = () =>
    readdirSync(out)
      .filter((name) => name.endsWith('.xz'))
      .sort();
  const carry = (...names: readonly string[]) => {
    rmSync(came, { recursive: true, force: true });
    mkdirSync(came);
    for (const name of ['manifest.json', ...names]) copyFileSync(join(out, name), join(came, name));
  };
  const unpack = () => py([join(scripts, 'unpack.py'), '--from', came, '--to', target]);

  test('none is larger than the limit, and packed again they are the same', () => {
    assert.match(make(), /^large +3\.\d MB, packed +3\.\d MB in 4 pieces/m);
    const before = pieces();
    assert.equal(before.length, 5);
    for (const name of before) assert.ok(statSync(join(out, name)).size <= 2 ** 20, name);
    assert.match(make(), /^small +as before, 1 pieces\nlarge +as before, 4 pieces/);
    assert.deepEqual(pieces(), before);
  });

  test('what is missing is named; what came is kept, and its part put together', () => {
    const [first, second, third, fourth, small] = pieces() as [string, string, string, string, string];
    carry(small, second);
    const one = unpack();
    assert.equal(one.status, 3, one.stderr);
    assert.match(one.stdout, new RegExp(`2 of 5 pieces are there; missing: ${first} ${third} ${fourth}\n`));
    assert.equal(readFileSync(join(target, 'project', 'a', 'text.txt'), 'utf8'), 'text\n'.repeat(1000));
    assert.ok(statSync(join(target, 'project', 'bin', 'program')).mode & 0o100, 'a program stays one');
    carry(first, second, third); // the second one again
    const two = unpack();
    assert.deepEqual([two.status, /received .*-02-/.test(two.stdout)], [3, false], two.stdout);
    assert.ok(!existsSync(join(target, 'project', 'noise.bin')));
  });

  test('a piece that was changed on its way is refused by name, and taken when it comes sound', () => {
    const fourth = pieces()[3]!;
    carry(fourth);
    const damaged = readFileSync(join(came, fourth));
    damaged[damaged.length >> 1]! ^= 1;
    writeFileSync(join(came, fourth), damaged);
    const { status, stderr } = unpack();
    assert.equal(status, 1);
    assert.match(stderr, new RegExp(`^damaged on its way: ${fourth} .*carry it again\n$`));
    carry(fourth);
    assert.equal(unpack().status, 0);
    assert.deepEqual(readFileSync(join(target, 'project', 'noise.bin')), readFileSync(join(source, 'noise.bin')));
    assert.ok(!/put together/.test(unpack().stdout), 'nothing is done twice');
  });

  test('a piece that is damaged where it is kept is named, too', () => {
    const other = join(folder, 'other');
    carry(...pieces().slice(1));
    assert.equal(py([join(scripts, 'unpack.py'), '--from', came, '--to', other]).status, 3);
    const second = pieces()[1]!;
    const kept = readFileSync(join(other, 'pieces', second));
    writeFileSync(join(other, 'pieces', second), kept.fill(0, 100, 200));
    carry(...pieces());
    const { status, stderr } = py([join(scripts, 'unpack.py'), '--from', came, '--to', other]);
    assert.equal(status, 1);
    assert.match(stderr, new RegExp(`^${second} was damaged after it came; carry it again\n$`));
    assert.equal(
      py([join(scripts, 'unpack.py'), '--from', came, '--to', other]).status,
      0,
      'the next call takes it from what is carried',
    );
  });

  test('without a sound manifest nothing is taken in', () => {
    carry();
    rmSync(join(came, 'manifest.json'));
    assert.match(unpack().stderr, /manifest\.json is missing: it travels with every piece; carry it, too\n$/);
    writeFileSync(join(came, 'manifest.json'), '{"format":');
    assert.match(unpack().stderr, /manifest\.json is damaged \(.*\); carry it again\n$/);
    writeFileSync(join(came, 'manifest.json'), '{"format": 99, "parts": []}');
    assert.match(unpack().stderr, /is of format 99, and this unpacks format 1: pack again/);
  });
});

test('a transfer that has no room for pieces is refused, in one line', () => {
  const { status, stderr } = py([
    join(scripts, 'pack.py'),
    '--rehearse',
    '--limit',
    '20',
    '--out',
    join(folder, 'never'),
  ]);
  assert.equal(status, 1);
  assert.match(
    stderr,
    matching(
      /^a transfer of 20 MiB has no room for a piece: the project's own files take \d+\.\d MiB of it;/,
      / raise --limit, or remove files that git does not ignore\n$/,
    ),
  );
});

test(
  "the names that TensorFlow opens lead to the machine's libraries, and to an empty one for those that GPT-2 does " +
    'not use',
  () => {
    const [project, machine] = [join(folder, 'linked'), join(folder, 'cuda13')];
    const nvidia = join(project, '.alignbook', 'tensorflow', 'nvidia');
    mkdirSync(join(nvidia, 'cuda_runtime', 'lib'), { recursive: true });
    mkdirSync(machine);
    writeFileSync(join(nvidia, 'libempty.so'), '');
    writeFileSync(join(nvidia, 'cuda_runtime', 'lib', 'libcudart.so.12'), 'carried');
    for (const name of ['libcublas.so.13', 'libcublasLt.so.13', 'libcufft.so.12'])
      writeFileSync(join(machine, name), name);
    const code =
      `import sys; sys.path.insert(0, ${JSON.stringify(scripts)}); from pathlib import Path; import unpack; ` +
      `unpack.library_folders = lambda: [${JSON.stringify(machine)}]; ` +
      `unpack.link_cuda(Path(${JSON.stringify(project)}))`;
    const { stdout, stderr, status } = py(['-c', code]);
    assert.equal(status, 0, stderr);
    const linked = (name: string) => readFileSync(join(nvidia, name), 'utf8');
    assert.equal(linked('cuda_runtime/lib/libcudart.so.12'), 'carried');
    assert.equal(linked('cublas/lib/libcublas.so.12'), 'libcublas.so.13');
    assert.equal(linked('cublas/lib/libcublasLt.so.12'), 'libcublasLt.so.13');
    assert.equal(
      linked('cublas/lib/libcublasLt.so.13'),
      'libcublasLt.so.13',
      'under its own name, too, which cuBLAS asks for',
    );
    assert.equal(linked('cufft/lib/libcufft.so.11'), 'libcufft.so.12');
    assert.equal(linked('cudnn/lib/libcudnn.so.9'), '');
    assert.match(stdout, /^libcusolver\.so\.11 +empty: GPT-2 calls nothing of it$/m);
    rmSync(join(machine, 'libcublas.so.13'));
    assert.match(
      py(['-c', code]).stdout,
      /^libcublas\.so\.12 +MISSING: .*set LD_LIBRARY_PATH to CUDA's folder, or pack with --cublas$/m,
    );
  },
);

describe('the check', () => {
  const child = (code: string, deadline: number) => ({
    name: 'a child',
    program: process.execPath,
    args: ['-e', code],
    deadline,
  });
  const runChild = async (code: string, deadline: number) => {
    const path = join(folder, 'results.txt');
    const results = new Results(path);
    const well = await run(results, join(folder, 'log'), child(code, deadline));
    results.end();
    return { well, text: readFileSync(path, 'utf8'), counts: results.counts };
  };
  const SAY = `console.log(JSON.stringify({ line: 'seen so far', verdict: 'ok' }));`;

  test('writes down what a child saw, also where it is cut', async () => {
    const { well, text, counts } = await runChild(`${SAY} setInterval(() => {}, 1000)`, 1 / 60);
    assert.ok(!well);
    assert.match(text, /^ +0:0\d +ok +seen so far\n +0:0\d +left out +a child: cut at minute 0\.0\n$/);
    assert.deepEqual([counts.ok, counts['left out'], counts.FAILED], [1, 1, 0]);
  });

  test('a child that breaks has failed, with its last words', async () => {
    const { text, counts } = await runChild(`${SAY} console.error('out of luck'); process.exitCode = 3`, 1);
    assert.match(text, /FAILED +a child: ended with 3: out of luck; all that it said is in /);
    assert.equal(counts.FAILED, 1);
  });

  test('times beside others, and what they computed', () => {
    const timed = (contender: string, seconds: number[], result: unknown) => ({
      name: 'dpo',
      contender,
      seconds,
      result,
      megabytes: null,
    });
    const [ours, theirs] = [
      timed('ours', [0.02, 0.01, 0.04], { loss: 0.5 }),
      timed('PyTorch', [0.03, 0.05], { loss: 0.5001 }),
    ];
    assert.match(timeLine('fp32', theirs, ours), /30\.00 ms, median 40\.00 ms of 2; 3\.00x of ours \(2\.00x\)$/);
    assert.equal(disagreement(ours, theirs, 'dpo'), undefined);
    assert.match(
      disagreement(ours, timed('PyTorch', [1], { loss: 0.6 }), 'dpo')!,
      /PyTorch computed \{"loss":0\.6\}, ours \{"loss":0\.5\}/,
    );
    assert.ok(disagreement(timed('ours', [1], [[1, 2]]), timed('them', [1], [[1, 3]]), 'generate') !== undefined);
  });

  test('without a GPU it says so, and stops; wrong options are refused', () => {
    const check = (...args: string[]) =>
      spawnSync(process.execPath, [join(root, '.alignbook', 'build', 'scripts', 'gpu', 'check.js'), ...args], {
        encoding: 'utf8',
        env: { ...process.env, CUDA_VISIBLE_DEVICES: '-1' },
      });
    const results = join(folder, 'none', 'results.txt');
    const { status, stdout } = check('--results', results);
    assert.equal(status, 1);
    assert.match(stdout, /^No GPU was opened: the rest is left out \(--rehearse runs it on the CPU\)/m);
    assert.doesNotMatch(stdout, /Step 2|FAILED/);
    assert.equal(readFileSync(results, 'utf8').trim(), stdout.trim());
    for (const [args, message] of [
      [['--steps', '6'], /^--steps must be one of 1, 2, 3, 4, 5, got "6"/],
      [['--minutes', '0'], /^--minutes must be a number above 0, got 0; see npm run gpu:check -- --help\n$/],
    ] as const) {
      const { status: wrong, stderr } = check(...args);
      assert.equal(wrong, 2);
      assert.match(stderr, message);
    }
  });
});
