/**
 * The DPO family on one page: each loss on pairs with its formula, its source, its needs and its defaults.
 *
 * Notation: w is the chosen response and l the rejected one, lp the policy's log-prob of a response, len its number of
 * tokens, u = lp - lp of the reference, h = u_w - u_l the margin in nats, s the logistic function and e the
 * labelSmoothing. The first argument of a row (`margin`, `meanMargin`, …, in `logRatios.ts`) is what its formula sees
 * of the pairs; it decides which inputs the loss needs and whether it takes a divergence. -log s(z) is computed as
 * softplus(-z) and 1 - s(z) as s(-z), which are accurate at both ends. (Not tf.logSigmoid: its gradient reads an
 * argument that it does not keep, which a surrounding tf.tidy has disposed of by then in tfjs 4.22.)
 *
 * Departures from TRL 1.16: a loss has one element per pair instead of the batch's mean, so pairWeights apply to sft,
 * too; the NLL of orpo excludes the prompt; simpo has no NLL and has its paper's beta and gamma by default; robust and
 * cdpo have a label smoothing of 0.1 by default (0 would make them DPO); sigmoid_norm can be smoothed; divergences cap
 * their exponents at 40; discopop does not overflow; options that a loss does not take are refused.
 */
import { InputError } from '../errors';
import { RANGES, requireRange } from '../ranges';
import { tf } from '../tf';
import {
  eachLogRatio,
  given,
  logRatios,
  margin,
  meanMargin,
  rankedLogRatios,
  rankedMargin,
  type PairLogps,
} from './logRatios';
import { requireSameShape, stopGradient } from './mask';
import { requireSmoothing, row, table, type Inputs, type Options, type PreferenceLoss } from './preferenceInputs';

