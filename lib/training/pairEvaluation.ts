/** Evaluation of a model on preference pairs, and against its reference on its own answers. */
import { InputError } from '../errors';
import { preferenceLosses } from '../losses/preferenceLosses';
import type { GPT2 } from '../model/gpt2';
import { average, estimate } from '../moments';
import type { PairIds } from '../text/batch';
import { tf } from '../tf';
import { dpoLossSettings } from './dpoOptions';
import { referenceLogps, withReference, type ReferenceOptions, type RefLogps } from './reference';
import { sampleLogps, sequenceKl, type MeasureOptions, type Sample } from './rollout';
import { pairLoss, type DpoLossOptions, type DpoMetrics } from './trainDpo';

export interface PairEvaluation {
  /** Mean over the pairs; null if the loss needs a reference and there is none. */
  readonly loss: number | null;
  /** As TRL logs them: beta times the log-ratio of model and reference; null without a reference. */
  readonly rewards: DpoMetrics['rewards'] | null;
  /**
   * Mean log-probs of whole responses under the model, their mean difference in nats, and the fraction of pairs whose
   * chosen response has the higher log-prob.
   */
  readonly logps: DpoMetrics['rewards'];
}

export interface EvaluationOptions extends DpoLossOptions, ReferenceOptions {}

/**
 * Loss, rewards and log-probs of pairs.
 *
 * @param reference the reference's log-probs of the same pairs. If omitted, metrics that need a reference are null.
 * @param options.loss a loss that sorts the batch (aot) sorts all pairs here, whereas a training sorts those of a step.
 * @throws InputError if there are no pairs, an option does not fit the loss, or a log-prob is not finite.
 */
export function evaluatePairs(
  model: GPT2,
  pairs: readonly PairIds[],
  reference: readonly RefLogps[] | undefined,
  { batchSize, onProgress, ...options }: EvaluationOptions = {},
): PairEvaluation {
  if (pairs.length === 0) throw new InputError('there are no pairs to evaluate');
  const own = referenceLogps(model, pairs, {
    ...(batchSize !== undefined && { batchSize }),
    ...(onProgress && { onProgress }),
  });
  const [chosen, rejected] = [
    own.map(({ refChosenLogps }) => refChosenLogps),
    own.map(({ refRejectedLogps }) => refRejectedLogps),
  ];
  const logps = {
    chosen: average(chosen),
    rejected: average(rejected),
    margins: average(chosen.map((logp, n) => logp - rejected[n]!)),
    accuracies: average(chosen.map((logp, n) => Number(logp > rejected[n]!))),
  };
  const referenced = withReference(pairs, reference ?? own);
  const { loss, rewards } = tf.tidy(() =>
    pairLoss(
      tf.tensor2d(
        chosen.flatMap((logp, n) => [logp, rejected[n]!]),
        [2 * pairs.length, 1],
      ),
      referenced,
      pairs.length,
      options,
    ).metrics(),
  );
  if (reference !== undefined) return { loss, rewards, logps };
  return { loss: needsReference(options) ? null : loss, rewards: null, logps };
}

const needsReference = ({ loss = dpoLossSettings.loss.default }: DpoLossOptions): boolean =>
  preferenceLosses[loss].needs.some((name) => name.startsWith('ref'));

/** A mean and its standard error over prompts, since answers to one prompt may be alike; null for a single prompt. */
export interface Measured {
  readonly mean: number;
  readonly standardError: number | null;
}

export interface AnswerKl extends Measured {
  /** The mean over all sampled tokens. */
  readonly perToken: number;
  /** One per sample: the sum of logp - refLogp over its tokens, in nats. */
  readonly ofSamples: readonly number[];
}

/**
 * The KL between model and reference over whole answers that the model sampled, in nats, as `sequenceKl` estimates it.
 *
 * @param options `suppressTokens` applies to the model, and to the reference unless `referenceSuppressTokens` is given.
 */
export function answerKl(
  model: GPT2,
  reference: GPT2,
  samples: readonly Sample[],
  { referenceSuppressTokens, ...options }: MeasureOptions & { referenceSuppressTokens?: readonly number[] } = {},
): AnswerKl {
  const refOptions = { ...options, ...(referenceSuppressTokens && { suppressTokens: referenceSuppressTokens }) };
  const ofSamples = sequenceKl(sampleLogps(model, samples, options), sampleLogps(reference, samples, refOptions));
  const tokens = samples.reduce((sum, { ids }) => sum + ids.length, 0);
  return {
    ...overPrompts(samples, ofSamples),
    perToken: ofSamples.reduce((sum, kl) => sum + kl, 0) / tokens,
    ofSamples,
  };
}

/** The mean of one value per sample, with its standard error computed from the means of the prompts. */
export function overPrompts(samples: readonly Sample[], values: readonly number[]): Measured {
  const byPrompt = new Map<number, number[]>();
  values.forEach((value, n) => byPrompt.set(samples[n]!.prompt, [...(byPrompt.get(samples[n]!.prompt) ?? []), value]));
  const { mean, standardError } = estimate([...byPrompt.values()].map(average));
  return { mean, standardError: byPrompt.size === 1 ? null : standardError };
}
