/**
 * Direct Preference Optimization (arXiv 2305.18290), by Algorithm 1 of its text and the defaults of its code
 * (https://github.com/eric-mitchell/direct-preference-optimization). Departures: AdamW instead of RMSprop, and the reference's
 * log-probs are computed once, before the first step, as they never change.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { InputError } from '../errors';
import { dpoLoss } from '../losses/preference';
import type { PreferenceOptions } from '../losses/preferenceInputs';
import { preferenceLosses, type PreferenceLossName } from '../losses/preferenceLosses';
import type { GPT2 } from '../model/gpt2';
import type { PairIds } from '../text/batch';
import { responseBatch, type ResponseBatch } from '../text/responseBatch';
import { tf } from '../tf';
import { accumulate, type Part } from './accumulate';
import { batchOrder } from './order';
import { learningRate } from './schedule';
import { TrainingState } from './state';
import type { TrainOptions } from './trainSft';

export interface DpoLossOptions extends PreferenceOptions {
  /** One of `preferenceLosses`, whose options stand beside it. Default sigmoid, the paper's. */
  loss?: PreferenceLossName;
}

export interface DpoTrainOptions extends TrainOptions, DpoLossOptions {}

/** Log-probs of a pair's responses under the reference, in nats. */
export interface RefLogps {
  readonly refChosenLogps: number;
  readonly refRejectedLogps: number;
}

/** Means over the pairs, as TRL names them. */
export type DpoMetrics = {
  readonly loss: number;
  /** beta times the log-ratio of policy and reference. */
  readonly rewards: { readonly chosen: number; readonly rejected: number; readonly margins: number; readonly accuracies: number };
  /** Log-probs of whole responses under the policy. */
  readonly logps: { readonly chosen: number; readonly rejected: number };
};

export interface DpoStep extends DpoMetrics {
  /** From 1 up. */
  readonly step: number;
  /** Before clipping. */
  readonly gradNorm: number;
  readonly lr: number;
  readonly seconds: number;
}

/** A pair with what the reference says of it. */
type Pair = PairIds & RefLogps;

/**
 * Log-probs of the responses under `model`, some pairs at a time.
 *
 * @param options.onProgress told how many pairs are done.
 */
export function referenceLogps(model: GPT2, pairs: readonly PairIds[], { batchSize = 16, onProgress = (_done: number): void => undefined } = {}): RefLogps[] {
  const all: RefLogps[] = [];
  for (let start = 0; start < pairs.length; start += batchSize) {
    const sums = tf.tidy(() => model.score(batchOf(model, pairs.slice(start, start + batchSize))).sum(1).dataSync());
    for (let n = 0; n < sums.length; n += 2) all.push({ refChosenLogps: sums[n]!, refRejectedLogps: sums[n + 1]! });
    onProgress(all.length);
  }
  return all;
}

/**
 * Trains `model` in place, and yields after each step.
 *
 * @param pairs as `encodePair` gives them.
 * @param more.reference of each pair; default: those of `model` as it is now.
 * @param more.state where to begin; moved on with each step, and the caller's to save and dispose of. Default: a new one.
 * @throws InputError if an option or a pair does not fit, or the loss is no longer a number.
 */
export async function* trainDpo(model: GPT2, pairs: readonly PairIds[], options: DpoTrainOptions, more: { reference?: readonly RefLogps[]; state?: TrainingState } = {}): AsyncGenerator<DpoStep, void> {
  const { reference = referenceLogps(model, pairs), state } = more;
  const { batchSize = 16, accumulation = 1, maxGradNorm = 1, seed = 0, signal } = options;
  const rows = pairs.map((pair, n): Pair => ({ ...pair, ...reference[n]! }));
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
      const { parts, gradients } = accumulate(batch, accumulation, (part) => backward(model, part, batchSize, options));

      const gradNorm = gradients.clip(maxGradNorm);
      const lr = lrOf(step);
      training.optimizer.step(gradients, lr);
      training.step += 1;

      yield { step: step + 1, ...mean(parts), gradNorm, lr, seconds: (performance.now() - start) / 1000 };
    }
  } finally {
    if (!state) training.dispose();
  }
}

/** The metrics of pairs that `model` is not trained on. */
export function evaluateDpo(model: GPT2, pairs: readonly PairIds[], reference: readonly RefLogps[], options: DpoLossOptions & { batchSize?: number } = {}): DpoMetrics {
  const { batchSize = 16 } = options;
  const parts: DpoMetrics[] = [];
  const weights: number[] = [];
  for (let start = 0; start < pairs.length; start += batchSize) {
    const some = pairs.slice(start, start + batchSize).map((pair, n): Pair => ({ ...pair, ...reference[start + n]! }));
    parts.push(tf.tidy(() => lossOf(model.score(batchOf(model, some)), some, some.length, options).metrics()));
    weights.push(some.length / pairs.length);
  }
  return mean(parts, weights);
}

