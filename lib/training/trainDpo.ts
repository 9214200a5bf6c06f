/**
 * Direct Preference Optimization (arXiv 2305.18290), after Algorithm 1 of its text and the defaults of its code
 * (https://github.com/eric-mitchell/direct-preference-optimization), and the other losses of `preferenceLosses`.
 *
 * Departures: AdamW instead of RMSprop; and the reference's log-probs are computed once, before the first step, because
 * they never change (unless `reference` is a model).
 */
import { InputError } from '../errors';
import { requireOptions, requireSmoothing, type PreferenceOptions } from '../losses/preferenceInputs';
import { dpoLoss, preferenceLoss, type PreferenceLossName } from '../losses/preferenceLosses';
import { differentiate } from '../model/forwardPass';
import { GPT2 } from '../model/gpt2';
import { RANGES, requireRange } from '../ranges';
import { pairTokens, responseTokens, type PairIds } from '../text/batch';
import { tf } from '../tf';
import { requireFiniteLoss, requireTraining } from './checks';
import { rangesOf, withDefaults } from './declare';
import { dpoLossSettings, dpoSettings, type DpoTrainOptions } from './dpoOptions';
import { accumulate, stepsLeft, update, type Part } from './loop';
import { mean, tokenMetrics, type TokenMetrics } from './metrics';
import { pairBatch, referenceLogps, withReference, type ReferencedPair, type RefLogps } from './reference';
import type { TrainingState } from './state';

export interface DpoLossOptions extends PreferenceOptions {
  /** The name of a loss of `preferenceLosses`, whose options are given beside it. Default sigmoid, the paper's. */
  loss?: PreferenceLossName;
}

/** Whether a loss that takes log-probs per token (ipo, as in TRL's DPOTrainer) gets those of whole responses. */
interface SummedLogps {
  summed?: boolean;
}

/** Means over the pairs, with the names of TRL's trainers. */
export type DpoMetrics = TokenMetrics & {
  readonly loss: number;
  /** beta times the log-ratio of policy and reference. */
  readonly rewards: {
    readonly chosen: number;
    readonly rejected: number;
    readonly margins: number;
    readonly accuracies: number;
  };
  /** Log-probs of whole responses under the policy. */
  readonly logps: { readonly chosen: number; readonly rejected: number };
};

export interface DpoStep extends DpoMetrics {
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
  readonly validation?: DpoMetrics;
}

export interface DpoInputs {
  /**
   * Reference log-probs, one per pair, or a reference model to query for each batch. Default: the log-probs of the
   * policy as it is now.
   */
  reference?: readonly RefLogps[] | GPT2;
  /** Pairs that are not trained on, with the reference's log-probs if they are known. */
  validation?: { readonly pairs: readonly PairIds[]; readonly reference?: readonly RefLogps[] } | undefined;
  /** Where to begin; advanced with each step. The caller saves and disposes of it. Default: a new one. */
  state?: TrainingState;
}

/** A range for each numeric option. */
export const DPO_RANGES = rangesOf(dpoSettings);

/** @throws InputError for an option that is out of its range or that the loss does not take, whatever the pairs. */
export function requireDpoOptions(options: DpoTrainOptions): void {
  const { batchSize, loss, divergence, divergenceAlpha, labelSmoothing } = withDefaults(options, dpoSettings);
  requireTraining(options, DPO_RANGES, batchSize);
  requireOptions(loss, lossOptions(options), preferenceLoss(loss).defaults);
  if (loss === 'exo_pair' && labelSmoothing !== undefined) requireSmoothing(labelSmoothing);
  if (divergenceAlpha !== undefined && divergence !== 'alpha')
    throw new InputError("divergenceAlpha has no effect without divergence 'alpha'; give that, too, or omit it");
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
  requireDpoOptions(options);
  const settings = withDefaults(options, dpoSettings);
  const { accumulation, maxGradNorm } = settings;
  const turns = stepsLeft(model, settings, { rows: pairs, length: pairTokens, state });
  const liveReference = reference instanceof GPT2 ? reference : undefined;
  const refLogps = reference instanceof GPT2 ? undefined : (reference ?? referenceLogps(model, pairs));
  const referenced = refLogps && withReference(pairs, refLogps);
  const validated =
    validation &&
    withReference(validation.pairs, validation.reference ?? referenceLogps(liveReference ?? model, validation.pairs));

  for await (const turn of turns) {
    const { training, step, indices, lr } = turn;
    const batch = referenced ? turn.pick(referenced) : queried(liveReference!, turn.pick(pairs));

    const { parts, loss, gradients } = accumulate(batch, accumulation, (part) =>
      pairBackward(training, part, settings),
    );
    const gradNorm = update(training, { loss, gradients }, { lr, maxGradNorm, rows: indices });
    training.step = step;

    const metrics = mean(parts.map((part) => part.metrics));
    const tokens = batch.reduce((sum, pair) => sum + responseTokens(pair), 0);
    const event = { step, ...metrics, gradNorm, lr, tokens, seconds: turn.elapsed() };
    yield turn.isValidated && validated ? { ...event, validation: pairMetrics(model, validated, settings) } : event;
  }
}

