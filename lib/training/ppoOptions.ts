/** The settings of `trainPpo`, and those that it shares with `trainGrpo`. */
import { RANGES } from '../ranges';
import { flag, number, type OptionsOf } from './declare';
import { trainSettings, type RunningOptions } from './options';

const { ppo, sampling } = RANGES;

/** What a trainer that samples takes. */
export const samplingSettings = {
  maxNewTokens: number(sampling.maxNewTokens, {
    group: 'sampling',
    default: 64,
    help: 'End a response after N tokens.',
  }),
  temperature: number(sampling.temperature, {
    group: 'sampling',
    default: 1,
    help: 'Sample, and compute log-probs, at this temperature.',
  }),
  missingEosPenalty: number(sampling.missingEosPenalty, {
    group: 'sampling',
    default: 0,
    help: 'Subtract this from the score of a response that did not end by itself.',
  }),
  lengthPenalty: number(sampling.lengthPenalty, {
    group: 'sampling',
    default: 0,
    help: 'Subtract this from the score for each token of a response.',
  }),
} as const;

/** The first klCoef where none is given: fixed, or adapted towards a klTarget. */
export const KL_COEF = { fixed: 0.05, adapted: 0.15 } as const;

export const ppoSettings = {
  ...trainSettings,
  batchSize: { ...trainSettings.batchSize, default: 64, help: 'Sample for N prompts in each step.' },
  epsilon: { ...trainSettings.epsilon, default: 1e-5 },
  weightDecay: { ...trainSettings.weightDecay, default: 0 },
  ...samplingSettings,
  temperature: { ...samplingSettings.temperature, default: 0.7 },
  ppoEpochs: number(ppo.ppoEpochs, { group: 'optimization', default: 4, help: 'Go N times over each rollout.' }),
  minibatches: number(ppo.minibatches, {
    group: 'optimization',
    default: 1,
    help: 'Make N updates in each pass over a rollout.',
  }),
  clipRange: number(ppo.clipRange, {
    group: 'loss',
    default: 0.2,
    help: "Clip the policy's ratio at 1 plus and minus this.",
  }),
  valueClipRange: number(ppo.valueClipRange, {
    group: 'loss',
    default: 0.2,
    help: "Clip a value's change from the rollout at plus and minus this.",
  }),
  valueCoef: number(ppo.valueCoef, { group: 'loss', default: 0.1, help: "Weigh the value function's loss." }),
  gamma: number(ppo.gamma, { group: 'loss', default: 1, help: 'Discount later rewards by this factor a token.' }),
  gaeLambda: number(ppo.gaeLambda, {
    group: 'loss',
    default: 0.95,
    help: 'Set the lambda of generalized advantage estimation.',
  }),
  klCoef: number(ppo.klCoef, {
    group: 'loss',
    otherwise: `${KL_COEF.fixed}; ${KL_COEF.adapted} at first with klTarget`,
    help: 'Subtract this from the rewards for each nat of KL to the reference.',
  }),
  klTarget: number(ppo.klTarget, {
    group: 'loss',
    help: 'Adapt klCoef so that the KL of a response approaches N nats; without it klCoef is fixed.',
  }),
  klHorizon: number(ppo.klHorizon, {
    group: 'loss',
    default: 10_000,
    help: 'Adapt klCoef over N samples, more than a fifth of batchSize.',
  }),
  whitenRewards: flag({
    group: 'loss',
    default: true,
    help: 'Scale the rewards of a rollout to a standard deviation of 1.',
  }),
} as const;

/** What a caller of a trainer that samples can give besides the declared settings. */
export interface SamplingOptions extends RunningOptions {
  /** Ids that are never drawn. Default: those that the tokenizer lacks. */
  suppressTokens?: readonly number[] | undefined;
}

/** The options of `trainPpo`; `npx alignbook train-ppo --help` describes each. */
export interface PpoTrainOptions extends OptionsOf<typeof ppoSettings>, SamplingOptions {}
