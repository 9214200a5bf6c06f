/**
 * Turns SIGINT, from JupyterLab's stop button or Ctrl-C in a terminal, into a request that a loop checks between steps.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

export interface Interrupt {
  readonly wished: boolean;
  /** Restores SIGINT's previous behavior. */
  release(): void;
}

/**
 * Replaces the existing handlers of SIGINT until it arrives once: tslab's would end the cell and lose its declarations.
 * After that they are back, so a second interrupt ends a cell whose step never finishes.
 *
 * It first waits for a turn of the event loop. While the synchronous part of a cell runs, Node sets all handlers of
 * SIGINT aside; if one were registered then, the next interrupt would kill the kernel.
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
    setImmediate(release); // not immediately: several clicks during one step arrive together
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
