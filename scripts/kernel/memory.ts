/**
 * Frees models that no cell refers to. Their weights lie outside JavaScript's heap, so the garbage collector sees no
 * pressure to run: a cell that loads a model, run repeatedly, would keep every one of them in memory.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import v8 from 'node:v8';
import vm from 'node:vm';

/** Bytes of models and optimizers added since the last collection: twice the size of the embedded model. */
const GROWTH = 48 * 2 ** 20;

v8.setFlagsFromString('--expose-gc');
export const collectGarbage = vm.runInNewContext('gc') as () => void;
v8.setFlagsFromString('--no-expose-gc'); // cells have no `gc`, as in unmodified tslab

/** The bytes that the cells' library counts, if they have loaded it. */
function bytes(): number {
  const library = require.cache[require.resolve('alignbook/dist/engine/handle')] as
    { exports: { garbageCollectedBytes(): number } } | undefined;
  return library?.exports.garbageCollectedBytes() ?? 0;
}

let atLast = 0;

/**
 * Frees models that nothing refers to, if many bytes were added since the last call. Takes a tenth of a second or two.
 */
export async function freeForgotten(): Promise<void> {
  atLast = Math.min(atLast, bytes()); // bytes that were disposed of do not offset later ones
  if (bytes() - atLast < GROWTH) return;
  collectGarbage();
  await nextTurn(); // in this turn, the library learns of it
  atLast = bytes();
}
