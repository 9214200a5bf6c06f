/**
 * One PPO iteration after its sampling: scores -> advantages -> epochs of minibatches (arXiv 1707.06347, Algorithm 1).
 */
import { InputError } from '../errors';
import { gae, tokenRewards, whiten } from '../losses/advantages';
import { ppoLoss, valueLoss } from '../losses/ppo';
import { differentiate } from '../model/forwardPass';
import { average, variance } from '../moments';
import { Random } from '../random';
import { RANGES, requireRanges } from '../ranges';
import { tf } from '../tf';
import { accumulate, update, type Part } from './accumulate';
import { mean } from './metrics';
import { countTokens, padded, sampleBatch, type OfTokens, type Sample } from './rollout';
import type { TrainingState } from './state';

/** What sampling left: constants for all epochs. */
export interface Rollout {
  readonly samples: readonly Sample[];
  /** Of each sample, penalties taken off. */
  readonly scores: readonly number[];
  /** Of the policy that sampled, recorded then. */
  readonly oldLogps: OfTokens;
  readonly refLogps: OfTokens;
  /** Of the value head, recorded then. */
  readonly oldValues: OfTokens;
}

export interface AdvantageOptions {
  /**
   * Whether rewards are scaled to a standard deviation of 1 over the rollout's tokens, their mean kept, as OpenAI did.
   * Default true.
   */
  whitenRewards?: boolean;
  /** In [0, 1]. Default 1. */
  gamma?: number;
  /** In [0, 1]. Default 0.95. */
  gaeLambda?: number;
}

export interface RolloutAdvantages {
  /** -klCoef (oldLogp - refLogp), and the score on the last token; before they are whitened. */
  readonly rewards: OfTokens;
  /** Whitened over the rollout's tokens. */
  readonly advantages: OfTokens;
  readonly returns: OfTokens;
}

/** @throws InputError if the rollout has a single token, which has no variance. */
export function rolloutAdvantages(
  { samples, scores, oldLogps, refLogps, oldValues }: Rollout,
  { klCoef, whitenRewards = true, gamma = 1, gaeLambda = 0.95 }: AdvantageOptions & { klCoef: number },
): RolloutAdvantages {
  const found = tf.tidy(() => {
    const responseMask = padded(samples.map(({ ids }) => new Float32Array(ids.length).fill(1)));
    const values = padded(oldValues);
    const rewards = tokenRewards(
      { logps: padded(oldLogps), refLogps: padded(refLogps), responseMask, scores: tf.tensor1d([...scores]) },
      { klCoef },
    );
    const scaled = whitenRewards ? whiten(rewards, responseMask, { shiftMean: false }) : rewards;
    const { advantages, returns } = gae({ rewards: scaled, values, responseMask }, { gamma, gaeLambda });
    return { rewards, advantages: whiten(advantages, responseMask), returns };
  });
  const unpadded = (tensor: tf.Tensor2D) => {
    const [all, L] = [tensor.dataSync<'float32'>(), tensor.shape[1]];
    tensor.dispose();
    return samples.map(({ ids }, n) => all.slice(n * L, n * L + ids.length));
  };
  return { rewards: unpadded(found.rewards), advantages: unpadded(found.advantages), returns: unpadded(found.returns) };
}

export interface PpoUpdateOptions {
  /** Passes over the rollout. Default 4. */
  ppoEpochs?: number;
  /** The parts of a rollout, each an update of the weights, in a new order every epoch. Default 1. */
  minibatches?: number;
  /** Above 0. Default 0.2. */
  clipRange?: number;
  /** Above 0. Default 0.2. */
  valueClipRange?: number;
  /** The value loss's weight in the loss, from 0 up. Default 0.1. */
  valueCoef?: number;
  /** The parts into which a minibatch is cut, to hold less at a time. Default 1. */
  accumulation?: number;
  /** 0 does not clip. Default 1. */
  maxGradNorm?: number;
  /** Of the sampling. Default 1. */
  temperature?: number;
  /** Of the sampling: what could not be drawn takes no share. Default: none. */
  suppressTokens?: readonly number[] | undefined;
}

/** Of one update, before it changes the weights. */
export interface PpoUpdate {
  /** policy.loss + valueCoef value.loss */
  readonly loss: number;
  readonly policy: {
    readonly loss: number;
    /** Mean of (logp - oldLogp)^2 / 2: how far the policy has moved since the rollout, in nats. */
    readonly approxKl: number;
    /** The share of tokens on which clipping counts. */
    readonly clipFraction: number;
    /** Of the next token's distribution, in nats. */
    readonly entropy: number;
  };
  readonly value: { readonly loss: number; readonly clipFraction: number };
  /** Of the tokens' exp(logp - oldLogp); the variance has Bessel's correction, as torch.var. */
  readonly ratio: { readonly mean: number; readonly variance: number };
  /** Before clipping. */
  readonly gradNorm: number;
}

