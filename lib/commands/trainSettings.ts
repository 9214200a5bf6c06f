/** The settings of each training command: those of its trainer, and those of the run. */
import { RESPONSE_FIELDS } from '../text/columns';
import { choice, type Settings } from '../training/declare';
import { dpoSettings } from '../training/dpoOptions';
import { grpoSettings } from '../training/grpoOptions';
import { ktoSettings } from '../training/ktoOptions';
import { onlineDpoSettings } from '../training/onlineDpoOptions';
import { ppoSettings } from '../training/ppoOptions';
import { rewardSettings } from '../training/rewardOptions';
import { sftSettings } from '../training/sftOptions';
import { ANSWER_METRICS, answerTokens, metricSettings, sampleSettings, validateEvery } from './answerSettings';
import { chatJudgeSettings } from './judgeSettings';
import {
  dpoReferenceSettings,
  initialSeed,
  loraSettings,
  normalizeOn,
  referenceSettings,
  rewardSourceSettings,
  rewardTermSettings,
  runSettings,
  validationSettings,
} from './runSettings';

const OF_TOKENS = ['loss', 'entropy', 'meanTokenAccuracy'] as const;

/** The validation metrics of each command. */
export const VALIDATION_METRICS = {
  'train-sft': OF_TOKENS,
  'train-dpo': [
    ...OF_TOKENS,
    'rewards/chosen',
    'rewards/rejected',
    'rewards/margins',
    'rewards/accuracies',
    'logps/chosen',
    'logps/rejected',
  ],
  'train-kto': ['loss', 'kl', 'entropy', 'rewards/margins'],
  'train-reward': ['loss', 'accuracy', 'margin', 'scores/chosen', 'scores/rejected', 'calibrationError', 'brier'],
} as const;

export const sftCommandSettings = {
  ...runSettings,
  responseField: choice(RESPONSE_FIELDS, {
    group: 'data',
    default: 'response',
    sameRun: true,
    help: "Learn this field's response; chosen takes the chosen one of pairs.",
  }),
  ...sftSettings,
  ...loraSettings,
  ...sampleSettings,
  ...answerTokens,
  ...validationSettings([...VALIDATION_METRICS['train-sft'], ...ANSWER_METRICS]),
  ...metricSettings,
  initialSeed,
} as const;

export const dpoCommandSettings = {
  ...runSettings,
  ...dpoSettings,
  ...loraSettings,
  ...sampleSettings,
  ...answerTokens,
  ...validationSettings([...VALIDATION_METRICS['train-dpo'], ...ANSWER_METRICS]),
  ...metricSettings,
  ...dpoReferenceSettings,
} as const;

export const ktoCommandSettings = {
  ...runSettings,
  ...ktoSettings,
  ...loraSettings,
  ...sampleSettings,
  ...answerTokens,
  ...validationSettings([...VALIDATION_METRICS['train-kto'], ...ANSWER_METRICS]),
  ...metricSettings,
  ...referenceSettings,
} as const;

/** Recognized here, so that an error message can say what to do instead. */
const { loraRank, loraAlpha, loraTargets, baseDtype, continueAdapter } = loraSettings;
const { sampleEvery, samplePrompts, samplePrompt } = sampleSettings;
export const rewardCommandSettings = {
  ...runSettings,
  ...rewardSettings,
  loraRank: { ...loraRank, hidden: true },
  loraAlpha: { ...loraAlpha, hidden: true },
  loraTargets: { ...loraTargets, hidden: true },
  baseDtype: { ...baseDtype, hidden: true },
  continueAdapter: { ...continueAdapter, hidden: true },
  sampleEvery: { ...sampleEvery, hidden: true },
  samplePrompts: { ...samplePrompts, hidden: true },
  samplePrompt: { ...samplePrompt, hidden: true },
  ...validationSettings(VALIDATION_METRICS['train-reward']),
  greaterIsBetter: metricSettings.greaterIsBetter,
  normalizeOn,
} as const;

/** The validation of a trainer that itself has none. */
const { validation, bestBy, patience } = validationSettings(ANSWER_METRICS);
const answerValidationSettings = {
  validation: {
    ...validation,
    help: 'Answer the prompts of this file, which are not trained on, for the metrics below.',
  },
  bestBy,
  patience: { ...patience, help: 'Stop after N validations in a row without a better one; needs bestBy.' },
  validateEvery,
  ...metricSettings,
} as const;

export const ppoCommandSettings = {
  ...runSettings,
  ...ppoSettings,
  ...loraSettings,
  ...rewardSourceSettings,
  ...referenceSettings,
  ...sampleSettings,
  ...answerValidationSettings,
} as const;

export const grpoCommandSettings = {
  ...runSettings,
  ...grpoSettings,
  ...loraSettings,
  ...rewardSourceSettings,
  ...rewardTermSettings,
  ...referenceSettings,
  ...sampleSettings,
  ...answerValidationSettings,
} as const;

export const onlineDpoCommandSettings = {
  ...runSettings,
  ...onlineDpoSettings,
  ...loraSettings,
  ...rewardSourceSettings,
  ...chatJudgeSettings,
  ...referenceSettings,
  ...sampleSettings,
  ...answerValidationSettings,
} as const;

/** The settings of each training command, by its name. */
export const TRAININGS = {
  'train-sft': sftCommandSettings,
  'train-dpo': dpoCommandSettings,
  'train-kto': ktoCommandSettings,
  'train-reward': rewardCommandSettings,
  'train-ppo': ppoCommandSettings,
  'train-grpo': grpoCommandSettings,
  'train-online-dpo': onlineDpoCommandSettings,
} as const;

const ALL = Object.assign({}, ...Object.values(TRAININGS)) as Settings;

/** The values that identify a run: with other values, it is a different run. */
export function identifying(values: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([name]) => ALL[name]?.sameRun !== true));
}
