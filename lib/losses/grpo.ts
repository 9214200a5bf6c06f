/**
 * The losses of Group Relative Policy Optimization (arXiv 2402.03300) and RLOO (arXiv 2402.14740): PPO's clipped
 * surrogate with one advantage per response, so that no value function is needed.
 */
import { InputError } from '../errors';
import { RANGES, requireRanges } from '../ranges';
import { tf } from '../tf';
import { klK3 } from './advantages';
import { masked, maskedMean, requireResponse, requireSameShape, stopGradient } from './mask';
import { clippedSurrogate } from './ppo';

/** Whose ratio is clipped: each token's, or one for a whole response. */
export type RatioLevel = 'token' | 'sequence';

/** @throws InputError if level is none of them. */
export function requireRatioLevel(level: string = 'token'): void {
  if (!['token', 'sequence'].includes(level)) throw new InputError(`level must be token or sequence, got "${level}"`);
}

/** How tokens are averaged; TRL's names. */
export type GrpoLossType = 'grpo' | 'dapo' | 'dr_grpo';

/** @throws InputError if lossType is none of them. */
export function requireLossType(lossType: string = 'grpo'): void {
  if (!['grpo', 'dapo', 'dr_grpo'].includes(lossType))
    throw new InputError(`lossType must be grpo, dapo or dr_grpo, got "${lossType}"`);
}

export interface GrpoOptions {
  /** Above 0. Default 0.2. */
  clipRange?: number;
  /**
   * How far above 1 the ratio may go before it is clipped; `clipRange` then applies below 1. A wider upper side leaves
   * rare tokens room to become likely ("clip higher", DAPO, arXiv 2503.14476, Eq. 10). Above 0. Default: clipRange.
   */
  epsilonHigh?: number;
  /**
   * `token`: a ratio for each token (the paper, Eq. 3); `sequence`: one for each response, exp of the mean of its
   * tokens' log-ratios, which is clipped as a whole (GSPO, arXiv 2507.18071, Eq. 7; TRL's importance_sampling_level).
   * Default token.
   */
  level?: RatioLevel;
  /** The weight of the KL to the reference, at least 0. Default 0.04, the paper's. */
  beta?: number;
  /**
   * Multiply the KL's k3 by the ratio, so that its gradient also flows through the ratio and is, without bias, that of
   * the KL itself (DeepSeek-V3.2, arXiv 2512.02556, section 3.1; TRL's `use_bias_correction_kl`). Default false, as in
   * the GRPO paper.
   */
  klRatio?: boolean;
  /**
   * `grpo`: average over a response's tokens, then over responses (the paper, Eq. 3); `dapo`: average over all tokens
   * (arXiv 2503.14476, Eq. 8); `dr_grpo`: divide the sum over tokens by responses times `maxNewTokens`, so that the
   * length of a response does not matter (arXiv 2503.20783). Default grpo.
   */
  lossType?: GrpoLossType;
  /** Required by dr_grpo; the others ignore it. */
  maxNewTokens?: number;
}

export type GrpoTensors = Record<'logps' | 'oldLogps' | 'refLogps' | 'responseMask', tf.Tensor2D> & {
  advantages: tf.Tensor1D;
};

export interface GrpoLoss {
  loss: tf.Scalar;
  /**
   * Fraction of tokens (for RLOO and at the level of sequences, of responses) on which the clipped term counts. This
   * and the next are constants, for logging.
   */
  clipFraction: tf.Scalar;
  /** Mean of k3 over tokens, in nats; multiplied by the ratio if `klRatio`. */
  kl: tf.Scalar;
}

/**
 * PPO's clipped surrogate with one advantage per response, and the KL to the reference (k3) as a term of the loss:
 *
 *     per token: -min(ratio A, clip(ratio, 1 - clipRange, 1 + epsilonHigh) A) + beta k3
 *     k3 = exp(refLogp - logp) - (refLogp - logp) - 1
 *
 * @param logps [R, T'] float32, in nats. Differentiable.
 * @param oldLogps, refLogps [R, T'], of the policy that sampled and of the reference.
 * @param advantages [R].
 * @param options.tokens, options.responses of the whole batch, if these rows are a part of it; the loss is then their
 *   share of the batch's.
 * @throws InputError if the shapes differ, a row has no response token, or dr_grpo lacks `maxNewTokens`.
 */
