/**
 * Losses on pairs that need no reference model: log-probs of the policy (sums over a response's tokens) and lengths.
 */
import { tf } from '../tf';
import { logistic, sigmoid } from './margin';
import type { Inputs, Options } from './preferenceInputs';

/** The nearest to 0 that a log-prob can be told from it in float32. Nearer, a probability's odds have no bound. */
const MAX_LOGP = -1e-7;

type Lengths = 'chosenLengths' | 'rejectedLengths';
type Logps = 'policyChosenLogps' | 'policyRejectedLogps';

/**
 * The negative log-likelihood of the chosen response: -lp_w / (the batch's mean chosen length), so that the mean over
 * pairs
 * is the mean over the batch's chosen tokens, TRL's 'sft' and the NLL term of its CPO.
 */
export function sft({ policyChosenLogps, chosenLengths }: Inputs<'policyChosenLogps' | 'chosenLengths'>): tf.Tensor1D {
  return tf.neg(tf.div<tf.Tensor1D>(policyChosenLogps, tf.mean(chosenLengths)));
}

/**
 * Contrastive preference optimization, Eq. 3 of https://arxiv.org/abs/2401.08417:
 * -log s(beta (lp_w - lp_l)) + nllCoef NLL.  TRL: CPOTrainer, 'sigmoid', `cpo_alpha`.
 */
export function cpo(
  inputs: Inputs<Logps | 'chosenLengths'>,
  options: Options<'beta' | 'labelSmoothing' | 'nllCoef'>,
): tf.Tensor1D {
  const margin = tf.sub<tf.Tensor1D>(inputs.policyChosenLogps, inputs.policyRejectedLogps);
  return tf.add(sigmoid(margin, options), tf.mul(options.nllCoef, sft(inputs)));
}

/**
 * SimPO, Eq. 6 of https://arxiv.org/abs/2405.14734:  -log s(beta (lp_w / len_w - lp_l / len_l) - gamma).
 * TRL: CPOTrainer, 'simpo', `simpo_gamma`, `cpo_alpha` = 0 (by default TRL adds the NLL).
 */
export function simpo(
  inputs: Inputs<Logps | Lengths>,
  { beta, gamma, labelSmoothing }: Options<'beta' | 'gamma' | 'labelSmoothing'>,
): tf.Tensor1D {
  const { chosen, rejected } = means(inputs);
  return logistic(tf.sub(tf.mul(beta, tf.sub(chosen, rejected)), gamma), labelSmoothing);
}

/**
 * ORPO, Eq. 6 and 7 of https://arxiv.org/abs/2403.07691, with p = exp(lp / len) and beta its lambda:
 *
 *     NLL - beta log s(log odds_w - log odds_l),   odds = p / (1 - p)
 *
 * The NLL is the response's; TRL's ORPOTrainer takes the prompt's tokens into it.
 */
export function orpo(inputs: Inputs<Logps | Lengths>, { beta }: Options<'beta'>): tf.Tensor1D {
  const { chosen, rejected } = means(inputs);
  const logOddsRatio = tf.sub(logOdds(chosen), logOdds(rejected));
  return tf.add(sft(inputs), tf.mul(beta, tf.softplus(tf.neg(logOddsRatio))));
}

/** log(p / (1 - p)) of p = exp(logp). */
function logOdds(logp: tf.Tensor1D): tf.Tensor1D {
  const bounded = tf.minimum<tf.Tensor1D>(logp, MAX_LOGP);
  return tf.sub(bounded, tf.log(tf.neg(tf.expm1(bounded))));
}

function means({ policyChosenLogps, policyRejectedLogps, chosenLengths, rejectedLengths }: Inputs<Logps | Lengths>) {
  return {
    chosen: tf.div<tf.Tensor1D>(policyChosenLogps, chosenLengths),
    rejected: tf.div<tf.Tensor1D>(policyRejectedLogps, rejectedLengths),
  };
}
