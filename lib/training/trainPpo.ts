/**
 * Proximal Policy Optimization for language models, as OpenAI's lm-human-preferences did it (arXiv 1909.08593; details
 * in
 * https://iclr-blogposts.github.io/2024/blog/the-n-implementation-details-of-rlhf-with-ppo), with its published
 * defaults.
 * Departures: AdamW's weight decay is 0 by default, as Adam's; a missing end of text takes `missingEosPenalty` off the
 * score,
 * where OpenAI looked for a certain token and gave a fixed score.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { InputError } from '../errors';
import type { GPT2 } from '../model/gpt2';
import { merged } from '../model/lora';
import { withValueHead } from '../model/valueHead';
import { average, variance } from '../moments';
import { RANGES, requireRange, requireRanges } from '../ranges';
import { requireRoom, requireTraining } from './checks';
import { rangesOf } from './declare';
import { mean } from './metrics';
import { frozenNames } from './optimizer';
import { batchOrder, randomOf, stepCount } from './order';
import { ppoSettings, type PpoTrainOptions } from './ppoOptions';
import {
  minibatchOrder,
  ppoUpdates,
  rolloutAdvantages,
  type PpoUpdate,
  type Rollout,
  type RolloutAdvantages,
} from './ppoUpdate';
import {
  countTokens,
  measureSamples,
  referenceSuppression,
  sampleLogps,
  sampleResponses,
  scoreSamples,
  sequenceKl,
  type Decoder,
  type OfTokens,
  type Reward,
} from './rollout';
import { learningRate } from './schedule';
import { TrainingState } from './state';

/** Of an iteration; what is of its updates is their mean. */
export interface PpoStep {
  /** From 1 up. */
  readonly step: number;
  readonly loss: number;
  /** Means over the samples. */
  readonly objective: {
    /** Of the sequence, in nats: the sum of logp - refLogp. */
    readonly kl: number;
    /** Of the sequence, in nats: minus the sum of logp. */
    readonly entropy: number;
    /** -klCoef kl. */
    readonly nonScoreReward: number;
    /** scores + nonScoreReward: what is made as large as can be. */
    readonly rlhfReward: number;
    /** Penalties taken off. */
    readonly scores: number;
  };
  readonly policy: PpoUpdate['policy'];
  /**
   * explainedVariance is 1 - var(returns - values) / var(returns), of the values at rollout: 1 is perfect, 0 no better
   * than a constant.
   */
  readonly value: PpoUpdate['value'] & { readonly explainedVariance: number };
  readonly ratio: PpoUpdate['ratio'];
  /** Samples that ended by themselves. */
  readonly eosCount: number;
  /** Of this iteration's rewards. */
  readonly klCoef: number;
  readonly gradNorm: number;
  readonly lr: number;
  /** Sampled. */
  readonly tokens: number;
  readonly seconds: number;
  /** Each of them, in order. */
  readonly updates: readonly PpoUpdate[];
}

export interface PpoInputs {
  readonly tokenizer: Decoder;
  readonly reward: Reward;
  /** What KL is measured against. Default: a copy of the policy as it is now. */
  readonly reference?: GPT2;
  /**
   * Where to begin, of a model `withValueHead`; moved on with each step, and the caller's to save and dispose of.
   * Default: a new one.
   */
  readonly state?: TrainingState;
  /** Shown each iteration's samples, and what was made of them. */
  readonly onRollout?: (rollout: Rollout, advantages: RolloutAdvantages) => void;
}

/** A range for each number among the options. */
export const PPO_RANGES = rangesOf(ppoSettings);

/** @throws InputError for an option that is out of its range, whatever the prompts. */
export function requirePpoOptions(options: PpoTrainOptions): void {
  const { batchSize = 64, klTarget, klHorizon = 10_000, klCoef, minibatches = 1 } = options;
  requireRanges(options, PPO_RANGES);
  minibatchOrder(batchSize, options, 0); // refuses parts that are not equal
  requireTraining(ppoAdam(options), PPO_RANGES, batchSize / minibatches);
  if (klTarget === undefined) return;
  if (klCoef === 0)
    throw new InputError(
      'klCoef must be above 0 where klTarget is given, got 0: it adapts by factors, and would stay 0',
    );
  requireHorizon(klHorizon, batchSize, 'batchSize');
}

function requireHorizon(klHorizon: number, samples: number, called: string): void {
  requireRange('klHorizon', klHorizon, RANGES.ppo.klHorizon);
  if (klHorizon <= samples / 5)
    throw new InputError(
      `klHorizon must be above ${samples / 5}, a fifth of ${called}, got ${klHorizon}: klCoef would turn negative`,
    );
}

/** @throws InputError if `frozen` leaves nothing but a value head to train, as if the policy could be trained by it. */
export function requirePolicy({ weights: { trained } }: GPT2, { frozen = [] }: PpoTrainOptions): void {
  const names = trained.names.filter((name) => !name.startsWith('v_head.'));
  frozenNames(
    names,
    frozen.filter((name) => !/^v_head(\.|$)/.test(name)),
  );
}

