/**
 * A PPO iteration after its sampling: scores -> advantages -> epochs of minibatches (arXiv 1707.06347, Algorithm 1),
 * and the KL coefficient of the next.
 */
import { InputError, plural } from '../errors';
import { gae, tokenRewards } from '../losses/advantages';
import { whiten } from '../losses/mask';
import { ppoLoss, valueLoss } from '../losses/ppo';
import { differentiate } from '../model/forwardPass';
import { average, variance } from '../moments';
import { Random } from '../random';
import { RANGES, requireRange, requireRanges } from '../ranges';
import { tf } from '../tf';
import { withDefaults, type DefaultsOf } from './declare';
import { accumulate, update, type Part } from './loop';
import { mean } from './metrics';
import { ppoSettings, samplingSettings } from './ppoOptions';
import { countTokens, padded, sampleBatch, type PerToken, type Sample } from './rollout';
import type { TrainingState } from './state';

/** What an iteration learns from, recorded when sampling: constants for all epochs. */
export interface Rollout {
  readonly samples: readonly Sample[];
  /** One per sample, after penalties. */
  readonly scores: readonly number[];
  /** Log-probs under the policy that sampled. */
  readonly oldLogps: PerToken;
  readonly refLogps: PerToken;
  /** Values of the value head. */
  readonly oldValues: PerToken;
}

export interface AdvantageOptions {
  /**
   * Scale rewards to a standard deviation of 1 over the rollout's tokens, without changing their mean, as OpenAI did.
   * Default true.
   */
  whitenRewards?: boolean;
  /** In [0, 1]. Default 1. */
  gamma?: number;
  /** In [0, 1]. Default 0.95. */
  gaeLambda?: number;
}

export interface RolloutAdvantages {
  /** -klCoef (oldLogp - refLogp), plus the score at the last token; before whitening. */
  readonly rewards: PerToken;
  /** Whitened over the rollout's tokens. */
  readonly advantages: PerToken;
  readonly returns: PerToken;
}

/** @throws InputError if the rollout has only one token, which has no variance. */
export function rolloutAdvantages(
  { samples, scores, oldLogps, refLogps, oldValues }: Rollout,
  { klCoef, ...options }: AdvantageOptions & { klCoef: number },
): RolloutAdvantages {
  const { whitenRewards, gamma, gaeLambda } = withDefaults(options, ppoSettings);
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
  /** Split the rollout into this many minibatches, one update each, in a new order every epoch. Default 1. */
  minibatches?: number;
  /** Above 0. Default 0.2. */
  clipRange?: number;
  /** Above 0. Default 0.2. */
  valueClipRange?: number;
  /** The weight of the value loss in the loss, at least 0. Default 0.1. */
  valueCoef?: number;
  /** Split a minibatch into this many parts, to save memory. Default 1. */
  accumulation?: number;
  /** Keep only each block's input for the backward pass, to save memory. Default false. */
  gradientCheckpointing?: boolean;
  /** Clip gradients to this norm; 0 does not clip. Default 1. */
  maxGradNorm?: number;
  /** The temperature of the sampling. Default 1. */
  temperature?: number;
  /** Ids that sampling never drew: they get no probability. Default: none. */
  suppressTokens?: readonly number[] | undefined;
}

/** Metrics of an update, before it changes the weights. */
export interface PpoUpdate {
  /** policy.loss + valueCoef value.loss */
  readonly loss: number;
  readonly policy: {
    readonly loss: number;
    /** Mean of (logp - oldLogp)^2 / 2: how far the policy has moved since the rollout, in nats. */
    readonly approxKl: number;
    /** Fraction of tokens on which the clipped term counts. */
    readonly clipFraction: number;
    /** Entropy of the next-token distributions, in nats. */
    readonly entropy: number;
  };
  readonly value: { readonly loss: number; readonly clipFraction: number };
  /** exp(logp - oldLogp) over the tokens; the variance has Bessel's correction, as torch.var. */
  readonly ratio: { readonly mean: number; readonly variance: number };
  /** Before clipping. */
  readonly gradNorm: number;
}

/**
 * The samples of each update, by their indices.
 *
 * @throws InputError if ppoEpochs or minibatches is out of its range, or the minibatches are not of equal size.
 */
