/** The settings of `trainDpo`. */
import type { Divergence } from '../losses/preferenceInputs';
import type { PreferenceLossName } from '../losses/preferenceLosses';
import { RANGES } from '../ranges';
import { choice, number, type OptionsOf } from './declare';
import { rowSettings, type RunningOptions } from './options';

const { pairs } = RANGES;

/** The losses give only types: the help must not load TensorFlow. The compiler asks for a new loss here. */
const LOSSES: Readonly<Record<PreferenceLossName, true>> = {
  sigmoid: true,
  cdpo: true,
  robust: true,
  hinge: true,
  exo_pair: true,
  discopop: true,
  ipo: true,
  sigmoid_norm: true,
  nca_pair: true,
  bco_pair: true,
  sppo_hard: true,
  apo_zero: true,
  apo_down: true,
  aot: true,
  aot_unpaired: true,
  sft: true,
  cpo: true,
  simpo: true,
  orpo: true,
};
const DIVERGENCES: Readonly<Record<Divergence, true>> = {
  reverse_kl: true,
  forward_kl: true,
  js: true,
  alpha: true,
};
const namesOf = <Name extends string>(names: Readonly<Record<Name, true>>) => Object.keys(names) as Name[];

/** The default beta of the loss simpo and of the others. */
export const BETA = { simpo: 2, others: 0.1 } as const;

/**
 * Each loss has its own defaults, in the table `preferenceLosses`, and takes only its own options; so none is filled in
 * here. tests/defaults.test.ts holds these words to the table.
 */
export const dpoLossSettings = {
  loss: choice(namesOf(LOSSES), { group: 'loss', default: 'sigmoid', help: 'Train with this loss; sigmoid is DPO.' }),
  beta: number(pairs.beta, {
    group: 'loss',
    otherwise: `${BETA.others}; simpo: ${BETA.simpo}`,
    help: 'Tie the policy to the reference this strongly.',
  }),
  labelSmoothing: number(pairs.labelSmoothing, {
    group: 'loss',
    otherwise: '0; cdpo, robust: 0.1; exo_pair: 0.001',
    help: 'Take each label to be wrong with this probability.',
  }),
  divergence: choice(namesOf(DIVERGENCES), {
    group: 'loss',
    otherwise: 'reverse_kl',
    help: 'Measure the distance from the reference by this divergence.',
  }),
  divergenceAlpha: number(pairs.divergenceAlpha, {
    group: 'loss',
    otherwise: '0.5',
    help: 'Set the alpha of divergence alpha.',
  }),
  discopopTau: number(pairs.discopopTau, { group: 'loss', otherwise: '0.05', help: 'Set the tau of loss discopop.' }),
  gamma: number(pairs.gamma, {
    group: 'loss',
    otherwise: '1',
    help: 'Ask for this margin, in nats times beta; for loss simpo.',
  }),
  nllCoef: number(pairs.nllCoef, {
    group: 'loss',
    otherwise: '1',
    help: "Weigh the chosen response's negative log-likelihood; for loss cpo.",
  }),
} as const;

export const dpoSettings = { ...rowSettings, ...dpoLossSettings } as const;

/** The options of `trainDpo`; `npx alignbook train-dpo --help` describes each. */
export interface DpoTrainOptions extends OptionsOf<typeof dpoSettings>, RunningOptions {}
