/**
 * Group Relative Policy Optimization (arXiv 2402.03300) and its kin: several samples of a prompt are each other's
 * baseline, so that
 * no value function is needed.
 */
import { InputError } from '../errors';
import { average, variance } from '../moments';
import { RANGES, requireRange, requireRanges } from '../ranges';
import { tf } from '../tf';
import { klK3, maskedMean } from './advantages';
import { masked, requireResponse, requireSameShape } from './mask';
import { ppoLoss } from './ppo';
import { stopGradient } from './stopGradient';

export interface GroupAdvantageOptions {
  /**
   * What a score is held against: `group`, the mean of its group (GRPO), or `leaveOneOut`, that of the others (RLOO,
   * arXiv 2402.14740, Eq. 8). Default group.
   */
  baseline?: 'group' | 'leaveOneOut';
  /**
   * Whether GRPO's are divided by the group's standard deviation (with Bessel's correction, plus 1e-4, as TRL does it).
   * Default true; RLOO's never are.
   */
  scaleRewards?: boolean;
}

/**
 * @param scores of groups of `groupSize`, one group after another.
 * @returns one advantage for each; all 0 in a group whose scores are equal.
 * @throws InputError if the scores are no whole groups of at least two.
 */
export function groupAdvantages(
  scores: readonly number[],
  groupSize: number,
  { baseline = 'group', scaleRewards = true }: GroupAdvantageOptions = {},
): number[] {
  requireRange('groupSize', groupSize, RANGES.grpo.groupSize);
  if (scores.length % groupSize !== 0) throw new InputError(`${scores.length} scores are no groups of ${groupSize}`);
  return scores.map((score, n) => {
    const start = n - (n % groupSize);
    const group = scores.slice(start, start + groupSize);
    const above = score - average(group);
    if (baseline === 'leaveOneOut') return (above * groupSize) / (groupSize - 1); // score - mean of the others
    return above / (scaleRewards ? Math.sqrt(variance(group, { unbiased: true })) + 1e-4 : 1);
  });
}

/** How tokens are averaged; TRL's names. */
export type GrpoLossType = 'grpo' | 'dapo' | 'dr_grpo';

/** @throws InputError if there is no such type. */
export function requireLossType(lossType: string = 'grpo'): void {
  if (!['grpo', 'dapo', 'dr_grpo'].includes(lossType))
    throw new InputError(`lossType must be grpo, dapo or dr_grpo, got "${lossType}"`);
}

export interface GrpoOptions {
  /** Above 0. Default 0.2. */
  clipRange?: number;
  /** The weight of the KL to the reference, from 0 up. Default 0.04, the paper's. */
  beta?: number;
  /**
   * Whether the KL's k3 is multiplied by the ratio, through which its gradient then flows, too: that of the KL itself
   * comes of it, without
   * a bias (DeepSeek-V3.2, arXiv 2512.02556, section 3.1; TRL's `use_bias_correction_kl`). Default false, as in the
   * paper of GRPO.
   */
  klRatio?: boolean;
  /**
   * `grpo`: the mean over a response's tokens, then over responses (the paper, Eq. 3); `dapo`: the mean over all tokens
   * (arXiv 2503.14476, Eq. 8); `dr_grpo`: the sum over tokens by responses times `maxNewTokens`, so that a response's
   * length does
   * not count (arXiv 2503.20783). Default grpo.
   */
  lossType?: GrpoLossType;
  /** Of dr_grpo. */
  maxNewTokens?: number;
}

export type GrpoTensors = Record<'logps' | 'oldLogps' | 'refLogps' | 'responseMask', tf.Tensor2D> & {
  advantages: tf.Tensor1D;
};

export interface GrpoLoss {
  loss: tf.Scalar;
  /**
   * The share of tokens (of responses for RLOO) on which the clipped term is the one that counts. This and the next are
   * constants, for the log.
   */
  clipFraction: tf.Scalar;
  /** Mean of k3 over tokens, in nats; times the ratio where `klRatio`. */
  kl: tf.Scalar;
}

/**
 * PPO's clipped surrogate with one advantage a response, and the KL to the reference (k3) as a term of the loss:
 *
 *     per token: -min(ratio A, clip(ratio, 1 - clipRange, 1 + clipRange) A) + beta (exp(refLogp - logp) - (refLogp -
 * logp) - 1)
 *
 * @param logps [R, T'] float32, in nats. Differentiable.
 * @param oldLogps, refLogps [R, T'], of the policy that sampled and of the reference.
 * @param advantages [R].
 * @param options.tokens, options.responses of the whole batch, where these rows are a part of it; the loss is then
 *   their share.
 * @throws InputError if the shapes differ, a row has no response token, or dr_grpo is not told `maxNewTokens`.
 */
