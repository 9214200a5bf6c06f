/** Supervised fine-tuning: the responses' tokens become likelier. Departures from the usual: none. */
import { setImmediate as nextTurn } from 'node:timers/promises';

import type { GPT2 } from '../model/gpt2';
import { responseBatch, type PromptResponses } from '../text/responseBatch';
import { tf } from '../tf';
import { accumulate, type Part } from './accumulate';
import type { AdamWOptions } from './optimizer';
import { batchOrder } from './order';
import { learningRate, type ScheduleOptions } from './schedule';
import { TrainingState } from './state';

/** What every trainer takes. */
export interface TrainOptions extends ScheduleOptions, AdamWOptions {
  /** Rows a step. Default 16. */
  batchSize?: number;
  /** The parts into which a batch is cut, to hold less at a time; the step is the same. Default 1. */
  accumulation?: number;
  /** Gradients are scaled down to this norm. Default 1. */
  maxGradNorm?: number;
  /** Of the rows' order. Default 0. */
  seed?: number;
  /** Ends the training between two steps, with the signal's reason as the error. */
  signal?: AbortSignal;
}

export interface SftStep {
  /** From 1 up. */
  readonly step: number;
  /** The mean negative log-prob of a response token, in nats. */
  readonly loss: number;
  /** Before clipping. */
  readonly gradNorm: number;
  readonly lr: number;
  /** Response tokens in this step's batch. */
  readonly tokens: number;
  readonly seconds: number;
}

/**
 * Trains `model` in place, and yields after each step.
 *
 * @param rows a prompt with one response each, as ids, the response with its end-of-sequence token.
 * @param state where to begin; moved on with each step, and the caller's to save and dispose of. Default: a new one.
 * @throws InputError if an option or a row does not fit, or the loss is no longer a number.
 */
export async function* trainSft(model: GPT2, rows: readonly PromptResponses[], options: TrainOptions, state?: TrainingState): AsyncGenerator<SftStep, void> {
  const { batchSize = 16, accumulation = 1, maxGradNorm = 1, seed = 0, signal } = options;
  const lrOf = learningRate(options);
  const rowsOf = batchOrder(rows.length, { batchSize, seed });
  const training = state ?? TrainingState.begin(model, options);
  try {
    while (training.step < options.steps) {
      const { step } = training;
      await nextTurn(); // lets an interrupt through
      signal?.throwIfAborted();
      const start = performance.now();

      const batch = rowsOf(step).map((row) => rows[row]!);
      const tokens = batch.reduce((sum, { responses }) => sum + responses[0]!.length, 0);
      const { loss, gradients } = accumulate(batch, accumulation, (part) => backward(model, part, tokens));

      const gradNorm = gradients.clip(maxGradNorm);
      const lr = lrOf(step);
      training.optimizer.step(gradients, lr);
      training.step += 1;

      yield { step: step + 1, loss, gradNorm, lr, tokens, seconds: (performance.now() - start) / 1000 };
    }
  } finally {
    if (!state) training.dispose();
  }
}

/** Some rows' share of the mean over the `tokens` of the whole batch. */
function backward(model: GPT2, rows: readonly PromptResponses[], tokens: number): Part {
  using recording = model.record(responseBatch(rows, { layout: 'padded', maxLength: model.config.blockSize }));
  const { perTokenLogps, responseMask } = recording;
  const loss = tf.tidy(() => perTokenLogps.sum().div(-tokens).dataSync()[0]!);
  const gradient = tf.tidy(() => responseMask.toFloat().div<tf.Tensor2D>(-tokens)); // of that with respect to each log-prob
  const gradients = recording.backward(gradient);
  tf.dispose([perTokenLogps, responseMask, gradient]);
  return { loss, gradients };
}