/**
 * The samples of each update, by their numbers.
 *
 * @throws InputError if ppoEpochs or minibatches is out of its range, or the minibatches are not equal parts.
 */
export function minibatchOrder(
  samples: number,
  { ppoEpochs = 4, minibatches = 1 }: PpoUpdateOptions,
  seed: number,
): number[][] {
  requireRanges({ ppoEpochs, minibatches }, RANGES.ppo);
  const size = samples / minibatches;
  if (!Number.isInteger(size))
    throw new InputError(
      `a rollout of ${samples} samples cannot be cut into ${minibatches} equal minibatches; change batchSize or minibatches`,
    );
  const random = new Random(seed);
  return Array.from({ length: ppoEpochs }, () => random.shuffle(Array.from({ length: samples }, (_, n) => n))).flatMap(
    (order) => Array.from({ length: minibatches }, (_, n) => order.slice(n * size, (n + 1) * size)),
  );
}

/**
 * Changes the weights once for each minibatch, and yields after each.
 *
 * @param order the samples of each update.
 * @throws InputError, naming the prompts, if the loss is no longer a number; the weights are then those before this
 *   update.
 */
export function* ppoUpdates(
  training: TrainingState,
  rollout: Rollout,
  advantages: RolloutAdvantages,
  order: readonly (readonly number[])[],
  lr: number,
  options: PpoUpdateOptions = {},
): Generator<PpoUpdate, void> {
  const { accumulation = 1, maxGradNorm } = options;
  requireRanges(options, { ...RANGES.training, ...RANGES.sampling, ...RANGES.ppo });
  for (const numbers of order) {
    const some = numbers.map((n) => rollout.samples[n]!);
    const tokens = countTokens(some);
    const { parts, gradients } = accumulate(numbers, accumulation, (part) =>
      backward(training, rollout, advantages, part, tokens, options),
    );
    const metrics = mean(
      parts.map((part) => part.metrics),
      parts.map((part) => part.share),
    );
    const ratios = parts.flatMap((part) => part.ratios);
    const gradNorm = update(
      training,
      { loss: metrics.loss, gradients },
      { lr, maxGradNorm, rows: some.map(({ prompt }) => prompt) },
    );
    yield { ...metrics, ratio: { mean: average(ratios), variance: variance(ratios, { unbiased: true }) }, gradNorm };
  }
}

type PartMetrics = Omit<PpoUpdate, 'ratio' | 'gradNorm'>;

/** @returns the part's share of the update's tokens, means over its own, and each token's ratio. */
function backward(
  { model, optimizer }: TrainingState,
  { samples, oldLogps, oldValues }: Rollout,
  { advantages, returns }: RolloutAdvantages,
  numbers: readonly number[],
  tokens: number,
  options: PpoUpdateOptions,
): Part & { share: number; metrics: PartMetrics; ratios: number[] } {
  const { clipRange = 0.2, valueClipRange = 0.2, valueCoef = 0.1, temperature = 1, suppressTokens } = options;
  const some = numbers.map((n) => samples[n]!);
  const share = countTokens(some) / tokens;
  const of = (all: OfTokens) => padded(numbers.map((n) => all[n]!));
  const batch = sampleBatch(some, model.config.blockSize);
  using pass = model.record(batch, { temperature, suppressTokens, statistics: true });
  const { perTokenLogps, values, responseMask, statistics } = pass;
  if (values === undefined) throw new InputError('the model has no value head; give withValueHead(policy)');

  const taken: { metrics?: PartMetrics; ratios?: number[] } = {};
  using loss = differentiate([perTokenLogps, values], (logps, ofStates) => {
    const constants = {
      oldLogps: of(oldLogps),
      oldValues: of(oldValues),
      advantages: of(advantages),
      returns: of(returns),
    };
    const policy = ppoLoss({ logps, responseMask, ...constants }, { clipRange });
    const value = valueLoss({ values: ofStates, responseMask, ...constants }, { valueClipRange });
    const total = policy.loss.add(value.loss.mul(valueCoef));
    const number = (tensor: tf.Tensor) => tensor.dataSync()[0]!;
    const entropy = average(statistics!.entropy);
    taken.metrics = {
      loss: number(total),
      policy: {
        loss: number(policy.loss),
        approxKl: number(policy.approxKl),
        clipFraction: number(policy.clipFraction),
        entropy,
      },
      value: { loss: number(value.loss), clipFraction: number(value.clipFraction) },
    };
    taken.ratios = [...policy.ratio.dataSync<'float32'>()].filter((_, n) => batch.responseMask[n] === 1);
    return total.mul<tf.Scalar>(share);
  });
  const [dLogps, dValues] = loss.gradients;
  const gradients = pass.backward(dLogps, (name) => optimizer.trains(name), dValues);
  return { loss: loss.value, gradients, share, metrics: taken.metrics!, ratios: taken.ratios! };
}
