import { tf } from '../tf';
import { stopGradient } from './stopGradient';

/** Log-probs of whole responses (`logps`), each [B] float32, in nats. */
export interface PairLogps {
  policyChosenLogps: tf.Tensor1D;
  policyRejectedLogps: tf.Tensor1D;
  refChosenLogps: tf.Tensor1D;
  refRejectedLogps: tf.Tensor1D;
}

/** u = log(policy / reference) of each response, [B] float32, in nats. */
export interface LogRatios {
  chosen: tf.Tensor1D;
  rejected: tf.Tensor1D;
}

/** All that most of the losses on pairs see of the two models. The reference is a constant. */
export function logRatios(pair: PairLogps): LogRatios {
  return {
    chosen: tf.sub(pair.policyChosenLogps, stopGradient(pair.refChosenLogps)),
    rejected: tf.sub(pair.policyRejectedLogps, stopGradient(pair.refRejectedLogps)),
  };
}
