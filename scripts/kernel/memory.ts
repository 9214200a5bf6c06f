/**
 * Frees models that no cell refers to. Their weights lie outside JavaScript's heap, so the garbage collector sees no
 * pressure to run: a cell that loads a model, run repeatedly, would keep every one of them in memory.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import v8 from 'node:v8';
import vm from 'node:vm';

/** Bytes of models and optimizers since the last time: two of the embedded model's size. */
const GROWTH = 48 * 2 ** 20;

v8.setFlagsFromString('--expose-gc');
const collectGarbage = vm.runInNewContext('gc') as () => void;
v8.setFlagsFromString('--no-expose-gc'); // cells have no `gc`, as with tslab as it comes

/** As the cells' library counts them, if they have loaded it. */
function bytes(): number {
  const library = require.cache[require.resolve('alignbook/dist/engine/handle')] as
    { exports: { garbageCollectedBytes(): number } } | undefined;
  return library?.exports.garbageCollectedBytes() ?? 0;
}

let atLast = 0;

/**
 * Frees what nothing refers to any more, where much was added since the last call: it takes a tenth of a second or two.
 */
export async function freeForgotten(): Promise<void> {
  atLast = Math.min(atLast, bytes()); // what was disposed of makes no room
  if (bytes() - atLast < GROWTH) return;
  collectGarbage();
  await nextTurn(); // in which the library hears of it
  atLast = bytes();
}
