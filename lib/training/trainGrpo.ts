/**
 * Group Relative Policy Optimization (arXiv 2402.03300, Algorithm 1) and RLOO (arXiv 2402.14740): PPO's sampling and
 * clipping without a value function.
 *
 * Departures: the reference never changes (the paper renews it in its outer loop).
 */
import { InputError } from '../errors';
import { groupAdvantages } from '../losses/advantages';
import { requireLossType, requireRatioLevel } from '../losses/grpo';
import type { GPT2 } from '../model/gpt2';
import { merged } from '../model/lora';
import { average, variance } from '../moments';
import { RANGES, requireRange } from '../ranges';
import { requireRoom, requireTraining } from './checks';
import { rangesOf, withDefaults } from './declare';
import { grpoSettings, type GrpoTrainOptions } from './grpoOptions';
import { grpoUpdate, type GroupRollout } from './grpoUpdate';
import { stepsLeft } from './loop';
import { mean } from './metrics';
import { randomOf } from './order';
import { scoreSamples, summedRewards, type Reward, type RewardTerm } from './rewards';
import {
  countTokens,
  referenceSuppression,
  sampleLogps,
  sampleResponses,
  sequenceKl,
  type Decoder,
  type PerToken,
} from './rollout';
import type { TrainingState } from './state';

export interface GrpoStep {
  /** From 1 up. */
  readonly step: number;
  readonly loss: number;
  /** Scores of the samples, after penalties. */
  readonly scores: {
    readonly mean: number;
    /** The standard deviation within a group, averaged over groups. */
    readonly groupDeviation: number;
    /** Fraction of groups whose scores are all equal, so that nothing is learned from them. */
    readonly equalGroups: number;
  };
  /** Mean and standard deviation (n - 1) of what each of `rewards` gave the samples, before its weight, by its name. */
  readonly rewards?: Readonly<Record<string, { readonly mean: number; readonly deviation: number }>>;
  /** As in `grpoLoss`. This, loss, entropy, clipFraction and gradNorm are means over the updates. */
  readonly kl: number;
  /** The sum of logp - refLogp over a sample under the policy that sampled it, averaged over samples, in nats. */
  readonly sequenceKl: number;
  /** The mean entropy of the policy's next-token distributions in the samples that it learns from, in nats. */
  readonly entropy: number;
  readonly clipFraction: number;
  /** How many samples ended by themselves. */
  readonly eosCount: number;
  readonly gradNorm: number;
  readonly lr: number;
  /** Sampled tokens. */
  readonly tokens: number;
  readonly seconds: number;
}

export interface GrpoInputs {
  readonly tokenizer: Decoder;
  /** The score of samples. Give this, or `rewards`. */
  readonly reward?: Reward;
  /** Several rewards, whose weighted sum is the score; each is also a metric of its own. */
  readonly rewards?: readonly RewardTerm[];
  /** The model against which KL is measured. Default: a copy of the policy as it is now. */
  readonly reference?: GPT2;
  /** Where to begin; advanced with each step. The caller saves and disposes of it. Default: a new one. */
  readonly state?: TrainingState;
  /** Called with each step's samples and what was computed from them. */
  readonly onRollout?: (rollout: GroupRollout) => void;
}

/** A range for each numeric option. */
export const GRPO_RANGES = rangesOf(grpoSettings);

/** @throws InputError for an option that is out of its range, whatever the prompts. */
export function requireGrpoOptions(options: GrpoTrainOptions): void {
  const { batchSize, groupSize, algorithm, lossType, level } = withDefaults(options, grpoSettings);
  requireTraining(options, GRPO_RANGES, batchSize * groupSize);
  if (!['grpo', 'rloo'].includes(algorithm)) throw new InputError(`algorithm must be grpo or rloo, got "${algorithm}"`);
  requireLossType(lossType);
  requireRatioLevel(level);
}

/**
 * Trains `policy` in place, and yields after each step.
 *
 * @param prompts token ids.
 * @throws InputError if an option or a prompt does not fit, or the loss is no longer a number.
 */
