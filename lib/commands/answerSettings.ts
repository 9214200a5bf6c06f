/** The settings of greedy answers during a training: samples to read, and metrics on held-out prompts. */
import { InputError } from '../errors';
import { RANGES } from '../ranges';
import { choices, flag, number, path, repeated, text } from '../training/declare';
import { rowSettings } from '../training/options';
import { samplingSettings } from '../training/ppoOptions';
import { UsageError } from './commandLine';

/** Samples of answers: what every command that trains a language model takes. */
export const sampleSettings = {
  sampleEvery: number(RANGES.run.sampleEvery, {
    group: 'sampling',
    otherwise: 'only before the first step and after the last',
    sameRun: true,
    help: 'Answer a few prompts greedily every N steps, for samples.jsonl and the console; 0 never answers.',
  }),
  samplePrompts: path({
    group: 'sampling',
    value: 'file',
    otherwise: 'the first prompts of the validation, or of the data',
    sameRun: true,
    help: 'Answer the prompts of this file.',
  }),
  samplePrompt: repeated({
    group: 'sampling',
    value: 'text',
    sameRun: true,
    help: 'Answer this prompt; may be given several times.',
  }),
} as const;

/** For commands whose training itself samples nothing; the others have their own `maxNewTokens`. */
export const answerTokens = {
  maxNewTokens: { ...samplingSettings.maxNewTokens, help: 'End a greedy answer after N tokens.' },
} as const;

/** The metrics without a setting of their own. */
const BUILT_IN = ['exactMatch', 'length'] as const;
/** The metric that each other setting adds. */
const BY_SETTING = { metricRegex: 'regexMatch', metricRewardModel: 'score', metricFunction: 'metric' } as const;
export const ANSWER_METRICS = [...BUILT_IN, ...Object.values(BY_SETTING)] as const;

/** Metrics of answers to the prompts of the validation. */
export const metricSettings = {
  metrics: choices(BUILT_IN, {
    group: 'validation',
    value: 'names',
    help:
      "Validate greedy answers, too: exactMatch, the fraction that equals the row's response, or length, the mean " +
      'number of tokens.',
  }),
  metricRegex: text({
    group: 'validation',
    help: 'Add regexMatch to the validation: the fraction of greedy answers in which this regular expression occurs.',
  }),
  metricRewardModel: text({
    group: 'validation',
    help: 'Add score to the validation: the mean score of greedy answers by this model of train-reward.',
  }),
  metricFunction: path({
    group: 'validation',
    value: 'file',
    sameRun: true,
    help:
      'Add metric to the validation: the mean of what this JavaScript module gives for greedy answers; it is written ' +
      'like a reward function, and its samples also have expected, a list of right responses.',
  }),
  greaterIsBetter: flag({
    group: 'validation',
    otherwise: 'yes, except for loss, calibrationError and brier',
    help: 'Keep the weights with the highest value of bestBy; --no-greater-is-better keeps those with the lowest.',
  }),
} as const;

/** For commands whose trainer itself does not validate. */
export const { validateEvery } = rowSettings;

interface Validated {
  readonly bestBy?: string;
  readonly patience?: number;
  readonly validation?: string;
  readonly metrics?: readonly string[];
  readonly metricRegex?: string;
  readonly metricRewardModel?: string;
  readonly metricFunction?: string;
}

/** The metrics of answers that the settings ask for, in the order of `ANSWER_METRICS`. */
export function metricsAsked(config: Validated): string[] {
  const added = Object.entries(BY_SETTING).filter(([setting]) => config[setting as keyof Validated] !== undefined);
  return [...(config.metrics ?? []), ...added.map(([, metric]) => metric)];
}

/**
 * @param trainer.validates whether the trainer itself validates, and has a loss by default.
 * @throws UsageError or InputError if a setting selects by validation, or measures answers, and what it needs is
 *   missing.
 */
export function requireValidation(config: Validated, { validates = true } = {}): void {
  const { bestBy, patience, validation } = config;
  if (validation === undefined) {
    if ((bestBy ?? patience) !== undefined)
      throw new UsageError('bestBy and patience need a validation; give a file of rows as --validation');
    if (metricsAsked(config).length > 0)
      throw new UsageError('metrics of answers need prompts; give a file of rows as --validation');
  } else if (!validates && metricsAsked(config).length === 0)
    throw new UsageError(
      'a validation here needs a metric of its answers; give metrics, metricRegex, metricRewardModel or metricFunction',
    );
  if (!validates && patience !== undefined && bestBy === undefined)
    throw new UsageError('patience needs bestBy here, since the validation has no loss; name a metric of the answers');
  if (ANSWER_METRICS.some((name) => name === bestBy) && !metricsAsked(config).includes(bestBy!)) {
    const setting = Object.entries(BY_SETTING).find(([, metric]) => metric === bestBy)?.[0];
    throw new InputError(
      `bestBy: ${bestBy} is not measured; give ${setting ?? `metrics ${bestBy}`}, or another metric`,
    );
  }
}