export function minibatchOrder(samples: number, options: PpoUpdateOptions, seed: number): number[][] {
  const { ppoEpochs, minibatches } = withDefaults(options, ppoSettings);
  requireRanges({ ppoEpochs, minibatches }, RANGES.ppo);
  const size = samples / minibatches;
  if (!Number.isInteger(size))
    throw new InputError(
      `a rollout of ${plural(samples, 'sample')} cannot be split into ` +
        `${plural(minibatches, 'equal minibatch', 'equal minibatches')}; ` +
        'change batchSize or minibatches',
    );
  const random = new Random(seed);
  return Array.from({ length: ppoEpochs }, () => random.shuffle(Array.from({ length: samples }, (_, n) => n))).flatMap(
    (order) => Array.from({ length: minibatches }, (_, n) => order.slice(n * size, (n + 1) * size)),
  );
}

/**
 * Updates the weights once per minibatch, and yields after each.
 *
 * @param order indices of the samples of each update.
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
  // A single update knows nothing of how the rollout was sampled: its temperature is 1 unless given.
  const settings = withDefaults(options, { ...ppoSettings, temperature: samplingSettings.temperature });
  const { accumulation, maxGradNorm } = settings;
  requireRanges(options, { ...RANGES.training, ...RANGES.sampling, ...RANGES.ppo });
  for (const indices of order) {
    const some = indices.map((n) => rollout.samples[n]!);
    const tokens = countTokens(some);
    const { parts, gradients } = accumulate(indices, accumulation, (part) =>
      backward(training, rollout, advantages, part, tokens, settings),
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

/** Forward, loss and backward of a part: its share of the update's tokens, its means, and each token's ratio. */
function backward(
  { model, optimizer }: TrainingState,
  { samples, oldLogps, oldValues }: Rollout,
  { advantages, returns }: RolloutAdvantages,
  indices: readonly number[],
  tokens: number,
  options: PpoUpdateOptions & DefaultsOf<typeof ppoSettings>,
): Part & { share: number; metrics: PartMetrics; ratios: number[] } {
  const { clipRange, valueClipRange, valueCoef, temperature, suppressTokens, gradientCheckpointing } = options;
  const some = indices.map((n) => samples[n]!);
  const share = countTokens(some) / tokens;
  const part = (all: PerToken) => padded(indices.map((n) => all[n]!));
  const batch = sampleBatch(some, model.config.blockSize);
  using pass = model.record(batch, { temperature, suppressTokens, statistics: true, gradientCheckpointing });
  const { perTokenLogps, values, responseMask, statistics } = pass;
  if (values === undefined) throw new InputError('the model has no value head; give withValueHead(policy)');

  let metrics: PartMetrics;
  let ratios: number[];
  using loss = differentiate([perTokenLogps, values], (logps, newValues) => {
    const constants = {
      oldLogps: part(oldLogps),
      oldValues: part(oldValues),
      advantages: part(advantages),
      returns: part(returns),
    };
    const policy = ppoLoss({ logps, responseMask, ...constants }, { clipRange });
    const value = valueLoss({ values: newValues, responseMask, ...constants }, { valueClipRange });
    const total = policy.loss.add(value.loss.mul(valueCoef));
    const number = (tensor: tf.Tensor) => tensor.dataSync()[0]!;
    const entropy = average(statistics!.entropy);
    metrics = {
      loss: number(total),
      policy: {
        loss: number(policy.loss),
        approxKl: number(policy.approxKl),
        clipFraction: number(policy.clipFraction),
        entropy,
      },
      value: { loss: number(value.loss), clipFraction: number(value.clipFraction) },
    };
    ratios = [...policy.ratio.dataSync<'float32'>()].filter((_, n) => batch.responseMask[n] === 1);
    return total.mul<tf.Scalar>(share);
  });
  const [dLogps, dValues] = loss.gradients;
  const gradients = pass.backward(dLogps, (name) => optimizer.trains(name), dValues);
  return { loss: loss.value, gradients, share, metrics: metrics!, ratios: ratios! };
}

/**
 * The klCoef of the next iteration, by OpenAI's controller in log space (arXiv 1909.08593, section 2.2): it grows if KL
 * is above the target and shrinks if it is below, with the relative error clipped at 0.2.
 *
 * @throws InputError if klTarget or klHorizon is out of its range: with a horizon of a fifth of the samples, one step
 *   could reduce klCoef to 0.
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

/** @throws InputError if klHorizon is out of its range. @param name what `samples` is called in the message. */
export function requireHorizon(klHorizon: number, samples: number, name: string): void {
  requireRange('klHorizon', klHorizon, RANGES.ppo.klHorizon);
  if (klHorizon <= samples / 5)
    throw new InputError(
      `klHorizon must be above ${samples / 5}, a fifth of ${name}, got ${klHorizon}: klCoef would turn negative`,
    );
}