function lossNamed({ loss = 'sigmoid' }: DpoLossOptions) {
  if (Object.hasOwn(preferenceLosses, loss)) return preferenceLosses[loss];
  throw new InputError(`there is no loss "${loss}"; the losses are ${Object.keys(preferenceLosses).join(', ')}`);
}

/** The options that are the loss's; it refuses those that it does not take. */
function lossOptions({ beta, labelSmoothing, divergence, divergenceAlpha, discopopTau, gamma, nllCoef }: DpoLossOptions): PreferenceOptions {
  const all = { beta, labelSmoothing, divergence, divergenceAlpha, discopopTau, gamma, nllCoef };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

function batchOf(model: GPT2, pairs: readonly PairIds[]): ResponseBatch {
  const rows = pairs.map(({ promptIds, chosenIds, rejectedIds }) => ({ promptIds, responses: [chosenIds, rejectedIds] }));
  return responseBatch(rows, { layout: 'shared', maxLength: model.config.blockSize });
}

/** The loss of some pairs, as their share of the mean over `batchSize`; differentiable with respect to perTokenLogps [2P, L]. */
function lossOf(perTokenLogps: tf.Tensor2D, pairs: readonly Pair[], batchSize: number, options: DpoLossOptions) {
  const [policyChosenLogps, policyRejectedLogps] = tf.unstack(perTokenLogps.sum(1).reshape([pairs.length, 2]), 1) as [tf.Tensor1D, tf.Tensor1D];
  const logps = {
    policyChosenLogps,
    policyRejectedLogps,
    refChosenLogps: tf.tensor1d(pairs.map((pair) => pair.refChosenLogps)),
    refRejectedLogps: tf.tensor1d(pairs.map((pair) => pair.refRejectedLogps)),
  };
  const lengths = {
    chosenLengths: tf.tensor1d(pairs.map(({ chosenIds }) => chosenIds.length)),
    rejectedLengths: tf.tensor1d(pairs.map(({ rejectedIds }) => rejectedIds.length)),
  };
  const losses = lossNamed(options)({ ...logps, ...lengths }, lossOptions(options));
  const { chosenRewards, rejectedRewards } = dpoLoss(logps, { beta: options.beta ?? 0.1 }); // the rewards are DPO's, whatever the loss
  const average = (values: tf.Tensor) => values.mean().dataSync()[0]!;
  return {
    loss: losses.sum().div<tf.Scalar>(batchSize),
    metrics: (): DpoMetrics => ({
      loss: average(losses),
      rewards: {
        chosen: average(chosenRewards),
        rejected: average(rejectedRewards),
        margins: average(chosenRewards.sub(rejectedRewards)),
        accuracies: average(chosenRewards.greater(rejectedRewards).toFloat()),
      },
      logps: { chosen: average(policyChosenLogps), rejected: average(policyRejectedLogps) },
    }),
  };
}

function backward(model: GPT2, pairs: readonly Pair[], batchSize: number, options: DpoLossOptions): Part & { metrics: DpoMetrics } {
  using recording = model.record(batchOf(model, pairs));
  const { perTokenLogps, responseMask } = recording;
  let metrics: DpoMetrics;
  const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => {
    const { loss, metrics: measure } = lossOf(x as tf.Tensor2D, pairs, batchSize, options);
    metrics = measure();
    return loss;
  })(perTokenLogps);
  const gradients = recording.backward(grad as tf.Tensor2D);
  const loss = value.dataSync()[0]!;
  tf.dispose([perTokenLogps, responseMask, value, grad]);
  return { loss, gradients, metrics: metrics! };
}

/** Equal parts unless weights say otherwise. */
function mean(parts: readonly (DpoMetrics | { metrics: DpoMetrics })[], weights = parts.map(() => 1 / parts.length)): DpoMetrics {
  const all = parts.map((part) => ('metrics' in part ? part.metrics : part));
  const of = (value: (metrics: DpoMetrics) => number) => all.reduce((sum, metrics, n) => sum + weights[n]! * value(metrics), 0);
  return {
    loss: of(({ loss }) => loss),
    rewards: { chosen: of(({ rewards }) => rewards.chosen), rejected: of(({ rewards }) => rewards.rejected), margins: of(({ rewards }) => rewards.margins), accuracies: of(({ rewards }) => rewards.accuracies) },
    logps: { chosen: of(({ logps }) => logps.chosen), rejected: of(({ logps }) => logps.rejected) },
  };
}
