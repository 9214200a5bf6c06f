/**
 * The losses on pairs by name: what each sees, its formula, and the defaults of its options.
 *
 * Departures from TRL 1.16: losses come pair by pair, not as the batch's mean, so that pairWeights weigh also sft's;
 * the NLL of
 * orpo leaves out the prompt; simpo has no NLL and starts from its paper's beta and gamma; robust and cdpo start from a
 * label
 * smoothing of 0.1 (0 would make them DPO); sigmoid_norm can be smoothed; divergences stop their exponents at 40;
 * discopop
 * does not overflow; options that a loss does not take are refused.
 */
import { InputError } from '../errors';
import { RANGES, requireRange } from '../ranges';
import { tf } from '../tf';
import { discopop, exoPair, hinge, ipo, robust, sigmoid } from './margin';
import { apoDown, apoZero, bcoPair, ncaPair, sppoHard } from './pointwise';
import {
  requireInputs,
  requireOptions,
  type InputName,
  type Options,
  type PreferenceInputs,
  type PreferenceOptions,
} from './preferenceInputs';
import { cpo, orpo, sft, simpo } from './referenceFree';
import { stopGradient } from './stopGradient';
import { eachLogRatio, given, margin, meanMargin, rankedLogRatios, rankedMargin, type View } from './views';

/**
 * @returns [B] float32, one for each pair (in 'aot' and 'aot_unpaired' for each rank); take the mean to train.
 * @throws InputError if an input is missing or does not fit, or an option is unknown to this loss or out of its range.
 */
export interface PreferenceLoss {
  (inputs: PreferenceInputs, options?: PreferenceOptions): tf.Tensor1D;
  /**
   * The inputs without which it cannot be: a trainer needs no reference model where none of the reference's is here.
   */
  readonly needs: readonly InputName[];
  /** The options that it takes. */
  readonly defaults: Readonly<PreferenceOptions>;
}

/** The names are TRL's (`loss_type` of DPOTrainer and CPOTrainer), but for cdpo, cpo and orpo. */
export const preferenceLosses = named({
  sigmoid: over(margin, sigmoid, { beta: 0.1, labelSmoothing: 0 }),
  cdpo: over(margin, sigmoid, { beta: 0.1, labelSmoothing: 0.1 }),
  robust: over(margin, robust, { beta: 0.1, labelSmoothing: 0.1 }),
  hinge: over(margin, hinge, { beta: 0.1 }),
  exo_pair: over(margin, exoPair, { beta: 0.1, labelSmoothing: 1e-3 }),
  discopop: over(margin, discopop, { beta: 0.1, discopopTau: 0.05 }),

  ipo: over(meanMargin, ipo, { beta: 0.1 }),
  sigmoid_norm: over(meanMargin, sigmoid, { beta: 0.1, labelSmoothing: 0 }),

  nca_pair: over(eachLogRatio, ncaPair, { beta: 0.1 }),
  bco_pair: over(eachLogRatio, bcoPair, { beta: 0.1 }),
  sppo_hard: over(eachLogRatio, sppoHard, { beta: 0.1 }),
  apo_zero: over(eachLogRatio, apoZero, { beta: 0.1 }),
  apo_down: over(eachLogRatio, apoDown, { beta: 0.1 }),

  aot: over(rankedMargin, sigmoid, { beta: 0.1, labelSmoothing: 0 }),
  aot_unpaired: over(rankedLogRatios, sigmoid, { beta: 0.1, labelSmoothing: 0 }),

  sft: over(given('policyChosenLogps', 'chosenLengths'), sft, {}),
  cpo: over(given('policyChosenLogps', 'policyRejectedLogps', 'chosenLengths'), cpo, {
    beta: 0.1,
    labelSmoothing: 0,
    nllCoef: 1,
  }),
  simpo: over(given('policyChosenLogps', 'policyRejectedLogps', 'chosenLengths', 'rejectedLengths'), simpo, {
    beta: 2,
    gamma: 1,
    labelSmoothing: 0,
  }),
  orpo: over(given('policyChosenLogps', 'policyRejectedLogps', 'chosenLengths', 'rejectedLengths'), orpo, {
    beta: 0.1,
  }),
});

export type PreferenceLossName = keyof typeof preferenceLosses;

/** One loss of a sum: its name, its weight (from 0 up, default 1) and its options. */
export interface LossTerm extends PreferenceOptions {
  loss: PreferenceLossName;
  weight?: number;
}

/**
 * The sum of weight * loss over the terms, as in MPO (https://arxiv.org/abs/2411.10442), whose preference, quality and
 * generation losses are here sigmoid, bco_pair and sft. TRL: `loss_type` and `loss_weights` as lists.
 *
 * @returns [B] float32; take the mean to train.
 * @throws InputError if there is no term or one does not fit.
 */
export function weightedLosses(inputs: PreferenceInputs, terms: readonly LossTerm[]): tf.Tensor1D {
  if (terms.length === 0)
    throw new InputError('no loss to add up: give at least one term, such as { loss: "sigmoid" }');
  return tf.tidy(() => tf.addN(terms.map((term) => weightedLoss(inputs, term))));
}

function weightedLoss(inputs: PreferenceInputs, { loss, weight = 1, ...options }: LossTerm): tf.Tensor1D {
  if (!Object.hasOwn(preferenceLosses, loss)) {
    throw new InputError(`there is no loss "${loss}"; the losses are ${Object.keys(preferenceLosses).join(', ')}`);
  }
  requireRange(`the weight of ${loss}`, weight, RANGES.aroundPairs.weight);
  return tf.mul(weight, preferenceLosses[loss](inputs, options));
}

/** A formula over what a view shows: all of a loss but its name. */
interface Unnamed {
  readonly view: View<unknown>;
  readonly defaults: PreferenceOptions;
  losses(seen: unknown, options: PreferenceOptions): tf.Tensor1D;
}

function over<Seen, Defaults extends PreferenceOptions>(
  view: View<Seen>,
  formula: (seen: Seen, options: Defaults) => tf.Tensor1D,
  defaults: Defaults,
): Unnamed {
  return { view, defaults: { ...defaults, ...view.defaults }, losses: formula };
}

function named<Name extends string>(unnamed: Record<Name, Unnamed>): Readonly<Record<Name, PreferenceLoss>> {
  const entries = Object.entries<Unnamed>(unnamed).map(([name, one]) => [name, preferenceLoss(name, one)] as const);
  return Object.fromEntries(entries) as Record<Name, PreferenceLoss>;
}

function preferenceLoss(name: string, { view, defaults, losses }: Unnamed): PreferenceLoss {
  const { needs, byRank } = view;
  const loss = (inputs: PreferenceInputs, options: PreferenceOptions = {}) => {
    const present = requireInputs(name, inputs, needs);
    const chosen: Options = requireOptions(name, options, defaults);
    if (byRank && inputs.pairWeights)
      throw new InputError(`${name} sorts the batch, so it has no loss for each pair to weigh: leave pairWeights out`);
    return tf.tidy(() => {
      const each = losses(view.see(present, chosen), chosen);
      return inputs.pairWeights ? tf.mul<tf.Tensor1D>(each, stopGradient(inputs.pairWeights)) : each;
    });
  };
  return Object.assign(loss, { needs, defaults });
}
