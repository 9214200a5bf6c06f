/**
 * Group Relative Policy Optimization (arXiv 2402.03300, Algorithm 1, with one iteration of its outer loop), and RLOO
 * (arXiv 2402.14740): PPO's sampling and clipping without a value function.
 * Departures: RLOO's clipping, which counts from the second pass over a rollout on, is by token where TRL's is by sequence.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

import { InputError } from '../errors';
import { groupAdvantages, grpoLoss, type GrpoOptions } from '../losses/grpo';
import type { GPT2 } from '../model/gpt2';
import { merged } from '../model/lora';
import { tf } from '../tf';
import { accumulate, requireFinite, type Part } from './accumulate';
import { mean } from './metrics';
import type { TrainOptions } from './options';
import { batchOrder, stepCount } from './order';
import { padded } from './ppoUpdate';
import { sampleBatch, sampleLogps, sampleResponses, scoreSamples, sequenceKl, type Decoder, type OfTokens, type Penalties, type Reward, type Sample, type SampleOptions } from './rollout';
import { learningRate } from './schedule';
import { TrainingState } from './state';
import { seedsOf } from './trainPpo';

/** Of TrainOptions, `batchSize` is the prompts of a step (default 16), `accumulation` cuts a step's prompts into parts. */
export interface GrpoTrainOptions extends Omit<TrainOptions, 'groupByLength' | 'validateEvery' | 'tokenMetrics'>, Omit<SampleOptions, 'samples'>, Penalties, GrpoOptions {
  /**
   * `grpo`, or `rloo`: each sample's baseline is the mean of the others, KL is taken off the scores (beta a nat of the sequence's)
   * instead of being a term of the loss, and a response counts as a whole, the sum over its tokens. Default grpo.
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
  /** Of the policy that sampled; not needed for a single update. */
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
  /** k3, a token's mean, in nats, over the updates. */
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

/**
 * Trains `policy` in place, and yields after each step.
 *
 * @param prompts token ids.
 * @throws InputError if an option or a prompt does not fit, or the loss is no longer a number.
 */
export async function* trainGrpo(policy: GPT2, prompts: readonly (readonly number[])[], options: GrpoTrainOptions, { tokenizer, reward, reference, state, onRollout }: GrpoInputs): AsyncGenerator<GrpoStep, void> {
  const { batchSize = 16, groupSize = 8, maxNewTokens = 64, temperature = 1, seed = 0, iterations = 1, signal } = options;
  const steps = stepCount(options, prompts.length, batchSize);
  const lrOf = learningRate({ ...options, steps });
  const rowsOf = batchOrder(prompts.length, { batchSize, seed });
  if (!Number.isInteger(iterations) || iterations < 1) throw new InputError(`iterations must be a whole number from 1 up, got ${iterations}`);
  if (state && state.step > 0 && !reference) throw new InputError('a training that goes on needs its reference: the policy is no longer what it began as');

  const held = reference ?? merged(policy);
  const training = state ?? TrainingState.begin(policy, options);
  try {
    while (training.step < steps) {
      const step = training.step + 1;
      await nextTurn(); // lets an interrupt through
      signal?.throwIfAborted();
      const start = performance.now();

      const samples = await sampleResponses(policy, tokenizer, prompts, { maxNewTokens, temperature, samples: groupSize, seed: seedsOf(seed, step).uint32(), ...(signal && { signal }) }, rowsOf(step - 1));
      const scores = await scoreSamples(samples, reward, options);
      const refLogps = sampleLogps(held, samples, { temperature });
      const oldLogps = iterations > 1 ? sampleLogps(policy, samples, { temperature }) : undefined;
      const kept = { samples, scores, refLogps, ...(oldLogps && { oldLogps }) };

      const lr = lrOf(step - 1);
      const updates: GrpoUpdate[] = [];
      const rollout = { ...kept, advantages: advantagesOf(kept, policy, options) };
      onRollout?.(rollout);
      for (let iteration = 0; iteration < iterations; iteration += 1) updates.push(grpoUpdate(training, rollout, lr, { ...options, maxNewTokens, temperature }));
      training.step = step;
      const { sequenceKl: ofFirst } = updates[0]!;
      yield {
        step, ...mean(updates), sequenceKl: ofFirst, scores: spread(scores, groupSize), eosCount: samples.filter(({ ended }) => ended).length, lr,
        tokens: samples.reduce((sum, { ids }) => sum + ids.length, 0), seconds: (performance.now() - start) / 1000,
      }; // prettier-ignore
    }
  } finally {
    if (!state) training.dispose();
    if (!reference) held.dispose();
  }
}

/** RLOO takes KL off the scores; where the log-probs of the policy that sampled are not at hand, they are asked for. */
function advantagesOf({ samples, scores, refLogps, oldLogps }: Omit<GroupRollout, 'advantages'>, policy: GPT2, { algorithm = 'grpo', groupSize = 8, scaleRewards = true, beta = 0.04, temperature = 1 }: GrpoTrainOptions): number[] {
  if (algorithm === 'grpo') return groupAdvantages(scores, groupSize, { scaleRewards });
  if (algorithm !== 'rloo') throw new InputError(`algorithm must be grpo or rloo, got "${algorithm as string}"`);
  const kl = sequenceKl(oldLogps ?? sampleLogps(policy, samples, { temperature }), refLogps);
  return groupAdvantages(scores.map((score, n) => score - beta * kl[n]!), groupSize, { baseline: 'leaveOneOut' });
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
export function grpoUpdate(training: TrainingState, rollout: GroupRollout, lr: number, options: Omit<GrpoTrainOptions, 'lr'> = {}): GrpoUpdate {
  const { accumulation = 1, maxGradNorm = 1 } = options;
  const { samples } = rollout;
  const numbers = samples.map((_, n) => n);
  const { parts, loss, gradients } = accumulate(numbers, accumulation, (part) => backward(training, rollout, part, options));
  const gradNorm = gradients.clip(maxGradNorm);
  requireFinite({ loss, gradNorm }, gradients, { step: training.step + 1, rows: [...new Set(samples.map(({ prompt }) => prompt))] });
  training.optimizer.step(gradients, lr);
  const { kl, clipFraction } = mean(parts.map(({ metrics }) => metrics), parts.map(({ tokens }) => tokens / countTokens(samples)));
  return { loss, kl, sequenceKl: parts.reduce((sum, part) => sum + part.summedKl, 0) / samples.length, clipFraction, gradNorm };
}

const countTokens = (samples: readonly Sample[]): number => samples.reduce((sum, { ids }) => sum + ids.length, 0);

function backward({ model, optimizer }: TrainingState, { samples, advantages, refLogps, oldLogps }: GroupRollout, numbers: readonly number[], options: Omit<GrpoTrainOptions, 'lr'>): Part & { metrics: { kl: number; clipFraction: number }; tokens: number; summedKl: number } {
  const { algorithm = 'grpo', temperature = 1 } = options;
  const whole = { tokens: countTokens(samples), responses: samples.length };
  const lossOptions: GrpoOptions = algorithm === 'rloo' ? { ...options, beta: 0, lossType: 'dr_grpo', maxNewTokens: 1 } : options; // the sum over a response's tokens
  const some = numbers.map((n) => samples[n]!);
  const batch = sampleBatch(some, model.config.blockSize);
  using recording = model.record(batch, { temperature });
  const { perTokenLogps, responseMask } = recording;
  const constants = {
    oldLogps: oldLogps ? padded(numbers.map((n) => oldLogps[n]!)) : perTokenLogps.clone(),
    refLogps: padded(numbers.map((n) => refLogps[n]!)),
    advantages: tf.tensor1d(numbers.map((n) => advantages[n]!)),
  };
  const taken: { metrics?: { kl: number; clipFraction: number } } = {};
  const { value, grad } = tf.valueAndGrad((logps: tf.Tensor) => {
    const { loss, kl, clipFraction } = grpoLoss({ logps: logps as tf.Tensor2D, responseMask, ...constants }, { ...lossOptions, ...whole });
    taken.metrics = { kl: kl.dataSync()[0]!, clipFraction: clipFraction.dataSync()[0]! };
    return loss;
  })(perTokenLogps);
  const summedKl = tf.tidy(() => perTokenLogps.sub(constants.refLogps).sum().dataSync()[0]!); // both are 0 where a response has ended
  const gradients = recording.backward(grad as tf.Tensor2D, (name) => optimizer.trains(name));
  const loss = value.dataSync()[0]!;
  tf.dispose([perTokenLogps, responseMask, value, grad, constants]);
  return { loss, gradients, metrics: taken.metrics!, tokens: countTokens(some), summedKl };
}

function spread(scores: readonly number[], groupSize: number): GrpoStep['scores'] {
  const groups = Array.from({ length: scores.length / groupSize }, (_, n) => scores.slice(n * groupSize, (n + 1) * groupSize));
  const average = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviations = groups.map((group) => Math.sqrt(group.reduce((sum, score) => sum + (score - average(group)) ** 2, 0) / (groupSize - 1)));
  return { mean: average(scores), groupDeviation: average(deviations), equalGroups: average(groups.map((group) => (group.every((score) => score === group[0]) ? 1 : 0))) };
}
