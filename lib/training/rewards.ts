/** Rewards: samples -> scores, from a function of their texts, a reward model, or a sum of these. */
import { clipped, FileError, InputError, plural, quoted } from '../errors';
import type { RewardModel } from '../model/rewardModel';
import { RANGES, requireRanges } from '../ranges';
import { withDefaults } from './declare';
import { samplingSettings } from './ppoOptions';
import { inParts, sampleBatch, SAMPLES_PER_PASS, type Sample } from './rollout';

/**
 * How good samples are: one score each, higher is better. Any function of their texts, a reward model (`rewardOf`), or
 * a sum (`weightedRewards`).
 */
export type Reward = (samples: readonly Sample[]) => readonly number[] | Promise<readonly number[]>;

export interface Penalties {
  /** Subtract this, at least 0, from the score of a response that did not end by itself; 1 in TRL. Default 0. */
  missingEosPenalty?: number;
  /** Subtract this, at least 0, for each token of a response. Default 0. */
  lengthPenalty?: number;
}

/**
 * The scores of samples under `reward`, minus the penalties.
 *
 * @param options.step the step of the training, for messages.
 * @throws InputError if a penalty is below 0 (it would reward what it should prevent), or a score is missing or not a
 *   finite number; the message names the sample.
 */
export async function scoreSamples(
  samples: readonly Sample[],
  reward: Reward,
  { step, ...options }: Penalties & { step?: number } = {},
): Promise<number[]> {
  const { missingEosPenalty, lengthPenalty } = withDefaults(options, samplingSettings);
  requireRanges({ missingEosPenalty, lengthPenalty }, RANGES.sampling);
  const scores = await (step === undefined
    ? checkedScores(reward, samples)
    : atStep(step, () => checkedScores(reward, samples)));
  return samples.map(({ ids, ended }, n) => scores[n]! - (ended ? 0 : missingEosPenalty) - lengthPenalty * ids.length);
}

const checkedScores = async (reward: Reward, samples: readonly Sample[]): Promise<readonly number[]> =>
  requireScores(await reward(samples), samples);

/** Its square fits a float32, and so does the sum of a million such squares. */
const LARGEST_SCORE = 1e15;

/**
 * The result of a function of samples, if it is a finite number per sample.
 *
 * @param name the function's, for messages.
 * @throws InputError naming the sample.
 */
export function requireScores(scores: unknown, samples: readonly Sample[], name = 'reward'): readonly number[] {
  if (!isList(scores))
    throw new InputError(
      `${name} gave ${clipped(String(scores))} for ${plural(samples.length, 'sample')}; ` +
        'it must give a list with one number for each',
    );
  if (scores.length !== samples.length)
    throw new InputError(
      `${name} gave ${plural(scores.length, 'score')} for ${plural(samples.length, 'sample')}; it must give ` +
        `one for each`,
    );
  const wrong = samples.findIndex((_, n) => !Number.isFinite(scores[n]));
  if (wrong >= 0)
    throw new InputError(
      `${name} gave ${clipped(String(scores[wrong]))} for sample ${wrong}, ${quoted(samples[wrong]!.text)}; ` +
        'it must give a finite number',
    );
  const large = samples.findIndex((_, n) => Math.abs(Number(scores[n])) > LARGEST_SCORE);
  if (large >= 0)
    throw new InputError(
      `${name} gave ${clipped(String(scores[large]))} for sample ${large}, ${quoted(samples[large]!.text)}; ` +
        `scores beyond ${LARGEST_SCORE} overflow in a group's deviation: scale them down`,
    );
  return scores as readonly number[];
}

/** Whether it is an array or a typed array. */
const isList = (value: unknown): value is ArrayLike<unknown> =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));

/** Runs `act`, and puts the step before the message of an error. */
export async function atStep<T>(step: number, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (cause) {
    if (cause instanceof FileError)
      throw new FileError(cause.path, `step ${step}: ${cause.message.slice(cause.path.length + 2)}`, { cause });
    throw cause instanceof InputError ? new InputError(`step ${step}: ${cause.message}`, { cause }) : cause;
  }
}

/** A reward model's score of each sample. */
export function rewardOf(model: RewardModel, { batchSize = SAMPLES_PER_PASS } = {}): Reward {
  return (samples) =>
    inParts(samples, batchSize).flatMap((some) => {
      const scores = model.scores(sampleBatch(some, model.config.blockSize));
      const values = [...scores.dataSync()];
      scores.dispose();
      return values;
    });
}

/** One of several rewards, whose weighted sum is the score of a sample. */
export interface RewardTerm {
  /** What it is called in metrics: letters, digits, _ and -. */
  readonly name: string;
  readonly reward: Reward;
  /** Any finite number; with 0 the reward is logged, but not trained on. Default 1. */
  readonly weight?: number;
}

/** @throws InputError if there is no term, two have one name, or a name or weight cannot be used. */
export function requireTerms(terms: readonly RewardTerm[]): void {
  if (terms.length === 0) throw new InputError('rewards is empty; give at least one');
  terms.forEach(({ name, weight = 1 }, n) => {
    if (!/^[\w-]+$/.test(name))
      throw new InputError(`rewards: ${quoted(name)} cannot be a name; use letters, digits, _ and - only`);
    if (terms.findIndex((term) => term.name === name) < n)
      throw new InputError(`rewards: two are named ${name}; give each a name of its own`);
    if (!Number.isFinite(weight))
      throw new InputError(`rewards: the weight of ${name} must be a number, got ${weight}`);
  });
}

/**
 * The weighted sum of `terms` as one reward, which also tells `onScores` what each term gave, by its name.
 *
 * @throws InputError as `requireTerms` does.
 */
export function summedRewards(
  terms: readonly RewardTerm[],
  onScores: (scores: Readonly<Record<string, readonly number[]>>) => void,
): Reward {
  requireTerms(terms);
  return async (samples) => {
    const all = await Promise.all(
      terms.map(async ({ name, reward }) => requireScores(await reward(samples), samples, `reward ${name}`)),
    );
    onScores(Object.fromEntries(terms.map(({ name }, term) => [name, all[term]!])));
    return weightedSums(samples, terms, all);
  };
}

/** A weighted sum of rewards. Like `scoreSamples`, it refuses a score of any term that is missing or not finite. */
export function weightedRewards(terms: readonly { readonly reward: Reward; readonly weight: number }[]): Reward {
  return async (samples) => {
    const all = await Promise.all(terms.map(({ reward }) => checkedScores(reward, samples)));
    return weightedSums(samples, terms, all);
  };
}

/** @param all the scores of each term, one for each sample. */
const weightedSums = (
  samples: readonly Sample[],
  terms: readonly { readonly weight?: number }[],
  all: readonly (readonly number[])[],
): number[] => samples.map((_, n) => terms.reduce((sum, { weight = 1 }, term) => sum + weight * all[term]![n]!, 0));
