/** The settings of each training command: those of its trainer, and those of the run. */
import { RESPONSE_FIELDS } from '../text/columns';
import { choice, type Settings } from '../training/declare';
import { dpoSettings } from '../training/dpoOptions';
import { grpoSettings } from '../training/grpoOptions';
import { ktoSettings } from '../training/ktoOptions';
import { ppoSettings } from '../training/ppoOptions';
import { rewardSettings } from '../training/rewardOptions';
import { sftSettings } from '../training/sftOptions';
import { UsageError } from './commandLine';
import {
  dpoReferenceSettings,
  initialSeed,
  loraSettings,
  normalizeOn,
  referenceSettings,
  rewardSourceSettings,
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
  ...validationSettings(VALIDATION_METRICS['train-sft']),
  initialSeed,
} as const;

export const dpoCommandSettings = {
  ...runSettings,
  ...dpoSettings,
  ...loraSettings,
  ...validationSettings(VALIDATION_METRICS['train-dpo']),
  ...dpoReferenceSettings,
} as const;

export const ktoCommandSettings = {
  ...runSettings,
  ...ktoSettings,
  ...loraSettings,
  ...validationSettings(VALIDATION_METRICS['train-kto']),
  ...referenceSettings,
} as const;

/** Recognized here, so that an error message can say what to do instead. */
const { loraRank, loraAlpha, loraTargets, continueAdapter } = loraSettings;
export const rewardCommandSettings = {
  ...runSettings,
  ...rewardSettings,
  loraRank: { ...loraRank, hidden: true },
  loraAlpha: { ...loraAlpha, hidden: true },
  loraTargets: { ...loraTargets, hidden: true },
  continueAdapter: { ...continueAdapter, hidden: true },
  ...validationSettings(VALIDATION_METRICS['train-reward']),
  normalizeOn,
} as const;

export const ppoCommandSettings = {
  ...runSettings,
  ...ppoSettings,
  ...loraSettings,
  ...rewardSourceSettings,
  ...referenceSettings,
} as const;

export const grpoCommandSettings = {
  ...runSettings,
  ...grpoSettings,
  ...loraSettings,
  ...rewardSourceSettings,
  ...referenceSettings,
} as const;

/** The settings of each training command, by its name. */
export const TRAININGS = {
  'train-sft': sftCommandSettings,
  'train-dpo': dpoCommandSettings,
  'train-kto': ktoCommandSettings,
  'train-reward': rewardCommandSettings,
  'train-ppo': ppoCommandSettings,
  'train-grpo': grpoCommandSettings,
} as const;

const ALL = Object.assign({}, ...Object.values(TRAININGS)) as Settings;

/** The values that identify a run: with other values, it is a different run. */
export function identifying(values: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([name]) => ALL[name]?.sameRun !== true));
}

/** @throws UsageError if a setting selects by validation but no validation is given. */
export function requireValidation(config: {
  readonly bestBy?: string;
  readonly patience?: number;
  readonly validation?: string;
}): void {
  if ((config.bestBy ?? config.patience) !== undefined && config.validation === undefined)
    throw new UsageError('bestBy and patience need a validation; give a file of rows as --validation');
}
