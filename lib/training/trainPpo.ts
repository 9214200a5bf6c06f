/**
 * Proximal Policy Optimization for language models, after OpenAI's lm-human-preferences (arXiv 1909.08593; details in
 * https://iclr-blogposts.github.io/2024/blog/the-n-implementation-details-of-rlhf-with-ppo), with its published
 * defaults.
 *
 * Departures: AdamW with a weight decay of 0 by default, which is Adam; `missingEosPenalty` is subtracted from the
 * score of a response without an end of text, where OpenAI looked for a certain token and gave a fixed score.
 */
import { InputError } from '../errors';
import type { GPT2 } from '../model/gpt2';
import { merged } from '../model/lora';
import { withValueHead } from '../model/valueHead';
import { average, variance } from '../moments';
import { requireRanges } from '../ranges';
import { requireRoom, requireTraining } from './checks';
import { rangesOf, withDefaults } from './declare';
import { stepsLeft } from './loop';
import { mean } from './metrics';
import { frozenNames } from './optimizer';
import { randomOf } from './order';
import { KL_COEF, ppoSettings, type PpoTrainOptions } from './ppoOptions';
import {
  adaptedKlCoef,
  minibatchOrder,
  ppoUpdates,
  requireHorizon,
  rolloutAdvantages,
  type PpoUpdate,
  type Rollout,
  type RolloutAdvantages,
} from './ppoUpdate';
import { scoreSamples, type Reward } from './rewards';
import {
  countTokens,
  measureSamples,
  referenceSuppression,
  sampleLogps,
  sampleResponses,
  sequenceKl,
  type Decoder,
  type PerToken,
} from './rollout';
import type { TrainingState } from './state';

/** An iteration. Metrics of its updates are averaged over them. */
export interface PpoStep {
  /** From 1 up. */
  readonly step: number;
  readonly loss: number;
  /** Means over the samples. */
  readonly objective: {
    /** KL of a sequence, in nats: the sum of logp - refLogp. */
    readonly kl: number;
    /** Entropy of a sequence, in nats: minus the sum of logp. */
    readonly entropy: number;
    /** -klCoef kl. */
    readonly nonScoreReward: number;
    /** scores + nonScoreReward: what training maximizes. */
    readonly rlhfReward: number;
    /** After penalties. */
    readonly scores: number;
  };
  readonly policy: PpoUpdate['policy'];
  /**
   * explainedVariance is 1 - var(returns - values) / var(returns), with the values at rollout: 1 is perfect, 0 is no
   * better than a constant.
   */
  readonly value: PpoUpdate['value'] & { readonly explainedVariance: number };
  readonly ratio: PpoUpdate['ratio'];
  /** How many samples ended by themselves. */
  readonly eosCount: number;
  /** The coefficient used in this iteration's rewards. */
  readonly klCoef: number;
  readonly gradNorm: number;
  readonly lr: number;
  /** Sampled tokens. */
  readonly tokens: number;
  readonly seconds: number;
  /** The iteration's updates, in order. */
  readonly updates: readonly PpoUpdate[];
}

export interface PpoInputs {
  readonly tokenizer: Decoder;
  readonly reward: Reward;
  /** The model against which KL is measured. Default: a copy of the policy as it is now. */
  readonly reference?: GPT2;
  /**
   * Where to begin, for a model `withValueHead`; advanced with each step. The caller saves and disposes of it. Default:
   * a new one.
   */
  readonly state?: TrainingState;
  /** Called with each iteration's samples and what was computed from them. */
  readonly onRollout?: (rollout: Rollout, advantages: RolloutAdvantages) => void;
}

/** A range for each numeric option. */
export const PPO_RANGES = rangesOf(ppoSettings);

/** @throws InputError for an option that is out of its range, whatever the prompts. */
export function requirePpoOptions(options: PpoTrainOptions): void {
  const settings = withDefaults(options, ppoSettings);
  const { batchSize, klTarget, klHorizon, klCoef, minibatches } = settings;
  requireRanges(options, PPO_RANGES);
  minibatchOrder(batchSize, settings, 0); // refuses minibatches of unequal size
  requireTraining(settings, PPO_RANGES, batchSize / minibatches);
  if (klTarget === undefined) return;
  if (klCoef === 0)
    throw new InputError(
      'klCoef must be above 0 if klTarget is given, got 0: it adapts by factors, so it would stay 0',
    );
  requireHorizon(klHorizon, batchSize, 'batchSize');
}

/** @throws InputError if `frozen` leaves only a value head to train, which cannot train the policy. */
export function requirePolicy({ weights: { trained } }: GPT2, { frozen = [] }: PpoTrainOptions): void {
  const names = trained.names.filter((name) => !name.startsWith('v_head.'));
  frozenNames(
    names,
    frozen.filter((name) => !/^v_head(\.|$)/.test(name)),
  );
}

