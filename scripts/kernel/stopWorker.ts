/**
 * Does what the kernel's own thread may be too busy to do: receives SIGINT and ends the running code (see stop.ts), and
 * ends the kernel when its parent process ends.
 */
import { Session } from 'node:inspector';
import { parentPort, workerData } from 'node:worker_threads';

import { isAlive } from 'alignbook/dist/processes';

import { BUSY, OWN } from './stop';

/** Node handles signals in its main thread only; libuv, on which Node is built, does so in any thread. */
interface SignalWatcher {
  onsignal: (signal: number) => void;
  start(signal: number): number;
}

const SIGINT = 2;
/** Milliseconds that the kernel's thread has to notice the press itself: a training's step ends, and `finally` runs. */
const GRACE = 300;

const shared = workerData as Int32Array;
const port = parentPort!;
let presses = 0; // that the kernel's thread has not noticed
let waiting: NodeJS.Timeout | undefined;

process.noDeprecation = true; // process.binding
const { Signal } = (
  process as unknown as { binding(name: 'signal_wrap'): { Signal: new () => SignalWatcher } }
).binding('signal_wrap');
const signal = new Signal();
signal.onsignal = () => {
  presses += 1;
  port.postMessage('heard?');
  waiting ??= setTimeout(end, GRACE);
};
signal.start(SIGINT);

/** The process that started the kernel, as Jupyter names it; it may have ended before this line runs. */
const starter = Number(process.env['JPY_PARENT_PID'] ?? process.ppid);
const parent = process.ppid;

/** Without this, a kernel whose Jupyter was killed, or whose terminal was closed, would run forever, out of reach. */
function endWithJupyter(): void {
  if (process.ppid === parent && (parent === starter || isAlive(starter))) return;
  clearInterval(watch);
  port.postMessage('orphaned');
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), 2000); // in case an endless loop blocks the kernel
}
const watch = setInterval(endWithJupyter, 1000);

port.on('message', () => {
  presses = 0;
  clearTimeout(waiting);
  waiting = undefined;
});

function end(): void {
  waiting = undefined;
  if (presses === 0) return;
  // If a training has taken over SIGINT, the first press belongs to the training, which ends after the current step.
  const mayEnd = Atomics.load(shared, BUSY) === 0 && (Atomics.load(shared, OWN) === 1 || presses > 1);
  if (!mayEnd) {
    waiting = setTimeout(end, GRACE);
    return;
  }
  presses = 0;
  const session = new Session();
  session.connectToMainThread();
  session.post('Runtime.terminateExecution', () => {
    session.disconnect();
    port.postMessage('ended');
  });
}