/** The names are TRL's (`loss_type` of DPOTrainer and CPOTrainer), except cdpo, cpo and orpo. */
export const preferenceLosses = table({
  // Losses of the margin h. They need the reference.
  sigmoid: row(margin, {
    formula: '-(1 - e) log s(beta h) - e log s(-beta h)', // ln 2 at h = 0
    source: 'DPO, Eq. 7 of https://arxiv.org/abs/2305.18290; e above 0: https://ericmitchell.ai/cdpo.pdf, Eq. 3',
    defaults: { beta: 0.1, labelSmoothing: 0 },
    losses: dpo,
  }),
  cdpo: row(margin, {
    formula: '-(1 - e) log s(beta h) - e log s(-beta h)',
    source: 'Conservative DPO, Eq. 3 of https://ericmitchell.ai/cdpo.pdf',
    defaults: { beta: 0.1, labelSmoothing: 0.1 },
    losses: dpo,
  }),
  robust: row(margin, {
    formula: '[-(1 - e) log s(beta h) + e log s(-beta h)] / (1 - 2e)', // ln 2 at h = 0; it has no minimum
    source:
      'Robust DPO, section 3.1 of https://arxiv.org/abs/2403.00409: unbiased if a fraction e of labels is flipped',
    defaults: { beta: 0.1, labelSmoothing: 0.1 },
    losses: (h, { beta, labelSmoothing: e }) => {
      const [correct, flipped] = [tf.softplus(tf.mul(-beta, h)), tf.softplus(tf.mul(beta, h))];
      return tf.div(tf.sub(tf.mul(1 - e, correct), tf.mul(e, flipped)), 1 - 2 * e);
    },
  }),
  hinge: row(margin, {
    formula: 'max(0, 1 - beta h)',
    source: "SLiC, section 2 of https://arxiv.org/abs/2305.10425, on DPO's margin",
    defaults: { beta: 0.1 },
    losses: (h, { beta }) => tf.relu(tf.sub<tf.Tensor1D>(1, tf.mul(beta, h))),
  }),
  exo_pair: row(margin, {
    formula: 's(beta h) [log s(beta h) - log(1 - e)] + s(-beta h) [log s(-beta h) - log e]', // 2.7612 at h = 0
    source: 'EXO, Eq. 16 of https://arxiv.org/abs/2402.00856: the KL of (s(beta h), s(-beta h)) from (1 - e, e)',
    defaults: { beta: 0.1, labelSmoothing: 1e-3 },
    losses: (h, { beta, labelSmoothing: e }) => {
      requireSmoothing(e);
      const term = (z: tf.Tensor1D, label: number) =>
        tf.mul(tf.sigmoid(z), tf.add(tf.softplus(tf.neg(z)), Math.log(label)));
      return tf.neg(tf.add<tf.Tensor1D>(term(tf.mul(beta, h), 1 - e), term(tf.mul(-beta, h), e)));
    },
  }),
  discopop: row(margin, {
    formula: '(1 - m) (-log s(z)) + m exp(-z), z = beta h, m = s(z / discopopTau)', // 0.8466 at h = 0
    source: 'DiscoPOP, Eq. 5 of https://arxiv.org/abs/2406.08414',
    defaults: { beta: 0.1, discopopTau: 0.05 },
    losses: (h, { beta, discopopTau }) => {
      const z = tf.mul<tf.Tensor1D>(beta, h);
      const mix = tf.mul<tf.Tensor1D>(1 / discopopTau, z);
      const logistic = tf.mul(tf.sigmoid(tf.neg(mix)), tf.softplus(tf.neg(z)));
      // m exp(-z) as one exponential: as a product, as in TRL, it is 0 * infinity at large negative z.
      return tf.add(logistic, tf.exp(tf.neg(tf.add(z, tf.softplus(tf.neg(mix))))));
    },
  }),

  // Losses of the margin per token, u_w / len_w - u_l / len_l. They need the reference and the lengths.
  ipo: row(meanMargin, {
    formula: '(h - 1 / (2 beta))^2', // 25 at h = 0 for beta = 0.1
    // The paper's margin has sums over tokens; its authors say that they ran means, as here and in TRL.
    source: 'IPO, Eq. 17 of https://arxiv.org/abs/2310.12036 (its tau is beta), on the margin per token',
    defaults: { beta: 0.1 },
    losses: (h, { beta }) => tf.square(tf.sub<tf.Tensor1D>(h, 1 / (2 * beta))),
  }),
  sigmoid_norm: row(meanMargin, {
    formula: '-(1 - e) log s(beta h) - e log s(-beta h)',
    source: 'DPO, Eq. 7 of https://arxiv.org/abs/2305.18290, on the margin per token',
    defaults: { beta: 0.1, labelSmoothing: 0 },
    losses: dpo,
  }),

  // Losses of the two log-ratios u_w and u_l, each by itself. They need the reference.
  nca_pair: row(eachLogRatio, {
    formula: '-log s(beta u_w) - 1/2 log s(-beta u_w) - 1/2 log s(-beta u_l)', // 2 ln 2 at u = 0
    source: 'Noise contrastive alignment, section 4.1 of https://arxiv.org/abs/2402.05369',
    defaults: { beta: 0.1 },
    losses: ({ chosen, rejected }, { beta }) => {
      const push = tf.add(tf.softplus(tf.mul(beta, chosen)), tf.softplus(tf.mul(beta, rejected)));
      return tf.add(tf.softplus(tf.mul(-beta, chosen)), tf.mul(0.5, push));
    },
  }),
  bco_pair: row(eachLogRatio, {
    formula: '-log s(beta u_w) - log s(-beta u_l)', // 2 ln 2 at u = 0
    source: 'Binary classifier optimization, section 4 of https://arxiv.org/abs/2404.04656, with reward shift 0',
    defaults: { beta: 0.1 },
    losses: ({ chosen, rejected }, { beta }) =>
      tf.add(tf.softplus(tf.mul(-beta, chosen)), tf.softplus(tf.mul(beta, rejected))),
  }),
  sppo_hard: row(eachLogRatio, {
    formula: '(u_w - 1 / (2 beta))^2 + (u_l + 1 / (2 beta))^2', // 50 at u = 0 for beta = 0.1
    source: 'Self-play preference optimization, Eq. 4.7 of https://arxiv.org/abs/2405.00675, P = 1 for w and 0 for l',
    defaults: { beta: 0.1 },
    losses: ({ chosen, rejected }, { beta }) =>
      tf.add(tf.square(tf.sub(chosen, 1 / (2 * beta))), tf.square(tf.add(rejected, 1 / (2 * beta)))),
  }),
  apo_zero: row(eachLogRatio, {
    formula: '1 - s(beta u_w) + s(beta u_l)', // 1 at u = 0
    source: "APO, Eq. 7 of https://arxiv.org/abs/2408.06266, for chosen responses better than the model's own",
    defaults: { beta: 0.1 },
    losses: ({ chosen, rejected }, { beta }) =>
      tf.add(tf.sigmoid(tf.mul(-beta, chosen)), tf.sigmoid(tf.mul(beta, rejected))),
  }),
  apo_down: row(eachLogRatio, {
    formula: 's(beta u_w) + 1 - s(beta (u_w - u_l))', // 1 at u = 0
    source: "APO, Eq. 8 of https://arxiv.org/abs/2408.06266, for chosen responses worse than the model's own",
    defaults: { beta: 0.1 },
    losses: ({ chosen, rejected }, { beta }) =>
      tf.add(tf.sigmoid(tf.mul(beta, chosen)), tf.sigmoid(tf.mul(-beta, tf.sub(chosen, rejected)))),
  }),

  // Losses of margins rank by rank: they sort the batch. They need the reference.
  aot: row(rankedMargin, {
    formula: '-(1 - e) log s(beta h) - e log s(-beta h), h by rank',
    source: 'Alignment by optimal transport, section 3 of https://arxiv.org/abs/2406.05882, paired',
    defaults: { beta: 0.1, labelSmoothing: 0 },
    losses: dpo,
  }),
  aot_unpaired: row(rankedLogRatios, {
    formula: '-(1 - e) log s(beta h) - e log s(-beta h), h = u_w - u_l by rank',
    source: 'Alignment by optimal transport, section 3 of https://arxiv.org/abs/2406.05882, unpaired',
    defaults: { beta: 0.1, labelSmoothing: 0 },
    losses: dpo,
  }),

  // Losses of log-probs and lengths. They need no reference.
  sft: row(given('policyChosenLogps', 'chosenLengths'), {
    formula: "-lp_w / (the batch's mean len_w)", // the mean over pairs is then that over the batch's chosen tokens
    source: "The NLL of the chosen response: TRL's 'sft', and the NLL term of its CPOTrainer",
    defaults: {},
    losses: nll,
  }),
  cpo: row(given('policyChosenLogps', 'policyRejectedLogps', 'chosenLengths'), {
    formula: '-log s(beta (lp_w - lp_l)) + nllCoef NLL', // smoothed as sigmoid is
    source:
      "Contrastive preference optimization, Eq. 3 of https://arxiv.org/abs/2401.08417; nllCoef is TRL's cpo_alpha",
    defaults: { beta: 0.1, labelSmoothing: 0, nllCoef: 1 },
    losses: (pair, options) =>
      tf.add(
        dpo(tf.sub(pair.policyChosenLogps, pair.policyRejectedLogps), options),
        tf.mul(options.nllCoef, nll(pair)),
      ),
  }),
  simpo: row(given('policyChosenLogps', 'policyRejectedLogps', 'chosenLengths', 'rejectedLengths'), {
    formula: '-log s(beta (lp_w / len_w - lp_l / len_l) - gamma)', // smoothed as sigmoid is
    source: "SimPO, Eq. 6 of https://arxiv.org/abs/2405.14734; gamma is TRL's simpo_gamma, cpo_alpha is 0",
    defaults: { beta: 2, gamma: 1, labelSmoothing: 0 },
    losses: (pair, { beta, gamma, labelSmoothing }) => {
      const { chosen, rejected } = meanLogps(pair);
      return smoothed(tf.sub(tf.mul(beta, tf.sub(chosen, rejected)), gamma), labelSmoothing);
    },
  }),
  orpo: row(given('policyChosenLogps', 'policyRejectedLogps', 'chosenLengths', 'rejectedLengths'), {
    formula: 'NLL - beta log s(log odds_w - log odds_l), odds = p / (1 - p), p = exp(lp / len)',
    source: 'ORPO, Eq. 6 and 7 of https://arxiv.org/abs/2403.07691, whose lambda is beta',
    defaults: { beta: 0.1 },
    losses: (pair, { beta }) => {
      const { chosen, rejected } = meanLogps(pair);
      const logOddsRatio = tf.sub(logOdds(chosen), logOdds(rejected));
      return tf.add(nll(pair), tf.mul(beta, tf.softplus(tf.neg(logOddsRatio))));
    },
  }),
});

