/**
 * A method in the comparison of reward against KL, which is a way to raise the reward of a model's reviews, and the
 * parts that several methods share.
 */
import type { GPT2, GPT2Config, Tokenizer, Reward as TrainingReward } from 'alignbook';

import type { Evaluation } from '../reviews/evaluation';
import type { Reward } from '../reviews/samples';

/** A policy's reward and KL after some steps. */
export interface Point extends Evaluation {
  /** Training steps; for best-of-n, n. */
  readonly step: number;
}

/** The starting point of a run. */
export interface Task {
  /** The SFT model's weights, for the run to change; the caller disposes of them. */
  readonly policy: GPT2;
  /** The SFT model itself, which does not change. */
  readonly reference: GPT2;
  readonly tokenizer: Tokenizer;
  /** Prompts to train on, in arbitrary order. */
  readonly prompts: readonly string[];
  /** Prompts that no training has used. */
  readonly heldOut: readonly string[];
  readonly reward: Reward;
  /** A folder beside the SFT model, for files that several runs on it share. */
  readonly cache: string;
  /** Reports the fraction of the work that is done; shown while the run continues. */
  readonly onProgress: (share: number) => void;
  /** Evaluates `policy` as it is now, on the held-out prompts. */
  measure(step: number): Promise<Point>;
}

/** A setting's values name its curve in the figure, for example {"beta": 0.1}. */
export type Setting = Readonly<Record<string, number>>;

export interface Method {
  readonly name: string;
  /** One run for each setting and seed. */
  readonly settings: readonly Setting[];
  /** Everything else that the result depends on; results that were made with other values are not reused. */
  readonly constants: object;
  run(task: Task, setting: Setting, seed: number): AsyncIterable<Point>;
}

/**
 * The scale of a run, which sets a method's constants: `quick` checks in a minute that everything works; models of the
 * size of `tiny` and real GPT-2s need different learning rates.
 */
export type Scale = 'quick' | 'small' | 'large';

export const scaleOf = (config: GPT2Config, quick: boolean): Scale =>
  quick ? 'quick' : config.nEmbd < 512 ? 'small' : 'large';

/**
 * Runs a training and evaluates the policy before it and after each step in `looks`; the last of these steps ends the
 * training.
 */
export async function* along(
  task: Task,
  training: AsyncIterable<{ readonly step: number }>,
  looks: readonly number[],
): AsyncGenerator<Point, void> {
  const steps = looks.at(-1)!;
  yield task.measure(0);
  for await (const { step } of training) {
    task.onProgress(step / steps);
    if (looks.includes(step)) yield task.measure(step);
  }
}

/** The true reward of whole reviews, prompt and response together. */
export function rewardOfSamples({ reward, prompts }: Task): TrainingReward {
  return (samples) => samples.map(({ prompt, text }) => reward(prompts[prompt]! + text));
}
