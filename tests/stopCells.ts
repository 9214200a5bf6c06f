/** Cells that are stopped a given number of milliseconds after they began to wait. */
import assert from 'node:assert/strict';

import { kernel } from './kernel';

/** A separate process sends the signal, so that the kernel's thread has no influence on when it arrives. */
const stopper = `
const { spawn } = await import('node:child_process');
const interrupt = "() => process.kill(process.ppid, 'SIGINT')";
const script = "process.stdin.on('data', (text) => setTimeout(" + interrupt + ", Number(text)))";
const stopper = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'ignore', 'ignore'] });
stopper.unref();
await new Promise((done) => setTimeout(done, 500)); // until it listens`;

/** @returns how each cell ended. */
export function stoppedAfter(milliseconds: number, times: number): string[] {
  const code =
    `stopper.stdin.write('${milliseconds}');\nawait new Promise((done) => setTimeout(done, ` +
    `2000));\nconsole.log('not stopped');`;
  const { cells, alive } = kernel([
    { code: stopper },
    ...Array<object>(times).fill({ code, stop_on_error: false }),
    { code: 'stopper.kill(); console.log(1);' },
  ]);
  assert.deepEqual([cells[0]!.status, cells.at(-1)!.stdout, alive], ['ok', '1\n', true]);
  return cells.slice(1, -1).map(({ status, errors, stdout }) => errors[0]?.ename ?? `${status} ${stdout}`);
}