export type PreferenceLossName = keyof typeof preferenceLosses;

/** @throws InputError if the table has no such loss. */
export function preferenceLoss(name: string): PreferenceLoss {
  if (Object.hasOwn(preferenceLosses, name)) return preferenceLosses[name as PreferenceLossName];
  throw new InputError(`there is no loss "${name}"; the losses are ${Object.keys(preferenceLosses).join(', ')}`);
}

export interface DpoOptions {
  /** How strongly the policy is tied to the reference: a higher value keeps it closer. Default 0.1. */
  beta?: number;
  /** The probability that a label is wrong, in [0, 0.5): conservative DPO. Default 0, the paper's loss. */
  labelSmoothing?: number;
}

export interface DpoLoss {
  /** [B], one per pair; take the mean to train. */
  losses: tf.Tensor1D;
  /** [B], the implicit reward beta * (policy - reference), in nats. A constant: for logging, not for training. */
  chosenRewards: tf.Tensor1D;
  rejectedRewards: tf.Tensor1D;
}

/**
 * Direct Preference Optimization, the row `sigmoid` of the table with the implicit rewards beside it. It is ln 2 where
 * policy and reference agree. The gradient flows to the policy's log-probs; the reference's are constants.
 *
 * @throws InputError if the shapes differ or an option is out of its range.
 */
