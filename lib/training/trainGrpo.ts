/**
 * Group Relative Policy Optimization (arXiv 2402.03300, Algorithm 1), and RLOO
 * (arXiv 2402.14740): PPO's sampling and clipping without a value function.
 * Departures: the reference stays as it is (the paper renews it in its outer loop).
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { InputError } from '../errors';
import { groupAdvantages, grpoLoss, requireLossType, rlooLoss, type GrpoOptions } from '../losses/grpo';
import { differentiate } from '../model/forwardPass';
import type { GPT2 } from '../model/gpt2';
import { merged } from '../model/lora';
import { average, variance } from '../moments';
import { RANGES, requireRange, type RangesOf } from '../ranges';
import { tf } from '../tf';
import { accumulate, update, type Part } from './accumulate';
import { requireRoom, requireTraining, TRAINING_RANGES } from './checks';
import { mean } from './metrics';
import type { TrainOptions } from './options';
import { batchOrder, randomOf, stepCount } from './order';
import {
  countTokens,
  padded,
  referenceSuppression,
  sampleBatch,
  sampleLogps,
  sampleResponses,
  SAMPLING_RANGES,
  scoreSamples,
  sequenceKl,
  type Decoder,
  type OfTokens,
  type Penalties,
  type Reward,
  type Sample,
  type SampleOptions,
} from './rollout';
import { learningRate } from './schedule';
import { TrainingState } from './state';

/**
 * Of TrainOptions, `batchSize` is the prompts of a step (default 16), `accumulation` cuts a step's samples into parts.
 */
export interface GrpoTrainOptions
  extends
    Omit<TrainOptions, 'groupByLength' | 'validateEvery' | 'tokenMetrics'>,
    Omit<SampleOptions, 'samples'>,
    Penalties,
    GrpoOptions {
  /**
   * `grpo`, or `rloo`: each sample's baseline is the mean of the others, KL is taken off the scores (beta a nat of the
   * sequence's)
   * instead of being a term of the loss, and a response counts as a whole (`rlooLoss`; lossType and klRatio are
   * GRPO's). Default grpo.
   */
  algorithm?: 'grpo' | 'rloo';
  /** Samples a prompt. Default 8. */
  groupSize?: number;
  /** As of `groupAdvantages`. Default true. */
  scaleRewards?: boolean;
  /** Updates from one rollout. Default 1: the ratio is then 1, and nothing is clipped. */
  iterations?: number;
}

/** What a step learns from. */
export interface GroupRollout {
  readonly samples: readonly Sample[];
  /** Penalties taken off. */
  readonly scores: readonly number[];
  readonly advantages: readonly number[];
  readonly refLogps: OfTokens;
  /** Of the policy that sampled; not needed for a single update of GRPO. */
  readonly oldLogps?: OfTokens;
}

export interface GrpoStep {
  /** From 1 up. */
  readonly step: number;
  readonly loss: number;
  /** Of the samples, penalties taken off. */
  readonly scores: {
    readonly mean: number;
    /** The mean over groups of the standard deviation within. */
    readonly groupDeviation: number;
    /** The share of groups whose scores are all equal, so that they teach nothing. */
    readonly equalGroups: number;
  };
  /** As of `grpoLoss`. This, loss, clipFraction and gradNorm are means over the updates. */
  readonly kl: number;
  /** The sum of logp - refLogp, a sample's mean, in nats, of the policy that sampled. */
  readonly sequenceKl: number;
  readonly clipFraction: number;
  readonly eosCount: number;
  readonly gradNorm: number;
  readonly lr: number;
  /** Sampled. */
  readonly tokens: number;
  readonly seconds: number;
}

export interface GrpoInputs {
  readonly tokenizer: Decoder;
  readonly reward: Reward;
  /** Default: a copy of the policy as it is now. */
  readonly reference?: GPT2;
  readonly state?: TrainingState;
  /** Shown each step's samples, and what was made of them. */
  readonly onRollout?: (rollout: GroupRollout) => void;
}