export async function* trainGrpo(
  policy: GPT2,
  prompts: readonly (readonly number[])[],
  options: GrpoTrainOptions,
  { tokenizer, reward, rewards, reference, state, onRollout }: GrpoInputs,
): AsyncGenerator<GrpoStep, void> {
  requireGrpoOptions(options);
  const settings = withDefaults(options, grpoSettings);
  const { algorithm, groupSize, iterations, maxNewTokens, temperature, seed, signal } = settings;
  const skipsEqual = settings.skipEqual && algorithm !== 'rloo';
  if ((reward === undefined) === (rewards === undefined)) throw new InputError('give reward, or rewards, and not both');
  let scoresOfTerms: Readonly<Record<string, readonly number[]>> | undefined;
  const scoring = reward ?? summedRewards(rewards!, (scores) => (scoresOfTerms = scores));
  const turns = stepsLeft(policy, settings, { rows: prompts, state });
  requireRoom(maxNewTokens, policy.config.blockSize);
  if (state && state.step > 0 && !reference)
    throw new InputError('a resumed training needs its reference: the policy is no longer the model it began as');

  // Log-probs are those of the distribution that is sampled from.
  const suppressTokens = settings.suppressTokens ?? tokenizer.missingIds?.(policy.config.vocabSize);
  const refModel = reference ?? merged(policy);
  const refSuppressTokens = referenceSuppression(refModel, tokenizer, settings.suppressTokens);
  try {
    for await (const turn of turns) {
      const { training, step, indices, lr } = turn;

      const samples = await sampleResponses(
        policy,
        tokenizer,
        prompts,
        { maxNewTokens, temperature, suppressTokens, samples: groupSize, seed: randomOf(seed, step).uint32(), signal },
        indices,
      );
      const scores = await scoreSamples(samples, scoring, { ...settings, step });
      const refLogps = sampleLogps(refModel, samples, { temperature, suppressTokens: refSuppressTokens });
      const oldLogps =
        algorithm === 'rloo' || iterations > 1 || settings.maskTruncated || skipsEqual
          ? sampleLogps(policy, samples, { temperature, suppressTokens })
          : undefined;

      const advantages =
        algorithm === 'rloo'
          ? rlooAdvantages(scores, { oldLogps: oldLogps!, refLogps }, settings)
          : groupAdvantages(scores, groupSize, settings);
      const counts = skipsEqual ? scores.map((_, n) => !isEqual(groupOf(scores, n, groupSize))) : undefined;
      const rollout = { samples, scores, advantages, refLogps, oldLogps, ...(counts && { counts }) };
      onRollout?.(rollout);

      const updates = Array.from({ length: iterations }, () =>
        grpoUpdate(training, rollout, lr, { ...settings, suppressTokens }),
      );
      training.step = step;

      yield {
        step,
        ...mean(updates),
        // An update may leave samples out, and only knows those that it learns from.
        sequenceKl:
          settings.maskTruncated || skipsEqual ? average(sequenceKl(oldLogps!, refLogps)) : updates[0]!.sequenceKl,
        scores: spread(scores, groupSize),
        ...(scoresOfTerms && { rewards: rewardSpreads(scoresOfTerms) }),
        eosCount: samples.filter(({ ended }) => ended).length,
        lr,
        tokens: countTokens(samples),
        seconds: turn.elapsed(),
      };
    }
  } finally {
    if (!reference) refModel.dispose();
  }
}

/**
 * RLOO's advantages: the KL to the reference, beta per nat, is subtracted from the scores, then the mean of the other
 * samples.
 */
export function rlooAdvantages(
  scores: readonly number[],
  { oldLogps, refLogps }: { oldLogps: PerToken; refLogps: PerToken },
  options: { groupSize?: number; beta?: number } = {},
): number[] {
  const { groupSize, beta } = withDefaults(options, grpoSettings);
  requireRange('beta', beta, RANGES.grpo.beta);
  const kl = sequenceKl(oldLogps, refLogps);
  return groupAdvantages(
    scores.map((score, n) => score - beta * kl[n]!),
    groupSize,
    { baseline: 'leaveOneOut' },
  );
}

/** The scores of the group to which score n belongs. */
function groupOf(scores: readonly number[], n: number, groupSize: number): readonly number[] {
  const start = n - (n % groupSize);
  return scores.slice(start, start + groupSize);
}

const isEqual = (group: readonly number[]): boolean => group.every((score) => score === group[0]);
const deviation = (values: readonly number[]): number => Math.sqrt(variance(values, { unbiased: true }));

/** Mean and deviation of what each reward gave, by its name. */
export const rewardSpreads = (scores: Readonly<Record<string, readonly number[]>>): GrpoStep['rewards'] =>
  Object.fromEntries(
    Object.entries(scores).map(([name, values]) => [name, { mean: average(values), deviation: deviation(values) }]),
  );

function spread(scores: readonly number[], groupSize: number): GrpoStep['scores'] {
  const groups = Array.from({ length: scores.length / groupSize }, (_, n) => groupOf(scores, n * groupSize, groupSize));
  return {
    mean: average(scores),
    groupDeviation: average(groups.map(deviation)),
    equalGroups: average(groups.map((group) => (isEqual(group) ? 1 : 0))),
  };
}
