/** Losses on pairs of responses, one preferred over the other: log-probs -> log-ratios -> the loss of each pair. */
import { InputError } from '../errors';
import { tf } from '../tf';
import { requireSameShape } from './mask';
import { stopGradient } from './stopGradient';

/** Log-probs of whole responses (`logps`), each [B] float32, in nats. */
export interface PairLogps {
  policyChosenLogps: tf.Tensor1D;
  policyRejectedLogps: tf.Tensor1D;
  refChosenLogps: tf.Tensor1D;
  refRejectedLogps: tf.Tensor1D;
}

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
  if (!(beta >= 0 && beta < Infinity)) throw new InputError(`beta must be a number from 0 up, got ${beta}`);
  if (!(labelSmoothing >= 0 && labelSmoothing < 0.5)) {
    throw new InputError(`labelSmoothing must be in [0, 0.5), got ${labelSmoothing}; from 0.5 on, rejected is preferred`);
  }
  return tf.tidy(() => {
    const { chosenLogRatios, rejectedLogRatios } = logRatios(pair);
    return {
      losses: sigmoidLoss(tf.sub(chosenLogRatios, rejectedLogRatios), beta, labelSmoothing),
      chosenRewards: stopGradient(tf.mul<tf.Tensor1D>(beta, chosenLogRatios)),
      rejectedRewards: stopGradient(tf.mul<tf.Tensor1D>(beta, rejectedLogRatios)),
    };
  });
}

/** log (policy / reference) of each response: all that a DPO-like loss sees of the two models. */
function logRatios(pair: PairLogps) {
  return {
    chosenLogRatios: tf.sub<tf.Tensor1D>(pair.policyChosenLogps, stopGradient(pair.refChosenLogps)),
    rejectedLogRatios: tf.sub<tf.Tensor1D>(pair.policyRejectedLogps, stopGradient(pair.refRejectedLogps)),
  };
}

/**
 * The shape of DPO's loss over h [B]. -log sigmoid(x) is softplus(-x), stable at either end. Not tf.logSigmoid: its
 * gradient reads an argument that it does not keep, which a surrounding tf.tidy has disposed of by then (tfjs 4.22).
 */
function sigmoidLoss(h: tf.Tensor1D, beta: number, labelSmoothing: number): tf.Tensor1D {
  const right = tf.softplus(tf.mul(-beta, h));
  const flipped = tf.softplus(tf.mul(beta, h));
  return tf.add(tf.mul(1 - labelSmoothing, right), tf.mul(labelSmoothing, flipped));
}