export function dpoLoss(pair: PairLogps, { beta = 0.1, labelSmoothing = 0 }: DpoOptions = {}): DpoLoss {
  requireSameShape(1, { ...pair });
  requireRange('beta', beta, RANGES.grpo.beta); // the lessons use 0 to show that nothing is learned then
  requireRange('labelSmoothing', labelSmoothing, RANGES.pairs.labelSmoothing);
  return tf.tidy(() => {
    const { chosen, rejected } = logRatios(pair);
    return {
      losses: dpo(tf.sub(chosen, rejected), { beta, labelSmoothing }),
      chosenRewards: stopGradient(tf.mul<tf.Tensor1D>(beta, chosen)),
      rejectedRewards: stopGradient(tf.mul<tf.Tensor1D>(beta, rejected)),
    };
  });
}

/** DPO's formula, with label smoothing. */
function dpo(h: tf.Tensor1D, { beta, labelSmoothing }: Options<'beta' | 'labelSmoothing'>): tf.Tensor1D {
  return smoothed(tf.mul(beta, h), labelSmoothing);
}

/** -(1 - e) log s(z) - e log s(-z). */
function smoothed(z: tf.Tensor1D, e: number): tf.Tensor1D {
  return tf.add(tf.mul(1 - e, tf.softplus(tf.neg(z))), tf.mul(e, tf.softplus(z)));
}

function nll({ policyChosenLogps, chosenLengths }: Inputs<'policyChosenLogps' | 'chosenLengths'>): tf.Tensor1D {
  return tf.neg(tf.div<tf.Tensor1D>(policyChosenLogps, tf.mean(chosenLengths)));
}

type Lengths = 'chosenLengths' | 'rejectedLengths';

function meanLogps(pair: Inputs<'policyChosenLogps' | 'policyRejectedLogps' | Lengths>) {
  return {
    chosen: tf.div<tf.Tensor1D>(pair.policyChosenLogps, pair.chosenLengths),
    rejected: tf.div<tf.Tensor1D>(pair.policyRejectedLogps, pair.rejectedLengths),
  };
}

/** log(p / (1 - p)) for p = exp(logp). A logp above -1e-7 is 0 to float32, where the odds have no bound. */
function logOdds(logp: tf.Tensor1D): tf.Tensor1D {
  const bounded = tf.minimum<tf.Tensor1D>(logp, -1e-7);
  return tf.sub(bounded, tf.log(tf.neg(tf.expm1(bounded))));
}
