/**
 * Direct Preference Optimization (arXiv 2305.18290), by Algorithm 1 of its text and the defaults of its code
 * (https://github.com/eric-mitchell/direct-preference-optimization). Departures: AdamW instead of RMSprop, and the
 * reference's
 * log-probs are computed once, before the first step, as they never change (`reference` may be a model instead).
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { differentiate } from '../model/forwardPass';
import { GPT2 } from '../model/gpt2';
import { RANGES, requireRange, type RangesOf } from '../ranges';
import type { PairIds } from '../text/batch';
import { tf } from '../tf';
import { accumulate, update, type Part } from './accumulate';
import { requireFiniteLoss, requireTraining, TRAINING_RANGES } from './checks';
import { pairLoss, requireLossOptions, type DpoLossOptions, type DpoMetrics } from './dpoMetrics';
import { mean, tokenMetrics } from './metrics';
import { validationInterval, type TrainOptions } from './options';
import { batchOrder, stepCount } from './order';
import { pairBatch, referenceLogps, withReference, type ReferencedPair, type RefLogps } from './reference';
import { learningRate } from './schedule';
import { TrainingState } from './state';

export interface DpoTrainOptions extends TrainOptions, DpoLossOptions {}

export interface DpoStep extends DpoMetrics {
  /** From 1 up. */
  readonly step: number;
  /** Before clipping. */
  readonly gradNorm: number;
  readonly lr: number;
  /** Response tokens, chosen and rejected, in this step's batch. */
  readonly tokens: number;
  /** Without the validation's. */
  readonly seconds: number;
  /** Of the validation pairs after this step, where they were looked at. */
  readonly validation?: DpoMetrics;
}

export interface DpoInputs {
  /**
   * Of each pair; or the reference itself, which then is asked for each batch. Default: that of the policy as it is
   * now.
   */
  reference?: readonly RefLogps[] | GPT2;
  /** Pairs that are not trained on, with the reference's log-probs, if they are known. */
  validation?: { readonly pairs: readonly PairIds[]; readonly reference?: readonly RefLogps[] } | undefined;
  /** Where to begin; moved on with each step, and the caller's to save and dispose of. Default: a new one. */
  state?: TrainingState;
}

/** A range for each number among the options. */
export const DPO_RANGES: RangesOf<DpoTrainOptions> = { ...TRAINING_RANGES, ...RANGES.validated, ...RANGES.pairs };

/** @throws InputError for an option that is out of its range or not the loss's, whatever the pairs. */
export function requireDpoOptions(options: DpoTrainOptions): void {
  requireTraining(options, DPO_RANGES, options.batchSize ?? 16);
  requireLossOptions(options);
}

/**
 * Trains `model` in place, and yields after each step.
 *
 * @param pairs as `encodePair` gives them.
 * @throws InputError if an option or a pair does not fit, or the loss is no longer a number.
 */
export async function* trainDpo(
  model: GPT2,
  pairs: readonly PairIds[],
  options: DpoTrainOptions,
  { reference, validation, state }: DpoInputs = {},
): AsyncGenerator<DpoStep, void> {
  const { batchSize = 16, accumulation = 1, maxGradNorm, seed = 0, signal } = options;
  requireDpoOptions(options);
  const steps = stepCount(options, pairs.length, batchSize);
  const validateEvery = validationInterval(options);
  const lrOf = learningRate({ ...options, steps });
  const rowsOf = batchOrder(pairs.length, {
    batchSize,
    seed,
    ...(options.groupByLength && { lengths: pairs.map(length) }),
  });
  const live = reference instanceof GPT2 ? reference : undefined;
  const known = reference instanceof GPT2 ? undefined : withReference(pairs, reference ?? referenceLogps(model, pairs));
  const held =
    validation &&
    withReference(validation.pairs, validation.reference ?? referenceLogps(live ?? model, validation.pairs));
  const training = state ?? TrainingState.begin(model, options);
  try {
    while (training.step < steps) {
      const step = training.step + 1;
      await nextTurn(); // lets an interrupt through
      signal?.throwIfAborted();
      const start = performance.now();

      const rows = rowsOf(step - 1);
      const batch = known
        ? rows.map((row) => known[row]!)
        : asked(
            live!,
            rows.map((row) => pairs[row]!),
          );
      const { parts, loss, gradients } = accumulate(batch, accumulation, (part) =>
        backward(training, part, batchSize, options),
      );

      const lr = lrOf(step - 1);
      const gradNorm = update(training, { loss, gradients }, { lr, maxGradNorm, rows });
      training.step = step;
      const [tokens, seconds] = [
        batch.reduce((sum, pair) => sum + responseTokens(pair), 0),
        (performance.now() - start) / 1000,
      ];

      const look = held !== undefined && (step % validateEvery === 0 || step === steps);
      yield {
        step,
        ...mean(parts.map(({ metrics }) => metrics)),
        gradNorm,
        lr,
        tokens,
        seconds,
        ...(look && { validation: metricsOf(model, held, options) }),
      };
    }
  } finally {
    if (!state) training.dispose();
  }
}

/** The metrics of pairs that `model` is not trained on. */
export function evaluateDpo(
  model: GPT2,
  pairs: readonly PairIds[],
  reference: readonly RefLogps[],
  options: DpoLossOptions & { batchSize?: number } = {},
): DpoMetrics {
  return metricsOf(model, withReference(pairs, reference), options);
}

function metricsOf(
  model: GPT2,
  pairs: readonly ReferencedPair[],
  options: DpoLossOptions & { batchSize?: number },
): DpoMetrics {
  const { batchSize = 16 } = options;
  requireRange('batchSize', batchSize, RANGES.training.batchSize);
  const parts: DpoMetrics[] = [];
  const shares: number[] = [];
  for (let start = 0; start < pairs.length; start += batchSize) {
    const some = pairs.slice(start, start + batchSize);
    const batch = pairBatch(model, some);
    const { perTokenLogps, statistics } = model.measure(batch);
    const metrics = tf.tidy(() => pairLoss(perTokenLogps, some, some.length, options).metrics());
    perTokenLogps.dispose();
    requireFiniteLoss(metrics.loss, start, some.length);
    parts.push({ ...metrics, ...tokenMetrics(batch, statistics, isChosen) });
    shares.push(some.length / pairs.length);
  }
  return mean(parts, shares);
}

const asked = (reference: GPT2, pairs: readonly PairIds[]): ReferencedPair[] =>
  withReference(pairs, referenceLogps(reference, pairs));
const responseTokens = ({ chosenIds, rejectedIds }: PairIds): number => chosenIds.length + rejectedIds.length;
const length = (pair: PairIds): number => pair.promptIds.length + responseTokens(pair);
/** Of a pair's two responses the first. */
const isChosen = (response: number): boolean => response % 2 === 0;

function backward(
  { model, optimizer }: TrainingState,
  pairs: readonly ReferencedPair[],
  batchSize: number,
  options: DpoTrainOptions,
): Part & { metrics: DpoMetrics } {
  const batch = pairBatch(model, pairs);
  using pass = model.record(batch, { statistics: options.tokenMetrics ?? false });
  let metrics: DpoMetrics;
  using loss = differentiate([pass.perTokenLogps], (perTokenLogps) => {
    const { loss: ofPart, metrics: measure } = pairLoss(perTokenLogps, pairs, batchSize, options);
    metrics = measure();
    return ofPart;
  });
  const gradients = pass.backward(loss.gradients[0], (name) => optimizer.trains(name));
  return {
    loss: loss.value,
    gradients,
    metrics: { ...metrics!, ...tokenMetrics(batch, pass.statistics, isChosen) },
  };
}
