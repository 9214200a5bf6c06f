/**
 * One step's gradients, of the batch in several parts, holding the activations of one part at a time; and what is done
 * with them.
 */
import type { Gradients } from '../engine/gradients';
import { InputError } from '../errors';
import type { Trainable } from '../model/weights';
import { RANGES, requireRange } from '../ranges';
import type { TrainingState } from './state';

/** What came of one part: its share of the batch's mean, and its gradients. */
export interface Part {
  readonly loss: number;
  readonly gradients: Gradients;
}

/**
 * @param backward gives the share of some rows of the batch.
 * @returns the parts' results in order, the batch's loss, and the sum of their gradients, which the caller owns.
 * @throws InputError as `requireParts` does.
 */
export function accumulate<Row, Result extends Part>(
  rows: readonly Row[],
  parts: number,
  backward: (rows: readonly Row[]) => Result,
): { parts: Result[]; loss: number; gradients: Gradients } {
  requireParts(rows.length, parts);
  const size = rows.length / parts;
  const results: Result[] = [];
  for (let part = 0; part < parts; part += 1) {
    const result = backward(rows.slice(part * size, (part + 1) * size));
    results[0]?.gradients.add(result.gradients);
    results.push(result);
  }
  const loss = results.reduce((sum, result) => sum + result.loss, 0);
  return { parts: results, loss, gradients: results[0]!.gradients };
}

/** @throws InputError if so many rows cannot be cut into so many equal parts. */
export function requireParts(rows: number, parts: number): void {
  requireRange('accumulation', parts, RANGES.training.accumulation);
  if (rows % parts !== 0)
    throw new InputError(
      `a batch of ${rows} rows cannot be cut into ${parts} equal parts; change batchSize or accumulation`,
    );
}

/**
 * Clips the gradients and changes the weights by them, unless something is no number: one NaN would make all weights
 * NaN.
 *
 * @param options.maxGradNorm default 1; 0 does not clip, as in transformers' Trainer.
 * @param options.rows of this step's batch, counted from 0.
 * @returns the gradients' norm before clipping.
 * @throws InputError, naming step and rows, if loss or norm is NaN or infinite; the weights are then as they were, the
 *   gradients disposed of.
 */
export function update<Model extends Trainable>(
  { optimizer, step }: TrainingState<Model>,
  { loss, gradients }: Part,
  { lr, maxGradNorm = 1, rows }: { lr: number; maxGradNorm?: number | undefined; rows: readonly number[] },
): number {
  const gradNorm = maxGradNorm === 0 ? gradients.norm() : gradients.clip(maxGradNorm);
  const wrong = Object.entries({ loss, gradNorm }).find(([, value]) => !Number.isFinite(value));
  if (wrong !== undefined) {
    gradients[Symbol.dispose]();
    throw new InputError(
      `step ${step + 1}: ${wrong[0]} is ${wrong[1]}, on the rows ${rows.map((row) => row + 1).join(', ')} (counted from 1); look at them, or try a lower lr, a longer warm-up`,
    );
  }
  optimizer.step(gradients, lr);
  return gradNorm;
}