/** Forward, loss and backward of a part of the batch: its share of the mean over `options.batchSize` pairs. */
export function pairBackward(
  { model, optimizer }: TrainingState,
  pairs: readonly ReferencedPair[],
  options: DpoLossOptions & SummedLogps & { batchSize: number; tokenMetrics: boolean; gradientCheckpointing: boolean },
): Part & { metrics: DpoMetrics } {
  const { tokenMetrics: statistics, gradientCheckpointing } = options;
  const batch = pairBatch(model, pairs);
  using pass = model.record(batch, { statistics, gradientCheckpointing });
  let metrics: DpoMetrics;
  using loss = differentiate([pass.perTokenLogps], (perTokenLogps) => {
    const { loss: share, metrics: measure } = pairLoss(perTokenLogps, pairs, options.batchSize, options);
    metrics = measure();
    return share;
  });
  const gradients = pass.backward(loss.gradients[0], (name) => optimizer.trains(name));
  const ofTokens = tokenMetrics(batch, pass.statistics, isChosen);
  return { loss: loss.value, gradients, metrics: { ...metrics!, ...ofTokens } };
}

/**
 * The loss of some pairs, as their share of the mean over `batchSize`, and their metrics.
 *
 * @param perTokenLogps [2P, L], chosen and rejected of each of the P pairs in turn. Differentiable.
 */
export function pairLoss(
  perTokenLogps: tf.Tensor2D,
  pairs: readonly ReferencedPair[],
  batchSize: number,
  options: DpoLossOptions & SummedLogps,
): { loss: tf.Scalar; metrics: () => DpoMetrics } {
  const [policyChosenLogps, policyRejectedLogps] = tf.unstack(perTokenLogps.sum(1).reshape([pairs.length, 2]), 1) as [
    tf.Tensor1D,
    tf.Tensor1D,
  ];
  const logps = {
    policyChosenLogps,
    policyRejectedLogps,
    refChosenLogps: tf.tensor1d(pairs.map((pair) => pair.refChosenLogps)),
    refRejectedLogps: tf.tensor1d(pairs.map((pair) => pair.refRejectedLogps)),
  };
  const lengthsOf = (ids: 'chosenIds' | 'rejectedIds') =>
    tf.tensor1d(pairs.map((pair) => (options.summed ? 1 : pair[ids].length)));
  const lengths = { chosenLengths: lengthsOf('chosenIds'), rejectedLengths: lengthsOf('rejectedIds') };
  const { loss = dpoLossSettings.loss.default, beta } = options;
  const losses = preferenceLoss(loss)({ ...logps, ...lengths }, lossOptions(options));
  const { chosenRewards, rejectedRewards } = dpoLoss(logps, { beta }); // whatever the loss
  const average = (values: tf.Tensor) => values.mean().dataSync()[0]!;
  return {
    loss: losses.sum().div<tf.Scalar>(batchSize),
    metrics: () => ({
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

/** The options that belong to the loss, which refuses those that it does not take. */
function lossOptions(options: DpoLossOptions): PreferenceOptions {
  const { beta, labelSmoothing, divergence, divergenceAlpha, discopopTau, gamma, nllCoef } = options;
  const all = { beta, labelSmoothing, divergence, divergenceAlpha, discopopTau, gamma, nllCoef };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** Metrics of pairs that `model` is not trained on. */
export function evaluateDpo(
  model: GPT2,
  pairs: readonly PairIds[],
  reference: readonly RefLogps[],
  options: DpoLossOptions & { batchSize?: number } = {},
): DpoMetrics {
  return pairMetrics(model, withReference(pairs, reference), options);
}

function pairMetrics(
  model: GPT2,
  pairs: readonly ReferencedPair[],
  options: DpoLossOptions & { batchSize?: number },
): DpoMetrics {
  const { batchSize = dpoSettings.batchSize.default } = options;
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

const queried = (reference: GPT2, pairs: readonly PairIds[]): ReferencedPair[] =>
  withReference(pairs, referenceLogps(reference, pairs));
/** Each pair has two responses, the chosen one first. */
const isChosen = (response: number): boolean => response % 2 === 0;
