/** The frame of every training loop: which rows each step takes, gradients in parts, and the update of the weights. */
import { setImmediate as nextTurn } from 'node:timers/promises';

import type { Gradients } from '../engine/gradients';
import { InputError, listed, plural } from '../errors';
import type { Trainable } from '../model/weights';
import { RANGES, requireRange } from '../ranges';
import { withDefaults } from './declare';
import { isValidated, trainSettings, validationInterval, type TrainOptions } from './options';
import { batchOrder, stepCount } from './order';
import { learningRate } from './schedule';
import { TrainingState } from './state';

/** A step that a trainer is about to take. */
export interface Turn<Model extends Trainable> {
  readonly training: TrainingState<Model>;
  /** From 1 up. */
  readonly step: number;
  /** Indices of this step's rows, from 0. */
  readonly indices: readonly number[];
  /** This step's rows among all rows, or the same elements of an array aligned with them. */
  readonly pick: <T>(all: readonly T[]) => T[];
  readonly lr: number;
  /** Whether a validation is due after this step: every `validateEvery` steps, and after the last. */
  readonly isValidated: boolean;
  /** Seconds since the step began. */
  readonly elapsed: () => number;
}

export interface LoopInputs<Model extends Trainable, Row> {
  readonly rows: readonly Row[];
  /** Tokens of a row, so that `groupByLength` can put rows of similar length into one batch. */
  readonly length?: (row: Row) => number;
  /** Where to begin; the caller saves and disposes of it. Default: a new state, disposed of after the last step. */
  readonly state?: TrainingState<Model> | undefined;
}

/**
 * The steps that are left to take. A trainer computes each, sets `training.step` and yields its event; between two
 * steps interrupts get their turn.
 *
 * @param options.batchSize rows per step.
 * @throws InputError at once if an option is out of its range or there are no rows; the reason of `signal` later.
 */
export function stepsLeft<Model extends Trainable, Row>(
  model: Model,
  options: TrainOptions & { batchSize: number },
  { rows, length, state }: LoopInputs<Model, Row>,
): AsyncGenerator<Turn<Model>, void> {
  const { batchSize, seed, signal } = withDefaults(options, trainSettings);
  const steps = stepCount(options, rows.length, batchSize);
  const validateEvery = validationInterval(options);
  const lrOf = learningRate({ ...options, steps });
  const lengths = options.groupByLength && length ? { lengths: rows.map(length) } : {};
  const indicesOf = batchOrder(rows.length, { batchSize, seed, ...lengths });

  return (async function* () {
    const training = state ?? TrainingState.begin(model, options);
    try {
      while (training.step < steps) {
        await nextTurn(); // lets an interrupt through
        signal?.throwIfAborted();
        const start = performance.now();
        const step = training.step + 1;
        const indices = indicesOf(step - 1);
        yield {
          training,
          step,
          indices,
          pick: (all) => indices.map((index) => all[index]!),
          lr: lrOf(step - 1),
          isValidated: isValidated(step, { validateEvery, steps }),
          elapsed: () => (performance.now() - start) / 1000,
        };
      }
    } finally {
      if (!state) training.dispose();
    }
  })();
}

/** The result of one part of a batch: its share of the batch's loss, and its gradients. */
export interface Part {
  readonly loss: number;
  readonly gradients: Gradients;
}

/**
 * The gradients of a batch, computed in several parts so that only one part's activations are in memory at a time.
 *
 * @param compute gives the share of some of the rows.
 * @returns the results of the parts in order, the batch's loss, and the sum of the gradients, which the caller owns.
 * @throws InputError as `requireParts` does.
 */
export function accumulate<Row, Result extends Part>(
  rows: readonly Row[],
  parts: number,
  compute: (rows: readonly Row[]) => Result,
): { parts: Result[]; loss: number; gradients: Gradients } {
  requireParts(rows.length, parts);
  const size = rows.length / parts;
  const results: Result[] = [];
  for (let part = 0; part < parts; part += 1) {
    const result = compute(rows.slice(part * size, (part + 1) * size));
    results[0]?.gradients.add(result.gradients);
    results.push(result);
  }
  const loss = results.reduce((sum, result) => sum + result.loss, 0);
  return { parts: results, loss, gradients: results[0]!.gradients };
}

/** @throws InputError if `parts` is out of its range or does not divide `rows`. */
export function requireParts(rows: number, parts: number): void {
  requireRange('accumulation', parts, RANGES.training.accumulation);
  if (rows % parts !== 0)
    throw new InputError(
      `a batch of ${plural(rows, 'row')} cannot be split into ${plural(parts, 'equal part')}; change ` +
        `batchSize or accumulation`,
    );
}

/** Rows that a message names at most; a batch of windows may have hundreds. */
const SHOWN_ROWS = 32;

/**
 * Clips the gradients and updates the weights, unless the loss or the norm is not finite: a single NaN would make all
 * weights NaN.
 *
 * @param options.maxGradNorm 0 does not clip, as in transformers' Trainer.
 * @param options.rows indices of this step's rows, from 0.
 * @returns the norm of the gradients before clipping.
 * @throws InputError naming step and rows if loss or norm is NaN or infinite; the weights are then unchanged and the
 *   gradients disposed of.
 */
export function update<Model extends Trainable>(
  { optimizer, step }: TrainingState<Model>,
  { loss, gradients }: Part,
  { lr, maxGradNorm, rows }: { lr: number; maxGradNorm: number; rows: readonly number[] },
): number {
  const gradNorm = maxGradNorm === 0 ? gradients.norm() : gradients.clip(maxGradNorm);
  const wrong = Object.entries({ loss, gradNorm }).find(([, value]) => !Number.isFinite(value));
  if (wrong !== undefined) {
    gradients[Symbol.dispose]();
    const numbers = listed(
      rows.map((row) => row + 1),
      SHOWN_ROWS,
    );
    throw new InputError(
      `step ${step + 1}: ${wrong[0]} is ${wrong[1]}, on the ${rows.length === 1 ? 'row' : 'rows'} ${numbers} ` +
        `(counted from 1); ` +
        'check them, or try a lower lr or a longer warm-up',
    );
  }
  optimizer.step(gradients, lr);
  return gradNorm;
}