/** A range for each number among the options. */
export const GRPO_RANGES: RangesOf<GrpoTrainOptions> = { ...TRAINING_RANGES, ...SAMPLING_RANGES, ...RANGES.grpo };

/** @throws InputError for an option that is out of its range, whatever the prompts. */
export function requireGrpoOptions(options: GrpoTrainOptions): void {
  const { batchSize = 16, groupSize = 8, algorithm = 'grpo' } = options;
  requireTraining(options, GRPO_RANGES, batchSize * groupSize);
  if (!['grpo', 'rloo'].includes(algorithm)) throw new InputError(`algorithm must be grpo or rloo, got "${algorithm}"`);
  requireLossType(options.lossType);
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
  { tokenizer, reward, reference, state, onRollout }: GrpoInputs,
): AsyncGenerator<GrpoStep, void> {
  const {
    algorithm = 'grpo',
    batchSize = 16,
    groupSize = 8,
    maxNewTokens = 64,
    temperature = 1,
    seed = 0,
    iterations = 1,
    signal,
  } = options;
  requireGrpoOptions(options);
  const steps = stepCount(options, prompts.length, batchSize);
  const lrOf = learningRate({ ...options, steps });
  const rowsOf = batchOrder(prompts.length, { batchSize, seed });
  requireRoom(maxNewTokens, policy.config.blockSize);
  if (state && state.step > 0 && !reference)
    throw new InputError('a training that goes on needs its reference: the policy is no longer what it began as');

  // the policy is what can be drawn, and is measured as that
  const suppressTokens = options.suppressTokens ?? tokenizer.missingIds?.(policy.config.vocabSize);
  const held = reference ?? merged(policy);
  const ofReference = { temperature, suppressTokens: referenceSuppression(held, tokenizer, options.suppressTokens) };
  const training = state ?? TrainingState.begin(policy, options);
  try {
    while (training.step < steps) {
      const step = training.step + 1;
      await nextTurn(); // lets an interrupt through
      signal?.throwIfAborted();
      const start = performance.now();

      const samples = await sampleResponses(
        policy,
        tokenizer,
        prompts,
        { maxNewTokens, temperature, suppressTokens, samples: groupSize, seed: randomOf(seed, step).uint32(), signal },
        rowsOf(step - 1),
      );
      const scores = await scoreSamples(samples, reward, { ...options, step });
      const refLogps = sampleLogps(held, samples, ofReference);
      const oldLogps =
        algorithm === 'rloo' || iterations > 1
          ? sampleLogps(policy, samples, { temperature, suppressTokens })
          : undefined;
      const advantages =
        algorithm === 'rloo'
          ? rlooAdvantages(scores, { oldLogps: oldLogps!, refLogps }, options)
          : groupAdvantages(scores, groupSize, options);
      const rollout = { samples, scores, advantages, refLogps, oldLogps };
      onRollout?.(rollout);

      const lr = lrOf(step - 1);
      const updates = Array.from({ length: iterations }, () =>
        grpoUpdate(training, rollout, lr, { ...options, maxNewTokens, temperature, suppressTokens }),
      );
      training.step = step;
      yield {
        step,
        ...mean(updates),
        sequenceKl: updates[0]!.sequenceKl,
        scores: spread(scores, groupSize),
        eosCount: samples.filter(({ ended }) => ended).length,
        lr,
        tokens: countTokens(samples),
        seconds: (performance.now() - start) / 1000,
      };
    }
  } finally {
    if (!state) training.dispose();
    if (!reference) held.dispose();
  }
}

/**
 * Each sample's baseline is the mean of the others, after the KL to the reference, beta a nat, is taken off the scores.
 */
export function rlooAdvantages(
  scores: readonly number[],
  { oldLogps, refLogps }: { oldLogps: OfTokens; refLogps: OfTokens },
  { groupSize = 8, beta = 0.04 }: { groupSize?: number; beta?: number } = {},
): number[] {
  requireRange('beta', beta, RANGES.grpo.beta);
  const kl = sequenceKl(oldLogps, refLogps);
  return groupAdvantages(
    scores.map((score, n) => score - beta * kl[n]!),
    groupSize,
    { baseline: 'leaveOneOut' },
  );
}

