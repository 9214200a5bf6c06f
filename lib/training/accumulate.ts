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
 * @returns the parts' results in order, and the sum of their gradients, which the caller owns.
 * @throws InputError if the loss is no longer a number; nothing is then left to dispose of.
 */
export function accumulate<Row, Result extends Part>(rows: readonly Row[], parts: number, backward: (rows: readonly Row[]) => Result): { parts: Result[]; loss: number; gradients: Gradients } {
  const size = rows.length / parts;
  if (!Number.isInteger(size)) throw new InputError(`a batch of ${rows.length} rows cannot be cut into ${parts} equal parts; change batchSize or accumulation`);
  const results: Result[] = [];
  for (let part = 0; part < parts; part += 1) {
    const result = backward(rows.slice(part * size, (part + 1) * size));
    results[0]?.gradients.add(result.gradients);
    results.push(result);
  }
  const loss = results.reduce((sum, result) => sum + result.loss, 0);
  const { gradients } = results[0]!;
  if (Number.isFinite(loss)) return { parts: results, loss, gradients };
  gradients[Symbol.dispose]();
  throw new InputError(`the loss is ${loss}; a lower lr or a longer warm-up may help`);
}
