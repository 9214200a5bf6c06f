/**
 * Does what the kernel's own thread may be too busy for: receives SIGINT and ends the running code (see stop.ts), and
 * ends the kernel when its parent process ends.
 */
import { Session } from 'node:inspector';
import { parentPort, workerData } from 'node:worker_threads';

import { isAlive } from 'alignbook/dist/processes';

import { BUSY, OWN } from './stop';

/** Node listens to signals in its main thread only; libuv, below it, in any. */
interface SignalWatcher {
  onsignal: (signal: number) => void;
  start(signal: number): number;
}

const SIGINT = 2;
/** Milliseconds in which the kernel's thread may hear of it by itself: a training's step ends, and `finally` runs. */
const GRACE = 300;

const shared = workerData as Int32Array;
const port = parentPort!;
let presses = 0; // that the kernel's thread has not heard of
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

/** The process that started the kernel, by Jupyter's own account: it may have ended before this line. */
const starter = Number(process.env['JPY_PARENT_PID'] ?? process.ppid);
const parent = process.ppid;

/** A kernel whose Jupyter was killed, or whose terminal was closed, would stay for ever: nobody could reach it. */
function endWithJupyter(): void {
  if (process.ppid === parent && (parent === starter || isAlive(starter))) return;
  clearInterval(watch);
  port.postMessage('orphaned');
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), 2000); // where an endless loop hears nothing
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
  // Where a training has taken SIGINT over, the first press is its own affair: it ends after the running step.
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
