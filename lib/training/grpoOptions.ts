/** The settings of `trainGrpo`. */
import { RANGES } from '../ranges';
import { choice, flag, number, type OptionsOf } from './declare';
import { trainSettings } from './options';
import { samplingSettings, type SamplingOptions } from './ppoOptions';

const { grpo } = RANGES;

export const grpoSettings = {
  ...trainSettings,
  batchSize: { ...trainSettings.batchSize, help: 'Sample for N prompts in each step.' },
  ...samplingSettings,
  groupSize: number(grpo.groupSize, { group: 'sampling', default: 8, help: 'Sample N responses for each prompt.' }),
  iterations: number(grpo.iterations, {
    group: 'optimization',
    default: 1,
    help: 'Make N updates from each rollout; with 1 nothing is clipped.',
  }),
  algorithm: choice(['grpo', 'rloo'], {
    group: 'loss',
    default: 'grpo',
    help: 'Train by GRPO or by RLOO, whose baseline is the mean score of the other samples.',
  }),
  lossType: choice(['grpo', 'dapo', 'dr_grpo'], {
    group: 'loss',
    default: 'grpo',
    help: 'Average the loss over tokens in this way; for GRPO.',
  }),
  clipRange: number(grpo.clipRange, {
    group: 'loss',
    default: 0.2,
    help: "Clip the policy's ratio at 1 plus and minus this; matters from iterations 2 up.",
  }),
  epsilonHigh: number(grpo.epsilonHigh, {
    group: 'loss',
    otherwise: 'clipRange',
    help: 'Clip the ratio at 1 plus this, and at 1 minus clipRange; 0.28 is clip-higher of DAPO.',
  }),
  level: choice(['token', 'sequence'], {
    group: 'loss',
    default: 'token',
    help: "Clip the ratio of each token, or one ratio for each response, the geometric mean of its tokens'; for GRPO.",
  }),
  maskTruncated: flag({
    group: 'loss',
    default: false,
    help: 'Do not learn from responses that did not end by themselves; for GRPO.',
  }),
  skipEqual: flag({
    group: 'loss',
    default: false,
    help: 'Leave groups of equal scores out of the update, so that the means are over the other groups; for GRPO.',
  }),
  beta: number(grpo.beta, {
    group: 'loss',
    default: 0.04,
    help: 'Charge this for each nat of KL to the reference.',
  }),
  klRatio: flag({ group: 'loss', default: false, help: "Multiply KL's term by the policy's ratio; for GRPO." }),
  scaleRewards: flag({
    group: 'loss',
    default: true,
    help: "Divide the advantages by their group's standard deviation; for GRPO.",
  }),
} as const;

/** The options of `trainGrpo`; `npx alignbook train-grpo --help` describes each. */
export interface GrpoTrainOptions extends OptionsOf<typeof grpoSettings>, SamplingOptions {}
