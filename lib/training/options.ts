/** The settings that all trainers share, and all of SFT's; a trainer's own are in its file, such as dpoOptions.ts. */
import { RANGES, requireRange } from '../ranges';
import { choice, flag, list, number, type OptionsOf } from './declare';

const { training, validated } = RANGES;

/** What every trainer takes. */
export const trainSettings = {
  steps: number(training.steps, { group: 'optimization', help: 'Train for N steps; give either steps or epochs.' }),
  epochs: number(training.epochs, {
    group: 'optimization',
    help: 'Train for N passes over the rows; 0.5 takes every second row once.',
  }),
  batchSize: number(training.batchSize, { group: 'optimization', default: 16, help: 'Take N rows in each step.' }),
  accumulation: number(training.accumulation, {
    group: 'optimization',
    default: 1,
    help: 'Compute a batch in N equal parts, which needs less memory; the step stays the same.',
  }),
  gradientCheckpointing: flag({
    group: 'optimization',
    default: false,
    sameRun: true,
    help:
      "Keep only each block's input for the backward pass and compute the rest again: the same steps in less memory " +
      'and about a fifth more time.',
  }),
  lr: number(training.lr, { group: 'optimization', required: true, help: 'Set the highest learning rate.' }),
  warmupSteps: number(training.warmupSteps, {
    group: 'optimization',
    default: 0,
    help: 'Raise the learning rate linearly from 0 over the first N steps.',
  }),
  schedule: choice(['linear', 'cosine', 'constant'], {
    group: 'optimization',
    default: 'linear',
    help: 'Lower the learning rate after the warm-up in a line, along half a cosine, or not at all.',
  }),
  minLrRatio: number(training.minLrRatio, {
    group: 'optimization',
    default: 0,
    help: 'End at this fraction of the highest learning rate.',
  }),
  beta1: number(training.beta1, { group: 'optimization', default: 0.9, help: "Set AdamW's first decay rate." }),
  beta2: number(training.beta2, { group: 'optimization', default: 0.999, help: "Set AdamW's second decay rate." }),
  epsilon: number(training.epsilon, {
    group: 'optimization',
    default: 1e-8,
    help: "Set AdamW's epsilon, the smallest denominator of an update.",
  }),
  weightDecay: number(training.weightDecay, {
    group: 'optimization',
    default: 0.01,
    help: 'Decay the matrices by this factor times the learning rate; biases and layer norms are left alone.',
  }),
  maxGradNorm: number(training.maxGradNorm, {
    group: 'optimization',
    default: 1,
    help: 'Scale the gradients down to this norm; 0 does not clip.',
  }),
  seed: number(training.seed, { group: 'optimization', default: 0, help: 'Seed the order of the rows and all draws.' }),
  frozen: list({
    group: 'model',
    value: 'names',
    help: 'Keep these weights as they are, by name or by the beginning of a name up to a dot: wte,wpe,h.0',
  }),
} as const;

/** What a trainer on rows with responses takes: it can validate, and group rows by their length. */
export const rowSettings = {
  ...trainSettings,
  groupByLength: flag({
    group: 'optimization',
    default: false,
    help: 'Put rows of similar length into one batch, so that little of it is padding.',
  }),
  validateEvery: number(validated.validateEvery, {
    group: 'validation',
    default: 50,
    help: 'Validate every N steps, and always after the last.',
  }),
  tokenMetrics: flag({
    group: 'validation',
    default: false,
    help: 'Also measure entropy and token accuracy in every step; takes about a tenth more time.',
  }),
} as const;

/** The options of a trainer on rows with responses; the command `--help` describes each. */
export interface TrainOptions extends OptionsOf<typeof rowSettings>, RunningOptions {}

/** What a caller can give besides the declared settings. */
export interface RunningOptions {
  /** Ends the training between two steps, with the signal's reason as the error. */
  signal?: AbortSignal;
}

/** The number of steps between two validations. @throws InputError if it is out of its range. */
export function validationInterval({ validateEvery = rowSettings.validateEvery.default }: TrainOptions): number {
  requireRange('validateEvery', validateEvery, RANGES.validated.validateEvery);
  return validateEvery;
}

/** Whether a validation is due after this step: every `validateEvery` steps, and after the last. */
export const isValidated = (
  step: number,
  { validateEvery, steps }: { readonly validateEvery: number; readonly steps: number },
): boolean => step % validateEvery === 0 || step === steps;

/** Settings that were renamed: the old name is refused with the new one. */
export const RENAMED: Readonly<Record<string, string>> = { finalShare: 'minLrRatio', centring: 'centerRewards' };
