/**
 * The kit for a GPU machine, packed with the build that is here, carried piece by piece into an environment that has
 * Python and nothing else, put together there, and checked on the CPU.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { oraclePython, root } from '../../scripts/paths';

const folder = mkdtempSync(join(tmpdir(), 'gpu-rehearsal-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const [out, bare] = [join(folder, 'out'), join(folder, 'bare')];

const namespaces =
  spawnSync('unshare', ['--map-root-user', '--mount', '--net', '--pid', '--ipc', '--fork', 'true']).status === 0;
const skip = !namespaces && 'this system lets nobody make namespaces (unshare), which the bare environment is made of';

/** In the bare environment, whose `/kit` is what came. */
function there(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('sh', [join(root, 'scripts', 'gpu', 'bare.sh'), bare, oraclePython, '--', ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
}

test(
  'packed, carried piece by piece, put together and checked where there is neither Node nor a network',
  { skip },
  () => {
    const packed = spawnSync(
      join(root, '.alignbook', 'python', 'bin', 'python'),
      ['-B', join(root, 'scripts', 'gpu', 'pack.py'), '--rehearse', '--level', '0', '--out', out],
      { encoding: 'utf8' },
    );
    assert.equal(packed.status, 0, packed.stderr);
    const pieces = readdirSync(out)
      .filter((name) => name.endsWith('.xz'))
      .sort();
    assert.ok(pieces.length > 3, packed.stdout);

    const came = join(bare, 'kit', 'came');
    mkdirSync(came, { recursive: true });
    for (const name of ['kit.py', 'unpack.py'])
      copyFileSync(join(root, 'scripts', 'gpu', name), join(bare, 'kit', name));
    copyFileSync(join(out, 'manifest.json'), join(came, 'manifest.json'));
    assert.match(
      there('-c', 'import shutil; print(shutil.which("node"), shutil.os.path.exists("/usr/bin/node"))').stdout,
      /^None False$/m,
    );
    const unpack = ['/kit/unpack.py', '--from', '/kit/came', '--to', '/kit/there'];
    for (const [n, piece] of pieces.entries()) {
      copyFileSync(join(out, piece), join(came, piece));
      const { status, stdout, stderr } = there(...unpack);
      assert.equal(status, n < pieces.length - 1 ? 3 : 0, `${stdout}\n${stderr}`);
      rmSync(join(came, piece)); // the next transfer brings the next one only
      rmSync(join(out, piece));
    }

    const checked = there(...unpack, '--check', '--rehearse', '--minutes', '20', '--results', '/kit/results.txt');
    const text = readFileSync(join(bare, 'kit', 'results.txt'), 'utf8');
    assert.equal(checked.status, 0, `${text}\n${checked.stderr}`);
    assert.match(text, /^gpu:check of the kit of /m);
    assert.match(text, /^No GPU was opened: everything below runs on the CPU, and is a rehearsal\.$/m);
    for (const line of [
      'product .* in fp32',
      '05-ppo-loss.ipynb .* as expected',
      'fp32 tiny .* gradient, packed',
      'bf16 small .* gradient, packed',
      'fp32 tiny .* greedy generation, .* equal',
      "greatest distance from the CPU's loss",
    ]) {
      assert.match(text, new RegExp(`^ +[\\d:]+  ok +${line}`, 'm'));
    }
    for (const line of ['dpo, 4 pairs +ours', 'dpo, 4 pairs +PyTorch, tuned', 'generate, batch 8 +transformers'])
      assert.match(text, new RegExp(`fp32 ${line}`));
    assert.match(text, /^\d+ checks passed, 0 failed, 0 left out, on the CPU: no GPU was opened; /m);
  },
);
