/**
 * A reward model from pairs: the Bradley-Terry loss on the scores of chosen and rejected, as in InstructGPT (arXiv
 * 2203.02155,
 * section 3.5) and TRL's RewardTrainer. Departures: a prompt is computed once for both of its responses, which changes
 * no score.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { InputError } from '../errors';
import { rewardLoss, type RewardLossOptions } from '../losses/reward';
import { differentiate } from '../model/forwardPass';
import type { RewardModel } from '../model/rewardModel';
import { scoreResponses, type ScoringOptions } from '../model/score';
import { RANGES, type RangesOf } from '../ranges';
import type { PairIds } from '../text/batch';
import { tf } from '../tf';
import { accumulate, update, type Part } from './accumulate';
import { calibration } from './calibration';
import { requireTraining, TRAINING_RANGES } from './checks';
import { mean } from './metrics';
import { validationInterval, type TrainOptions } from './options';
import { batchOrder, stepCount } from './order';
import { pairBatch } from './reference';
import { learningRate } from './schedule';
import { TrainingState } from './state';

export interface RewardTrainOptions extends Omit<TrainOptions, 'tokenMetrics'>, Pick<RewardLossOptions, 'centring'> {}

/** Means over the pairs, as TRL names them. */
export type RewardMetrics = {
  /** With margins and centring, where there are any. */
  readonly loss: number;
  /** The share of pairs whose chosen response has the greater score. */
  readonly accuracy: number;
  /** Score of the chosen response less that of the rejected one. */
  readonly margin: number;
  readonly scores: { readonly chosen: number; readonly rejected: number };
};

/** What is measured of pairs that are not trained on: also calibration's two figures. */
export type RewardEvaluation = RewardMetrics & { readonly calibrationError: number; readonly brier: number };

export interface RewardStep extends RewardMetrics {
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
  readonly validation?: RewardEvaluation;
}

/** A range for each number among the options. */
export const REWARD_RANGES: RangesOf<RewardTrainOptions> = {
  ...TRAINING_RANGES,
  ...RANGES.validated,
  ...RANGES.reward,
};

/** @throws InputError for an option that is out of its range, whatever the pairs. */
export function requireRewardOptions(options: RewardTrainOptions): void {
  requireTraining(options, REWARD_RANGES, options.batchSize ?? 16);
}

/**
 * Trains `model` in place, and yields after each step.
 *
 * @param pairs as `encodePair` and `readPairs` give them; a pair's `margin` counts where it has one.
 * @param more.validation pairs that are not trained on.
 * @param more.state where to begin; moved on with each step, and the caller's to save and dispose of. Default: a new
 *   one.
 * @throws InputError if an option or a pair does not fit, or the loss is no longer a number.
 */
export async function* trainReward(
  model: RewardModel,
  pairs: readonly PairIds[],
  options: RewardTrainOptions,
  { validation, state }: { validation?: readonly PairIds[] | undefined; state?: TrainingState<RewardModel> } = {},
): AsyncGenerator<RewardStep, void> {
  const { batchSize = 16, accumulation = 1, maxGradNorm, seed = 0, signal, centring = 0 } = options;
  requireRewardOptions(options);
  const steps = stepCount(options, pairs.length, batchSize);
  const validateEvery = validationInterval(options);
  const lrOf = learningRate({ ...options, steps });
  const rowsOf = batchOrder(pairs.length, {
    batchSize,
    seed,
    ...(options.groupByLength && { lengths: pairs.map(length) }),
  });
  const training = state ?? TrainingState.begin(model, options);
  try {
    while (training.step < steps) {
      const step = training.step + 1;
      await nextTurn(); // lets an interrupt through
      signal?.throwIfAborted();
      const start = performance.now();

      const rows = rowsOf(step - 1);
      const batch = rows.map((row) => pairs[row]!);
      const { parts, loss, gradients } = accumulate(batch, accumulation, (part) =>
        backward(training, part, batchSize, centring),
      );

      const lr = lrOf(step - 1);
      const gradNorm = update(training, { loss, gradients }, { lr, maxGradNorm, rows });
      training.step = step;
      const [tokens, seconds] = [
        batch.reduce((sum, pair) => sum + responseTokens(pair), 0),
        (performance.now() - start) / 1000,
      ];

      const look = validation !== undefined && (step % validateEvery === 0 || step === steps);
      yield {
        step,
        ...mean(parts.map(({ metrics }) => metrics)),
        gradNorm,
        lr,
        tokens,
        seconds,
        ...(look && { validation: evaluateReward(model, validation, { batchSize, centring }) }),
      };
    }
  } finally {
    if (!state) training.dispose();
  }
}

/**
 * The metrics of pairs that `model` is not trained on.
 * @throws InputError if there are none, or as `scoreResponses` does.
 */
export function evaluateReward(
  model: RewardModel,
  pairs: readonly PairIds[],
  { centring = 0, ...options }: ScoringOptions & { centring?: number } = {},
): RewardEvaluation {
  if (pairs.length === 0) throw new InputError('there are no pairs to evaluate on');
  const scores = scoreResponses(
    model,
    pairs.map(({ promptIds, chosenIds, rejectedIds }) => ({ promptIds, responses: [chosenIds, rejectedIds] })),
    options,
  );
  const metrics = tf.tidy(() => pairLoss(tf.tensor1d(scores.flat()), pairs, pairs.length, centring).metrics());
  const { calibrationError, brier } = calibration(scores.map(([chosen, rejected]) => chosen! - rejected!));
  return { ...metrics, calibrationError, brier };
}

/**
 * The loss of some pairs, as their share of the mean over `batchSize`; differentiable with respect to the scores [2P].
 */
function pairLoss(
  scores: tf.Tensor1D,
  pairs: readonly PairIds[],
  batchSize: number,
  centring: number,
): { loss: tf.Scalar; metrics: () => RewardMetrics } {
  const [chosen, rejected] = tf.unstack(scores.reshape([pairs.length, 2]), 1) as [tf.Tensor1D, tf.Tensor1D];
  const losses = rewardLoss(chosen, rejected, {
    margins: tf.tensor1d(pairs.map(({ margin = 0 }) => margin)),
    centring,
  });
  const average = (values: tf.Tensor) => values.mean().dataSync()[0]!;
  return {
    loss: losses.sum().div<tf.Scalar>(batchSize),
    metrics: () => ({
      loss: average(losses),
      accuracy: average(chosen.greater(rejected).toFloat()),
      margin: average(chosen.sub(rejected)),
      scores: { chosen: average(chosen), rejected: average(rejected) },
    }),
  };
}

const responseTokens = ({ chosenIds, rejectedIds }: PairIds): number => chosenIds.length + rejectedIds.length;
const length = (pair: PairIds): number => pair.promptIds.length + responseTokens(pair);

function backward(
  { model, optimizer }: TrainingState<RewardModel>,
  pairs: readonly PairIds[],
  batchSize: number,
  centring: number,
): Part & { metrics: RewardMetrics } {
  using pass = model.record(pairBatch(model, pairs));
  let metrics: RewardMetrics;
  using loss = differentiate([pass.scores], (scores) => {
    const { loss: ofPart, metrics: measure } = pairLoss(scores, pairs, batchSize, centring);
    metrics = measure();
    return ofPart;
  });
  const gradients = pass.backward(loss.gradients[0], (name) => optimizer.trains(name));
  return { loss: loss.value, gradients, metrics: metrics! };
}
