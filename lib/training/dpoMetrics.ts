/** A preference loss of one batch, and what TRL's trainers log beside it. */
import { InputError } from '../errors';
import { requireSmoothing } from '../losses/margin';
import { dpoLoss } from '../losses/preference';
import { requireOptions, type PreferenceOptions } from '../losses/preferenceInputs';
import { preferenceLosses, type PreferenceLossName } from '../losses/preferenceLosses';
import { tf } from '../tf';
import type { TokenMetrics } from './metrics';
import type { ReferencedPair } from './reference';

export interface DpoLossOptions extends PreferenceOptions {
  /** One of `preferenceLosses`, whose options stand beside it. Default sigmoid, the paper's. */
  loss?: PreferenceLossName;
}

/** Means over the pairs, as TRL names them. */
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

/**
 * The loss of some pairs, as their share of the mean over `batchSize`; differentiable with respect to perTokenLogps
 * [2P, L].
 */
export function pairLoss(
  perTokenLogps: tf.Tensor2D,
  pairs: readonly ReferencedPair[],
  batchSize: number,
  options: DpoLossOptions,
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
  const lengths = {
    chosenLengths: tf.tensor1d(pairs.map(({ chosenIds }) => chosenIds.length)),
    rejectedLengths: tf.tensor1d(pairs.map(({ rejectedIds }) => rejectedIds.length)),
  };
  const losses = lossNamed(options)({ ...logps, ...lengths }, lossOptions(options));
  // the rewards are DPO's, whatever the loss
  const { chosenRewards, rejectedRewards } = dpoLoss(logps, { beta: options.beta ?? 0.1 });
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

function lossNamed({ loss = 'sigmoid' }: DpoLossOptions) {
  if (Object.hasOwn(preferenceLosses, loss)) return preferenceLosses[loss];
  throw new InputError(`there is no loss "${loss}"; the losses are ${Object.keys(preferenceLosses).join(', ')}`);
}

/**
 * @throws InputError if there is no such loss, or it does not take one of the options, or one is out of its range:
 *   before the
 * log-probs of a reference are computed.
 */
export function requireLossOptions(options: DpoLossOptions): void {
  const { loss = 'sigmoid', divergence, divergenceAlpha, labelSmoothing } = options;
  requireOptions(loss, lossOptions(options), lossNamed(options).defaults);
  if (loss === 'exo_pair' && labelSmoothing !== undefined) requireSmoothing(labelSmoothing);
  if (divergenceAlpha !== undefined && divergence !== 'alpha')
    throw new InputError("divergenceAlpha has no effect without divergence 'alpha'; give that, too, or leave it out");
}

/** The options that are the loss's; it refuses those that it does not take. */
function lossOptions({
  beta,
  labelSmoothing,
  divergence,
  divergenceAlpha,
  discopopTau,
  gamma,
  nllCoef,
}: DpoLossOptions): PreferenceOptions {
  const all = { beta, labelSmoothing, divergence, divergenceAlpha, discopopTau, gamma, nllCoef };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}
