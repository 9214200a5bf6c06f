/** JupyterLab's stop button and Ctrl-C in a terminal: SIGINT as a request that a loop checks between two steps. */
import { setImmediate as nextTurn } from 'node:timers/promises';

export interface Interrupt {
  readonly wished: boolean;
  /** SIGINT does again what it did before. */
  release(): void;
}

/**
 * Takes SIGINT over from whoever has it, until it comes once: tslab would end the cell and forget what it declares. The
 * next one is theirs again, so that a second interrupt ends a cell whose step does not end.
 *
 * It waits for a turn of the event loop first. While a cell's synchronous part runs, Node keeps all handlers of SIGINT
 * aside; with one that is registered then, the next interrupt would kill the kernel.
 */
export async function onInterrupt(): Promise<Interrupt> {
  await nextTurn();
  const others = process.rawListeners('SIGINT') as NodeJS.SignalsListener[];
  let wished = false;
  let released = false;
  const release = () => {
    if (released) return;
    released = true;
    for (const listener of others) process.on('SIGINT', listener);
    process.off('SIGINT', interrupt);
  };
  const interrupt = () => {
    wished = true;
    setImmediate(release); // not at once: several clicks during one step arrive together
  };
  process.on('SIGINT', interrupt);
  for (const listener of others) process.off('SIGINT', listener);
  return {
    get wished() {
      return wished;
    },
    release,
  };
}
