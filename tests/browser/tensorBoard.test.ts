/**
 * TensorBoard itself, on what `tensorBoard` writes: the groups of its page, and the values that it serves, also of a
 * run that was resumed. It is installed into a temporary folder, with the hashes of requirements/tensorboard.txt; a
 * picture is left in .alignbook/browser/pictures.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';

import { root } from '../../scripts/paths';
import { launch, pictures } from './lab';

const place = mkdtempSync(join(tmpdir(), 'tensorboard-'));
const runs = join(place, 'runs');
let server: ChildProcess;
let address: string | undefined;

/** Writes the steps after one of a run, in a process of its own. */
function write(run: string, { from, to }: { from: number; to: number }): void {
  const code = `const { tensorBoard } = require(${JSON.stringify(require.resolve('alignbook'))});
    const write = tensorBoard(${JSON.stringify(join(runs, run))}, { after: ${from} });
    for (let step = ${from} + 1; step <= ${to}; step += 1)
      write({ step, loss: 1 / step, rewards: { chosen: step, rejected: -step },
        ...(step % 5 === 0 && { validation: { loss: 2 / step } }) });`;
  execFileSync(process.execPath, ['-e', code]);
}

before(async () => {
  mkdirSync(pictures, { recursive: true });
  execFileSync('python3', ['-m', 'venv', join(place, 'python')]);
  const locked = join(root, 'requirements', 'tensorboard.txt');
  execFileSync(join(place, 'python', 'bin', 'pip'), ['install', '--quiet', '--require-hashes', '-r', locked]);
  write('whole', { from: 0, to: 20 });
  write('resumed', { from: 0, to: 17 });
  write('resumed', { from: 10, to: 20 });
  server = spawn(join(place, 'python', 'bin', 'tensorboard'), ['--logdir', runs, '--port', '0', '--load_fast=false']);
  let said = '';
  for (server.stderr!.on('data', (bytes) => (said += bytes)); !address; await setTimeout(100)) {
    assert.equal(server.exitCode, null, said);
    address = /http:\/\/(?:localhost|127\.0\.0\.1):\d+\//.exec(said)?.[0];
  }
});
after(async () => {
  server.kill();
  await once(server, 'close');
  rmSync(place, { recursive: true });
});

test('it serves every value once, at its step, also of a resumed run', async () => {
  for (const run of ['whole', 'resumed']) {
    const values = async (tag: string) => {
      const response = await fetch(`${address}data/plugin/scalars/scalars?run=${run}&tag=${encodeURIComponent(tag)}`);
      return ((await response.json()) as [time: number, step: number, value: number][]).map(([, ...rest]) => rest);
    };
    const steps = Array.from({ length: 20 }, (_, n) => n + 1);
    assert.deepEqual(
      await values('train/loss'),
      steps.map((step) => [step, Math.fround(1 / step)]),
    );
    assert.deepEqual(
      await values('train/rewards/rejected'),
      steps.map((step) => [step, -step]),
    );
    assert.deepEqual(
      await values('validation/loss'),
      [5, 10, 15, 20].map((step) => [step, Math.fround(2 / step)]),
    );
  }
});

test('its page shows the runs, and the curves in two groups', async () => {
  const browser = await launch();
  const page = await browser.newPage({ viewport: { width: 1400, height: 1000 } });
  await page.goto(`${address}?darkMode=false#timeseries`);
  await page.waitForSelector('text=train/rewards/chosen');
  await page.waitForTimeout(2000); // the curves are drawn
  await page.screenshot({ path: join(pictures, 'tensorboard.png') });
  const shown = (await page.innerText('body')).replace(/\n+/g, '\n');
  await browser.close();
  assert.match(shown, /^train *\n? *3 cards$/m);
  assert.match(shown, /^validation$/m);
  for (const run of ['whole', 'resumed']) assert.match(shown, new RegExp(`^${run}$`, 'm'));
});