/**
 * Trains `policy` in place, and yields after each iteration: sampling, and `ppoEpochs` passes over the samples.
 *
 * @param policy the plain model, which receives a value head for this training; or one `withValueHead`, which keeps it.
 * @param prompts token ids.
 * @throws InputError if an option or a prompt does not fit, or the loss is no longer a number.
 */
export async function* trainPpo(
  policy: GPT2,
  prompts: readonly (readonly number[])[],
  options: PpoTrainOptions,
  { tokenizer, reward, reference, state, onRollout }: PpoInputs,
): AsyncGenerator<PpoStep, void> {
  requirePpoOptions(options);
  const settings = withDefaults(options, ppoSettings);
  const { maxNewTokens, temperature, seed, signal, klTarget, klHorizon } = settings;
  const firstKlCoef = settings.klCoef ?? (klTarget === undefined ? KL_COEF.fixed : KL_COEF.adapted);
  requireRoom(maxNewTokens, policy.config.blockSize);
  requirePolicy(policy, settings);
  if (state && state.step > 0 && !reference)
    throw new InputError('a resumed training needs its reference: the policy is no longer the model it began as');
  if (state && !state.model.weights.hasValueHead)
    throw new InputError('the state belongs to a model without a value head; begin it with withValueHead(policy)');

  // Log-probs are those of the distribution that is sampled from.
  const suppressTokens = settings.suppressTokens ?? tokenizer.missingIds?.(policy.config.vocabSize);
  const model = state?.model ?? (policy.weights.hasValueHead ? policy : withValueHead(policy));
  const refModel = reference ?? merged(policy);
  const refSuppressTokens = referenceSuppression(refModel, tokenizer, settings.suppressTokens);
  try {
    for await (const turn of stepsLeft(model, settings, { rows: prompts, state })) {
      const { training, step, indices, lr } = turn;
      const random = randomOf(seed, step);

      const samples = await sampleResponses(
        model,
        tokenizer,
        prompts,
        { maxNewTokens, temperature, suppressTokens, seed: random.uint32(), signal },
        indices,
      );
      const scores = await scoreSamples(samples, reward, { ...settings, step });
      const { logps: oldLogps, values: oldValues } = measureSamples(model, samples, { temperature, suppressTokens });
      const refLogps = sampleLogps(refModel, samples, { temperature, suppressTokens: refSuppressTokens });
      const rollout = { samples, scores, oldLogps, refLogps, oldValues: oldValues! };

      const klCoef = training.carried.klCoef ?? firstKlCoef;
      const advantages = rolloutAdvantages(rollout, { ...settings, klCoef });
      onRollout?.(rollout, advantages);

      const order = minibatchOrder(samples.length, settings, random.uint32());
      const updates = [...ppoUpdates(training, rollout, advantages, order, lr, { ...settings, suppressTokens })];
      const objective = objectiveOf(rollout, klCoef);
      if (klTarget !== undefined) {
        const measured = { kl: objective.kl, klTarget, klHorizon, samples: samples.length };
        training.carried.klCoef = adaptedKlCoef(klCoef, measured);
      }
      training.step = step;

      const { loss, policy: policyMetrics, value, ratio, gradNorm } = mean(updates);
      yield {
        step,
        loss,
        objective,
        policy: policyMetrics,
        value: { ...value, explainedVariance: explainedVariance(rollout.oldValues, advantages.returns) },
        ratio,
        eosCount: samples.filter(({ ended }) => ended).length,
        klCoef,
        gradNorm,
        lr,
        tokens: countTokens(samples),
        seconds: turn.elapsed(),
        updates,
      };
    }
  } finally {
    if (model !== policy && !state) model.dispose(); // the head alone
    if (!reference) refModel.dispose();
  }
}

function objectiveOf({ scores, oldLogps, refLogps }: Rollout, klCoef: number): PpoStep['objective'] {
  const kl = average(sequenceKl(oldLogps, refLogps));
  const entropy = average(oldLogps.map((logps) => -logps.reduce((sum, logp) => sum + logp, 0)));
  return {
    kl,
    entropy,
    nonScoreReward: -klCoef * kl,
    rlhfReward: average(scores) - klCoef * kl,
    scores: average(scores),
  };
}

function explainedVariance(values: PerToken, returns: PerToken): number {
  const targets = returns.flatMap((sample) => [...sample]);
  const errors = values.flatMap((sample, n) => [...sample].map((value, t) => returns[n]![t]! - value));
  return 1 - variance(errors) / variance(targets);
}