export function grpoLoss(
  { logps, oldLogps, refLogps, advantages, responseMask }: GrpoTensors,
  {
    clipRange = 0.2,
    beta = 0.04,
    klRatio = false,
    lossType = 'grpo',
    maxNewTokens,
    tokens,
    responses,
  }: GrpoOptions & { tokens?: number; responses?: number } = {},
): GrpoLoss {
  const R = requireResponses({ logps, oldLogps, refLogps, advantages, responseMask });
  requireRanges({ clipRange, beta }, RANGES.grpo);
  requireLossType(lossType);
  if (lossType === 'dr_grpo' && maxNewTokens === undefined)
    throw new InputError('lossType dr_grpo divides by maxNewTokens: give it');
  return tf.tidy(() => {
    // before use: 0 times an overflow outside the mask would be NaN
    const inside = (x: tf.Tensor2D) => masked(x, responseMask);
    const [current, old, ref] = [inside(logps), inside(stopGradient(oldLogps)), inside(stopGradient(refLogps))];
    const gain = stopGradient(advantages).expandDims<tf.Tensor2D>(1);
    const ratio = tf.exp(tf.clipByValue(tf.sub(current, old), -60, 60)); // as ppoLoss bounds it
    const unclipped = tf.neg(tf.mul(gain, ratio));
    const clipped = tf.neg(tf.mul(gain, tf.clipByValue(ratio, 1 - clipRange, 1 + clipRange)));
    const kl = klRatio ? klK3(current, ref).mul<tf.Tensor2D>(ratio) : klK3(current, ref);
    const perToken = inside(tf.add<tf.Tensor2D>(tf.maximum(unclipped, clipped), kl.mul(beta)));
    const mask = responseMask.cast('float32');
    const all = responses ?? R;
    const summed = {
      grpo: () => perToken.sum(1).div(mask.sum(1)).sum().div<tf.Scalar>(all),
      dapo: () => perToken.sum().div<tf.Scalar>(tokens ?? mask.sum()),
      dr_grpo: () => perToken.sum().div<tf.Scalar>(all * maxNewTokens!),
    };
    return {
      loss: summed[lossType](),
      clipFraction: stopGradient(maskedMean(tf.greater(clipped, unclipped).cast('float32'), responseMask)),
      kl: stopGradient(maskedMean(kl, responseMask)),
    };
  });
}

/**
 * RLOO's (arXiv 2402.14740): the clipped surrogate with a whole response as the action, so that the ratio is of
 * sequences,
 * exp(sum(logps) - sum(oldLogps)). KL is no term of it: it is taken off the scores before.
 *
 * @param inputs, options.responses as of `grpoLoss`; refLogps are for the log.
 * @throws InputError if the shapes differ or a row has no response token.
 */
export function rlooLoss(
  { logps, oldLogps, refLogps, advantages, responseMask }: GrpoTensors,
  { clipRange = 0.2, responses }: { clipRange?: number; responses?: number } = {},
): GrpoLoss {
  const R = requireResponses({ logps, oldLogps, refLogps, advantages, responseMask });
  return tf.tidy(() => {
    const summed = (x: tf.Tensor2D) => masked(x, responseMask).sum<tf.Tensor2D>(1, true);
    const { loss, clipFraction } = ppoLoss(
      {
        logps: summed(logps),
        oldLogps: summed(oldLogps),
        advantages: advantages.expandDims(1),
        responseMask: tf.ones([R, 1], 'int32'),
      },
      { clipRange },
    );
    return {
      loss: loss.mul<tf.Scalar>(R / (responses ?? R)),
      clipFraction,
      kl: stopGradient(maskedMean(klK3(logps, refLogps), responseMask)),
    };
  });
}

/** How many there are. */
function requireResponses({ advantages, ...ofTokens }: GrpoTensors): number {
  requireSameShape(2, ofTokens);
  const [R] = ofTokens.logps.shape;
  if (!tf.util.arraysEqual(advantages.shape, [R]))
    throw new InputError(`advantages must be [${R}], one a response, got [${advantages.shape}]`);
  requireResponse(ofTokens.responseMask);
  return R;
}