/**
 * Trains `policy` in place, and yields after each iteration: sampling, and `ppoEpochs` passes over what was sampled.
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
  const {
    batchSize = 64,
    maxNewTokens,
    temperature = 0.7,
    seed = 0,
    signal,
    klTarget,
    klHorizon = 10_000,
    klCoef = klTarget === undefined ? 0.05 : 0.15,
  } = options;
  requirePpoOptions(options);
  const steps = stepCount(options, prompts.length, batchSize);
  const lrOf = learningRate({ ...options, steps });
  const rowsOf = batchOrder(prompts.length, { batchSize, seed });
  requireRoom(maxNewTokens ?? 64, policy.config.blockSize);
  requirePolicy(policy, options);
  if (state && state.step > 0 && !reference)
    throw new InputError('a training that goes on needs its reference: the policy is no longer what it began as');
  if (state && !state.model.weights.hasValueHead)
    throw new InputError('the state is of a model without a value head; begin it with withValueHead(policy)');

  // the policy is what can be drawn, and is measured as that
  const suppressTokens = options.suppressTokens ?? tokenizer.missingIds?.(policy.config.vocabSize);
  const model = state?.model ?? (policy.weights.hasValueHead ? policy : withValueHead(policy));
  const held = reference ?? merged(policy);
  const ofReference = { temperature, suppressTokens: referenceSuppression(held, tokenizer, options.suppressTokens) };
  const training = state ?? TrainingState.begin(model, ppoAdam(options));
  try {
    while (training.step < steps) {
      const step = training.step + 1;
      await nextTurn(); // lets an interrupt through
      signal?.throwIfAborted();
      const start = performance.now();
      const random = randomOf(seed, step);

      const samples = await sampleResponses(
        model,
        tokenizer,
        prompts,
        { maxNewTokens, temperature, suppressTokens, seed: random.uint32(), signal },
        rowsOf(step - 1),
      );
      const scores = await scoreSamples(samples, reward, { ...options, step });
      const { logps: oldLogps, values: oldValues } = measureSamples(model, samples, { temperature, suppressTokens });
      const refLogps = sampleLogps(held, samples, ofReference);
      const rollout = { samples, scores, oldLogps, refLogps, oldValues: oldValues! };
      const coef = training.carried.klCoef ?? klCoef;
      const advantages = rolloutAdvantages(rollout, { ...options, klCoef: coef });
      onRollout?.(rollout, advantages);

      const lr = lrOf(step - 1);
      const order = minibatchOrder(samples.length, options, random.uint32());
      const updates = [
        ...ppoUpdates(training, rollout, advantages, order, lr, { ...options, temperature, suppressTokens }),
      ];

      const objective = objectiveOf(rollout, coef);
      if (klTarget !== undefined)
        training.carried.klCoef = adaptedKlCoef(coef, {
          kl: objective.kl,
          klTarget,
          klHorizon,
          samples: samples.length,
        });
      training.step = step;
      const { loss, policy: ofPolicy, value, ratio, gradNorm } = mean(updates);
      yield {
        step,
        loss,
        objective,
        policy: ofPolicy,
        value: { ...value, explainedVariance: explainedVariance(rollout.oldValues, advantages.returns) },
        ratio,
        eosCount: samples.filter(({ ended }) => ended).length,
        klCoef: coef,
        gradNorm,
        lr,
        tokens: countTokens(samples),
        seconds: (performance.now() - start) / 1000,
        updates,
      };
    }
  } finally {
    if (!state) training.dispose();
    if (model !== policy && !state) model.dispose(); // the head alone
    if (!reference) held.dispose();
  }
}

/** PPO's defaults of the optimizer. */
export function ppoAdam({ epsilon = 1e-5, weightDecay = 0, ...others }: PpoTrainOptions): PpoTrainOptions {
  return { epsilon, weightDecay, ...others };
}

/**
 * OpenAI's controller in log space (arXiv 1909.08593, section 2.2): klCoef grows where KL is above the target and
 * shrinks where it
 * is below, the relative error clipped at 0.2.
 *
 * @throws InputError if klTarget or klHorizon is out of its range: with a horizon of a fifth of the samples one step
 *   takes all of klCoef off.
 */
export function adaptedKlCoef(
  klCoef: number,
  { kl, klTarget, klHorizon, samples }: { kl: number; klTarget: number; klHorizon: number; samples: number },
): number {
  requireRange('klTarget', klTarget, RANGES.ppo.klTarget);
  requireHorizon(klHorizon, samples, 'samples');
  const error = Math.min(Math.max(kl / klTarget - 1, -0.2), 0.2);
  return klCoef * (1 + (error * samples) / klHorizon);
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

function explainedVariance(values: OfTokens, returns: OfTokens): number {
  const targets = returns.flatMap((ofSample) => [...ofSample]);
  const errors = values.flatMap((ofSample, n) => [...ofSample].map((value, t) => returns[n]![t]! - value));
  return 1 - variance(errors) / variance(targets);
}
