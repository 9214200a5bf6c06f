/** Supervised fine-tuning: the responses' tokens become likelier. Departures from the usual: none. */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { differentiate } from '../model/forwardPass';
import type { GPT2 } from '../model/gpt2';
import { RANGES, requireRange, type RangesOf } from '../ranges';
import { responseBatch, type PromptResponses, type ResponseBatch } from '../text/responseBatch';
import { tf } from '../tf';
import { accumulate, update, type Part } from './accumulate';
import { requireFiniteLoss, requireTraining, TRAINING_RANGES } from './checks';
import { mean, tokenMetrics, type TokenMetrics } from './metrics';
import { validationInterval, type TrainOptions } from './options';
import { batchOrder, stepCount } from './order';
import { learningRate } from './schedule';
import { TrainingState } from './state';

export type SftMetrics = TokenMetrics & {
  /** The mean negative log-prob of a response token, in nats. */
  readonly loss: number;
};

export interface SftStep extends SftMetrics {
  /** From 1 up. */
  readonly step: number;
  /** Before clipping. */
  readonly gradNorm: number;
  readonly lr: number;
  /** Response tokens in this step's batch. */
  readonly tokens: number;
  /** Without the validation's. */
  readonly seconds: number;
  /** Of the validation rows after this step, where they were looked at. */
  readonly validation?: SftMetrics;
}

/** A range for each number among the options. */
export const SFT_RANGES: RangesOf<TrainOptions> = { ...TRAINING_RANGES, ...RANGES.validated };

/** @throws InputError for an option that is out of its range, whatever the rows. */
export function requireSftOptions(options: TrainOptions): void {
  requireTraining(options, SFT_RANGES, options.batchSize ?? 16);
}

/**
 * Trains `model` in place, and yields after each step.
 *
 * @param rows a prompt with one response each, as ids, the response with its end-of-sequence token.
 * @param more.validation rows that are not trained on.
 * @param more.state where to begin; moved on with each step, and the caller's to save and dispose of. Default: a new
 *   one.
 * @throws InputError if an option or a row does not fit, or the loss is no longer a number.
 */
export async function* trainSft(
  model: GPT2,
  rows: readonly PromptResponses[],
  options: TrainOptions,
  { validation, state }: { validation?: readonly PromptResponses[] | undefined; state?: TrainingState } = {},
): AsyncGenerator<SftStep, void> {
  const { batchSize = 16, accumulation = 1, maxGradNorm, seed = 0, signal } = options;
  requireSftOptions(options);
  const steps = stepCount(options, rows.length, batchSize);
  const validateEvery = validationInterval(options);
  const lrOf = learningRate({ ...options, steps });
  const rowsOf = batchOrder(rows.length, {
    batchSize,
    seed,
    ...(options.groupByLength && { lengths: rows.map(length) }),
  });
  const training = state ?? TrainingState.begin(model, options);
  try {
    while (training.step < steps) {
      const step = training.step + 1;
      await nextTurn(); // lets an interrupt through
      signal?.throwIfAborted();
      const start = performance.now();

      const numbers = rowsOf(step - 1);
      const batch = numbers.map((row) => rows[row]!);
      const tokens = responseTokens(batch);
      const { parts, loss, gradients } = accumulate(batch, accumulation, (part) =>
        backward(training, part, tokens, options),
      );

      const lr = lrOf(step - 1);
      const gradNorm = update(training, { loss, gradients }, { lr, maxGradNorm, rows: numbers });
      training.step = step;
      const seconds = (performance.now() - start) / 1000;

      const look = validation !== undefined && (step % validateEvery === 0 || step === steps);
      const shares = parts.map((part) => part.tokens / tokens);
      yield {
        step,
        loss,
        ...mean(
          parts.map(({ metrics }) => metrics),
          shares,
        ),
        gradNorm,
        lr,
        tokens,
        seconds,
        ...(look && { validation: evaluateSft(model, validation, { batchSize }) }),
      };
    }
  } finally {
    if (!state) training.dispose();
  }
}

/** The metrics of rows that `model` is not trained on. */
export function evaluateSft(model: GPT2, rows: readonly PromptResponses[], { batchSize = 16 } = {}): SftMetrics {
  requireRange('batchSize', batchSize, RANGES.training.batchSize);
  const parts: SftMetrics[] = [];
  const shares: number[] = [];
  for (let start = 0; start < rows.length; start += batchSize) {
    const some = rows.slice(start, start + batchSize);
    const batch = batchOf(model, some);
    const { perTokenLogps, statistics } = model.measure(batch);
    const loss = tf.tidy(() => perTokenLogps.sum().div(-responseTokens(some)).dataSync()[0]!);
    perTokenLogps.dispose();
    requireFiniteLoss(loss, start, some.length);
    parts.push({ loss, ...tokenMetrics(batch, statistics, () => true) });
    shares.push(responseTokens(some) / responseTokens(rows));
  }
  return mean(parts, shares);
}

const length = ({ promptIds, responses }: PromptResponses): number => promptIds.length + responses[0]!.length;
const responseTokens = (rows: readonly PromptResponses[]): number =>
  rows.reduce((sum, { responses }) => sum + responses[0]!.length, 0);
const batchOf = (model: GPT2, rows: readonly PromptResponses[]): ResponseBatch =>
  responseBatch(rows, { layout: 'padded', maxLength: model.config.blockSize });

/** Some rows' share of the mean over the `tokens` of the whole batch. */
function backward(
  { model, optimizer }: TrainingState,
  rows: readonly PromptResponses[],
  tokens: number,
  options: TrainOptions,
): Part & { metrics: TokenMetrics; tokens: number } {
  const batch = batchOf(model, rows);
  using pass = model.record(batch, { statistics: options.tokenMetrics ?? false });
  using loss = differentiate([pass.perTokenLogps], (perTokenLogps) => perTokenLogps.sum().div<tf.Scalar>(-tokens));
  const gradients = pass.backward(loss.gradients[0], (name) => optimizer.trains(name));
  return {
    loss: loss.value,
    gradients,
    metrics: tokenMetrics(batch, pass.statistics, () => true),
    tokens: responseTokens(rows),
  };
}