export function grpoLoss(
  { logps, oldLogps, refLogps, advantages, responseMask }: GrpoTensors,
  {
    clipRange = 0.2,
    epsilonHigh = clipRange,
    level = 'token',
    beta = 0.04,
    klRatio = false,
    lossType = 'grpo',
    maxNewTokens,
    tokens,
    responses,
  }: GrpoOptions & { tokens?: number; responses?: number } = {},
): GrpoLoss {
  const R = requireResponses({ logps, oldLogps, refLogps, advantages, responseMask });
  requireRanges({ clipRange, epsilonHigh, beta }, RANGES.grpo);
  requireLossType(lossType);
  requireRatioLevel(level);
  if (lossType === 'dr_grpo' && maxNewTokens === undefined)
    throw new InputError('lossType dr_grpo divides by maxNewTokens, which is missing: give it');
  return tf.tidy(() => {
    const gain = tf.broadcastTo<tf.Rank.R2>(advantages.expandDims(1), logps.shape);
    const inside = (x: tf.Tensor2D) => masked(x, responseMask); // before use, as in clippedSurrogate
    const mask = responseMask.cast('float32');
    const ofWhole = () => {
      const logRatio = inside(logps.sub(stopGradient(oldLogps)));
      const mean = logRatio.sum(1, true).div<tf.Tensor2D>(mask.sum(1, true)); // [R, 1]
      return { logps: tf.broadcastTo<tf.Rank.R2>(mean, logps.shape), oldLogps: tf.zerosLike(logps) };
    };
    const { losses, ratio, isClipped } = clippedSurrogate(
      { ...(level === 'token' ? { logps, oldLogps } : ofWhole()), advantages: gain, responseMask },
      clipRange,
      epsilonHigh,
    );
    const k3 = klK3(inside(logps), inside(stopGradient(refLogps)));
    const kl = klRatio ? k3.mul<tf.Tensor2D>(ratio) : k3;
    const perToken = inside(tf.add<tf.Tensor2D>(losses, kl.mul(beta)));
    const all = responses ?? R;
    const reduced = {
      grpo: () => perToken.sum(1).div(mask.sum(1)).sum().div<tf.Scalar>(all),
      dapo: () => perToken.sum().div<tf.Scalar>(tokens ?? mask.sum()),
      dr_grpo: () => perToken.sum().div<tf.Scalar>(all * maxNewTokens!),
    };
    const clipped = isClipped.cast('float32');
    return {
      loss: reduced[lossType](),
      clipFraction: level === 'token' ? maskedMean(clipped, responseMask) : clipped.max(1).mean<tf.Scalar>(),
      kl: stopGradient(maskedMean(kl, responseMask)),
    };
  });
}

/**
 * RLOO (arXiv 2402.14740): the clipped surrogate with a whole response as the action, so the ratio is that of
 * sequences, exp(sum(logps) - sum(oldLogps)). KL is not a term of it: it is subtracted from the scores beforehand.
 *
 * @param inputs, options.responses as in `grpoLoss`; refLogps are only for logging.
 * @throws InputError if the shapes differ or a row has no response token.
 */
export function rlooLoss(
  { logps, oldLogps, refLogps, advantages, responseMask }: GrpoTensors,
  {
    clipRange = 0.2,
    epsilonHigh,
    responses,
  }: Pick<GrpoOptions, 'clipRange' | 'epsilonHigh'> & { responses?: number } = {},
): GrpoLoss {
  const R = requireResponses({ logps, oldLogps, refLogps, advantages, responseMask });
  return tf.tidy(() => {
    const summed = (x: tf.Tensor2D) => masked(x, responseMask).sum<tf.Tensor2D>(1, true);
    const { losses, isClipped } = clippedSurrogate(
      {
        logps: summed(logps),
        oldLogps: summed(oldLogps),
        advantages: advantages.expandDims(1),
        responseMask: tf.ones([R, 1], 'int32'),
      },
      clipRange,
      epsilonHigh,
    );
    return {
      loss: losses
        .sum()
        .div(R)
        .mul<tf.Scalar>(R / (responses ?? R)),
      clipFraction: isClipped.cast('float32').sum().div<tf.Scalar>(R),
      kl: stopGradient(maskedMean(klK3(logps, refLogps), responseMask)),
    };
  });
}

/** The number of responses R. @throws InputError if the shapes differ or a row has no response token. */
function requireResponses({ advantages, ...perToken }: GrpoTensors): number {
  requireSameShape(2, perToken);
  const [R] = perToken.logps.shape;
  if (!tf.util.arraysEqual(advantages.shape, [R]))
    throw new InputError(`advantages must be [${R}], one per response, got [${advantages.shape}]`);
  requireResponse(perToken.responseMask);
  return R;
}
