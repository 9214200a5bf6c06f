/**
 * A reward model from pairs: the Bradley-Terry loss on the scores of chosen and rejected, as in InstructGPT (arXiv
 * 2203.02155, section 3.5) and TRL's RewardTrainer.
 *
 * Departures: a prompt is computed once for both of its responses, which changes no score.
 */
import { InputError } from '../errors';
import { rewardLoss } from '../losses/reward';
import { differentiate } from '../model/forwardPass';
import type { RewardModel } from '../model/rewardModel';
import { scoreResponses, type ScoringOptions } from '../model/score';
import { pairTokens, responseTokens, type PairIds } from '../text/batch';
import { tf } from '../tf';
import { calibration } from './calibration';
import { requireTraining } from './checks';
import { rangesOf, withDefaults } from './declare';
import { accumulate, stepsLeft, update, type Part } from './loop';
import { mean } from './metrics';
import { pairBatch } from './reference';
import { rewardSettings, type RewardTrainOptions } from './rewardOptions';
import type { TrainingState } from './state';

/** Means over the pairs, with TRL's names. */
export type RewardMetrics = {
  /** Includes margins and centering, if given. */
  readonly loss: number;
  /** Fraction of pairs whose chosen response has the higher score. */
  readonly accuracy: number;
  /** Score of the chosen response minus that of the rejected one. */
  readonly margin: number;
  readonly scores: { readonly chosen: number; readonly rejected: number };
};

/** Metrics of pairs that are not trained on, with the two calibration errors. */
export type RewardEvaluation = RewardMetrics & { readonly calibrationError: number; readonly brier: number };

export interface RewardStep extends RewardMetrics {
  /** From 1 up. */
  readonly step: number;
  /** Before clipping. */
  readonly gradNorm: number;
  readonly lr: number;
  /** Response tokens, chosen and rejected, in this step's batch. */
  readonly tokens: number;
  /** Excluding the validation. */
  readonly seconds: number;
  /** Metrics of the validation pairs after this step, if a validation was due. */
  readonly validation?: RewardEvaluation;
}

/** A range for each numeric option. */
export const REWARD_RANGES = rangesOf(rewardSettings);

/** @throws InputError for an option that is out of its range, whatever the pairs. */
export function requireRewardOptions(options: RewardTrainOptions): void {
  requireTraining(options, REWARD_RANGES, withDefaults(options, rewardSettings).batchSize);
}

/**
 * Trains `model` in place, and yields after each step.
 *
 * @param pairs as `encodePair` and `readPairs` give them; a pair's `margin` counts if it has one.
 * @param more.validation pairs that are not trained on.
 * @param more.state where to begin; advanced with each step. The caller saves and disposes of it. Default: a new one.
 * @throws InputError if an option or a pair does not fit, or the loss is no longer a number.
 */
export async function* trainReward(
  model: RewardModel,
  pairs: readonly PairIds[],
  options: RewardTrainOptions,
  { validation, state }: { validation?: readonly PairIds[] | undefined; state?: TrainingState<RewardModel> } = {},
): AsyncGenerator<RewardStep, void> {
  requireRewardOptions(options);
  const settings = withDefaults(options, rewardSettings);
  const { batchSize, accumulation, maxGradNorm, centerRewards } = settings;
  const turns = stepsLeft(model, settings, { rows: pairs, length: pairTokens, state });

  for await (const turn of turns) {
    const { training, step, indices, lr } = turn;
    const batch = turn.pick(pairs);

    const { parts, loss, gradients } = accumulate(batch, accumulation, (part) => backward(training, part, settings));
    const gradNorm = update(training, { loss, gradients }, { lr, maxGradNorm, rows: indices });
    training.step = step;

    const metrics = mean(parts.map((part) => part.metrics));
    const tokens = batch.reduce((sum, pair) => sum + responseTokens(pair), 0);
    const event = { step, ...metrics, gradNorm, lr, tokens, seconds: turn.elapsed() };
    yield turn.isValidated && validation
      ? { ...event, validation: evaluateReward(model, validation, { batchSize, centerRewards }) }
      : event;
  }
}

/** Forward, loss and backward of a part of the batch: its share of the mean over `batchSize` pairs. */
function backward(
  { model, optimizer }: TrainingState<RewardModel>,
  pairs: readonly PairIds[],
  {
    batchSize,
    centerRewards,
    gradientCheckpointing,
  }: { batchSize: number; centerRewards: number; gradientCheckpointing: boolean },
): Part & { metrics: RewardMetrics } {
  using pass = model.record(pairBatch(model, pairs), { gradientCheckpointing });
  let metrics: RewardMetrics;
  using loss = differentiate([pass.scores], (scores) => {
    const { loss: share, metrics: measure } = pairLoss(scores, pairs, batchSize, centerRewards);
    metrics = measure();
    return share;
  });
  const gradients = pass.backward(loss.gradients[0], (name) => optimizer.trains(name));
  return { loss: loss.value, gradients, metrics: metrics! };
}

/**
 * The loss of some pairs, as their share of the mean over `batchSize`, and their metrics.
 *
 * @param scores [2P], chosen and rejected of each of the P pairs in turn. Differentiable.
 */
function pairLoss(
  scores: tf.Tensor1D,
  pairs: readonly PairIds[],
  batchSize: number,
  centerRewards: number,
): { loss: tf.Scalar; metrics: () => RewardMetrics } {
  const [chosen, rejected] = tf.unstack(scores.reshape([pairs.length, 2]), 1) as [tf.Tensor1D, tf.Tensor1D];
  const losses = rewardLoss(chosen, rejected, {
    margins: tf.tensor1d(pairs.map(({ margin = 0 }) => margin)),
    centerRewards,
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

/**
 * Metrics of pairs that `model` is not trained on.
 *
 * @throws InputError if there are none, or as `scoreResponses` does.
 */
export function evaluateReward(
  model: RewardModel,
  pairs: readonly PairIds[],
  {
    centerRewards = rewardSettings.centerRewards.default,
    ...options
  }: ScoringOptions & { centerRewards?: number } = {},
): RewardEvaluation {
  if (pairs.length === 0) throw new InputError('there are no pairs to evaluate on');
  const scores = scoreResponses(
    model,
    pairs.map(({ promptIds, chosenIds, rejectedIds }) => ({ promptIds, responses: [chosenIds, rejectedIds] })),
    options,
  );
  const metrics = tf.tidy(() => pairLoss(tf.tensor1d(scores.flat()), pairs, pairs.length, centerRewards).metrics());
  const { calibrationError, brier } = calibration(scores.map(([chosen, rejected]) => chosen! - rejected!));
  return { ...metrics, calibrationError, brier };
}
