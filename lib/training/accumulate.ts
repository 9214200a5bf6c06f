/** One step's batch in several parts: the same gradients, holding the activations of one part at a time. */
import { InputError } from '../errors';
import type { Gradients } from '../model/gradients';

/** What came of one part: its share of the batch's mean, and its gradients. */
export interface Part {
  readonly loss: number;
  readonly gradients: Gradients;
}

/**
 * @param backward gives the share of some rows of the batch.
 * @returns the parts' results in order, the batch's loss, and the sum of their gradients, which the caller owns.
 * @throws InputError if `parts` is no whole number from 1 up, or the batch cannot be cut into equal parts.
 */
export function accumulate<Row, Result extends Part>(rows: readonly Row[], parts: number, backward: (rows: readonly Row[]) => Result): { parts: Result[]; loss: number; gradients: Gradients } {
  if (!Number.isInteger(parts) || parts < 1) throw new InputError(`accumulation must be a whole number from 1 up, got ${parts}`);
  const size = rows.length / parts;
  if (!Number.isInteger(size)) throw new InputError(`a batch of ${rows.length} rows cannot be cut into ${parts} equal parts; change batchSize or accumulation`);
  const results: Result[] = [];
  for (let part = 0; part < parts; part += 1) {
    const result = backward(rows.slice(part * size, (part + 1) * size));
    results[0]?.gradients.add(result.gradients);
    results.push(result);
  }
  const loss = results.reduce((sum, result) => sum + result.loss, 0);
  return { parts: results, loss, gradients: results[0]!.gradients };
}

/**
 * Before the weights are changed: one NaN would make all of them NaN.
 *
 * @param rows of this step's batch, counted from 0.
 * @throws InputError, naming step and rows, if one of the values is NaN or infinite; the gradients are then disposed of.
 */
export function requireFinite(values: Readonly<Record<string, number>>, gradients: Gradients, { step, rows }: { step: number; rows: readonly number[] }): void {
  const wrong = Object.entries(values).find(([, value]) => !Number.isFinite(value));
  if (wrong === undefined) return;
  gradients[Symbol.dispose]();
  throw new InputError(`step ${step}: ${wrong[0]} is ${wrong[1]}, on the rows ${rows.map((row) => row + 1).join(', ')} (counted from 1); look at them, or try a lower lr, a longer warm-up`);
}
