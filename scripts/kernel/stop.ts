/**
 * The stop button, SIGINT. The kernel's thread receives it between two turns of the event loop; if a cell leaves no
 * time between turns, another thread receives it and ends the running code. Node's own way (`breakOnSigint`) ends a
 * script, but not code after the script's first await or in a timer; and while it starts and ends, a signal can be lost
 * or can end the process.
 */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

/** The fields that the two threads share, as places in an Int32Array. */
export const OWN = 0; // whether SIGINT is the kernel's, and not taken over by a training, which ends after its step
export const BUSY = 1; // whether the kernel itself is working (compiling a cell, for example) and must not be ended

export class StopButton {
  readonly #shared = new Int32Array(new SharedArrayBuffer(8));
  readonly #interrupt: () => void;

  /** @param interrupt makes the kernel consider the running cell ended. */
  constructor(interrupt: () => void) {
    this.#interrupt = interrupt;
    const worker = new Worker(join(__dirname, 'stopWorker.js'), { workerData: this.#shared });
    worker.unref();
    // For example, in a Node without signal_wrap: everything else works.
    worker.on('error', (error) => console.error(`endless loops behind an await cannot be stopped: ${error.message}`));
    worker.on('message', (message: 'heard?' | 'ended' | 'orphaned') => {
      if (message === 'orphaned') process.exit();
      else if (message === 'heard?') worker.postMessage('heard');
      else interrupt();
    });
    const own = (value: number) => (name: string | symbol, listener: unknown) =>
      void (name === 'SIGINT' && listener === interrupt && Atomics.store(this.#shared, OWN, value));
    process.on('newListener', own(1));
    process.on('removeListener', own(0));
    this.rearm();
  }

  /** A cell may have removed all listeners of SIGINT; the next press would then end the process. */
  rearm(): void {
    if (!process.listeners('SIGINT').includes(this.#interrupt)) process.on('SIGINT', this.#interrupt);
  }

  /** Runs part of the kernel's own work. */
  undisturbed<T>(work: () => T): T {
    Atomics.store(this.#shared, BUSY, 1);
    try {
      return work();
    } finally {
      Atomics.store(this.#shared, BUSY, 0);
    }
  }
}