/** Of one update, before it changes the weights. */
export interface GrpoUpdate {
  readonly loss: number;
  readonly kl: number;
  readonly sequenceKl: number;
  readonly clipFraction: number;
  /** Before clipping. */
  readonly gradNorm: number;
}

/** Changes the weights once. @throws InputError, naming the prompts, if the loss is no longer a number. */
export function grpoUpdate(
  training: TrainingState,
  rollout: GroupRollout,
  lr: number,
  options: Omit<GrpoTrainOptions, 'lr'> = {},
): GrpoUpdate {
  const { accumulation = 1, maxGradNorm } = options;
  const { samples } = rollout;
  const { parts, loss, gradients } = accumulate(
    samples.map((_, n) => n),
    accumulation,
    (part) => backward(training, rollout, part, options),
  );
  const gradNorm = update(
    training,
    { loss, gradients },
    { lr, maxGradNorm, rows: [...new Set(samples.map(({ prompt }) => prompt))] },
  );
  const sum = (of: (part: GrpoPart) => number) => parts.reduce((total, part) => total + of(part), 0);
  return {
    loss,
    kl: sum(({ kl }) => kl),
    sequenceKl: sum((part) => part.sequenceKl),
    clipFraction: sum(({ clipFraction }) => clipFraction),
    gradNorm,
  };
}

/** A part's shares of the whole rollout's means. */
interface GrpoPart extends Part, Pick<GrpoUpdate, 'kl' | 'sequenceKl' | 'clipFraction'> {}

function backward(
  { model, optimizer }: TrainingState,
  { samples, advantages, refLogps, oldLogps }: GroupRollout,
  numbers: readonly number[],
  options: Omit<GrpoTrainOptions, 'lr'>,
): GrpoPart {
  const { algorithm = 'grpo', temperature = 1, suppressTokens } = options;
  const lossOf = algorithm === 'rloo' ? rlooLoss : grpoLoss;
  const whole = { tokens: countTokens(samples), responses: samples.length };
  const some = numbers.map((n) => samples[n]!);
  const share = { tokens: countTokens(some) / whole.tokens, responses: some.length / whole.responses };
  const batch = sampleBatch(some, model.config.blockSize);
  using pass = model.record(batch, { temperature, suppressTokens });
  const { perTokenLogps, responseMask } = pass;
  const taken = { kl: 0, sequenceKl: 0, clipFraction: 0 };
  using loss = differentiate([perTokenLogps], (logps) => {
    const constants = {
      oldLogps: oldLogps ? padded(numbers.map((n) => oldLogps[n]!)) : perTokenLogps.clone(),
      refLogps: padded(numbers.map((n) => refLogps[n]!)),
      advantages: tf.tensor1d(numbers.map((n) => advantages[n]!)),
    };
    const { loss: ofPart, kl, clipFraction } = lossOf({ logps, responseMask, ...constants }, { ...options, ...whole });
    // both are 0 where a response has ended
    taken.sequenceKl = perTokenLogps.sub(constants.refLogps).sum().dataSync()[0]! / whole.responses;
    taken.kl = kl.dataSync()[0]! * share.tokens;
    taken.clipFraction = clipFraction.dataSync()[0]! * (algorithm === 'rloo' ? share.responses : share.tokens);
    return ofPart;
  });
  const gradients = pass.backward(loss.gradients[0], (name) => optimizer.trains(name));
  return { loss: loss.value, gradients, ...taken };
}

function spread(scores: readonly number[], groupSize: number): GrpoStep['scores'] {
  const groups = Array.from({ length: scores.length / groupSize }, (_, n) =>
    scores.slice(n * groupSize, (n + 1) * groupSize),
  );
  const deviations = groups.map((group) => Math.sqrt(variance(group, { unbiased: true })));
  return {
    mean: average(scores),
    groupDeviation: average(deviations),
    equalGroups: average(groups.map((group) => (group.every((score) => score === group[0]) ? 1 : 0))),
  };
}
