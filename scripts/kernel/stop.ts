/**
 * The stop button, SIGINT: heard by the kernel's thread between two of its turns, and, where a cell leaves it none, by
 * another one, which ends what runs. Node's own way (`breakOnSigint`) ends a script, but not what runs behind its first
 * await or in a timer; and while it begins and ends, a signal is lost or ends the process.
 */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

/** What the two threads share, as places in an Int32Array. */
export const OWN = 0; // whether SIGINT is the kernel's, and not taken over by a training, which ends after its step
export const BUSY = 1; // whether the kernel itself works, compiling a cell, say: it is not to be ended

export class StopButton {
  readonly #shared = new Int32Array(new SharedArrayBuffer(8));
  readonly #interrupt: () => void;

  /** @param interrupt ends the cell that runs, as far as the kernel is concerned. */
  constructor(interrupt: () => void) {
    this.#interrupt = interrupt;
    const worker = new Worker(join(__dirname, 'stopWorker.js'), { workerData: this.#shared });
    worker.unref();
    // a Node without signal_wrap, say: the rest works on
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

  /** A cell may have taken all listeners of SIGINT away: the next press would end the process. */
  rearm(): void {
    if (!process.listeners('SIGINT').includes(this.#interrupt)) process.on('SIGINT', this.#interrupt);
  }

  /** Runs a part of the kernel's own work. */
  undisturbed<T>(work: () => T): T {
    Atomics.store(this.#shared, BUSY, 1);
    try {
      return work();
    } finally {
      Atomics.store(this.#shared, BUSY, 0);
    }
  }
}
