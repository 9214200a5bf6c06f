/**
 * DPO as the lessons use it: the loss of each pair, and its rewards. The rest of the family is in `preferenceLosses`.
 */
import { RANGES, requireRange } from '../ranges';
import { tf } from '../tf';
import { logRatios, type PairLogps } from './logRatios';
import { sigmoid } from './margin';
import { requireSameShape } from './mask';
import { stopGradient } from './stopGradient';

export interface DpoOptions {
  /** How strongly the policy is held to the reference: higher keeps it closer. Default 0.1. */
  beta?: number;
  /** The probability that a label is wrong, in [0, 0.5): conservative DPO. Default 0, the paper's loss. */
  labelSmoothing?: number;
}

export interface DpoLoss {
  /** [B], one for each pair; take the mean to train. */
  losses: tf.Tensor1D;
  /** [B], the implicit reward beta * (policy - reference), in nats. A constant: for the log, not for training. */
  chosenRewards: tf.Tensor1D;
  rejectedRewards: tf.Tensor1D;
}

/**
 * Direct Preference Optimization, Eq. 7 of https://arxiv.org/abs/2305.18290, with the label smoothing of
 * https://ericmitchell.ai/cdpo.pdf. With h = (policyChosen - refChosen) - (policyRejected - refRejected):
 *
 *     loss = -(1 - labelSmoothing) log sigmoid(beta h) - labelSmoothing log sigmoid(-beta h)
 *
 * ln 2 where policy and reference agree. The gradient flows to the policy's log-probs; the reference's are constants.
 *
 * @throws InputError if the shapes differ or an option is out of its range.
 */
export function dpoLoss(pair: PairLogps, { beta = 0.1, labelSmoothing = 0 }: DpoOptions = {}): DpoLoss {
  requireSameShape(1, { ...pair });
  requireRange('beta', beta, RANGES.grpo.beta); // 0 is the lessons': they show that nothing is learned then
  requireRange('labelSmoothing', labelSmoothing, RANGES.pairs.labelSmoothing);
  return tf.tidy(() => {
    const { chosen, rejected } = logRatios(pair);
    return {
      losses: sigmoid(tf.sub(chosen, rejected), { beta, labelSmoothing }),
      chosenRewards: stopGradient(tf.mul<tf.Tensor1D>(beta, chosen)),
      rejectedRewards: stopGradient(tf.mul<tf.Tensor1D>(beta, rejected)),
    };
  });
}
