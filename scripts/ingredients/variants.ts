/** The variants of GRPO that are compared: each changes one ingredient of the baseline, but for the last three. */
import type { GrpoTrainOptions, Reward, RewardTerm } from 'alignbook';

/** The baseline: GRPO as in its paper, without a KL term, with two updates from each rollout so that ratios differ. */
export const BASELINE = {
  batchSize: 6,
  groupSize: 8,
  iterations: 2,
  maxNewTokens: 6,
  temperature: 1,
  beta: 0,
  lr: 3e-4,
  epsilon: 1e-5,
  schedule: 'constant',
  clipRange: 0.2,
} as const satisfies Omit<GrpoTrainOptions, 'steps'>;

/** The steps after which to measure; the last one ends the training. */
export const LOOKS: readonly number[] = [10, 20, 30, 40, 50, 60];

/** The names of the rewards; each is computed from a response and the right one. */
export const REWARDS = {
  /** 1 if the response is the right one and ended. */
  right: (text: string, expected: string, ended: boolean): number => (ended && text === expected ? 1 : 0),
  /** The fraction of the letters that are in their place. */
  letters: (text: string, expected: string): number => {
    const [written, right] = [text.trim().split(' '), expected.trim().split(' ')];
    return right.filter((letter, n) => written[n] === letter).length / right.length;
  },
  /** A reward with a fault: it counts every written letter that the word has, so that repeating letters pays. */
  counted: (text: string, expected: string): number => {
    const [written, right] = [text.trim().split(' '), expected.trim().split(' ')];
    return written.filter((letter) => right.includes(letter)).length / right.length;
  },
} as const;
export type RewardName = keyof typeof REWARDS;

export interface Variant {
  readonly name: string;
  readonly options: Partial<GrpoTrainOptions>;
  /** The weight of each reward. */
  readonly weights: Partial<Record<RewardName, number>>;
}

const only = (name: string, options: Partial<GrpoTrainOptions>): Variant => ({ name, options, weights: { right: 1 } });

export const VARIANTS: readonly Variant[] = [
  only('baseline', {}),
  only('no deviation', { scaleRewards: false }),
  only('clip higher', { epsilonHigh: 0.28 }),
  only('truncation mask', { maskTruncated: true }),
  only('sequence ratio', { level: 'sequence', clipRange: 0.05 }),
  only('equal skipped', { skipEqual: true }),
  { name: 'two rewards', options: {}, weights: { right: 1, letters: 0.5 } },
  {
    // All but the sequence ratio, which needs a clip range of its own.
    name: 'together',
    options: { scaleRewards: false, epsilonHigh: 0.28, maskTruncated: true, skipEqual: true },
    weights: { right: 1, letters: 0.5 },
  },
  { name: 'collapse', options: { maxNewTokens: 12 }, weights: { right: 1, counted: 0.5 } },
  {
    name: 'collapse masked',
    options: { maxNewTokens: 12, maskTruncated: true },
    weights: { right: 1, counted: 0.5 },
  },
];

/** @param expected the right response of each prompt. */
export function rewardsOf({ weights }: Variant, expected: readonly string[]): RewardTerm[] {
  return Object.entries(weights).map(([name, weight]) => {
    const one = REWARDS[name as RewardName];
    const reward: Reward = (samples) => samples.map(({ prompt, text, ended }) => one(text, expected[prompt]!, ended));
    return { name, weight, reward };
  });
}
