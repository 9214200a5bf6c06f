/** A method that the frontier of reward against KL compares: a way to raise the reward of a model's reviews. */
import type { GPT2, Tokenizer } from 'alignbook';

import type { Evaluation } from '../reviews/evaluation';
import type { Reward } from '../reviews/samples';

/** A policy's reward and KL after some steps. */
export interface Point extends Evaluation {
  /** Steps of training; of best-of-n, n. */
  readonly step: number;
}

/** The starting point of a run. */
export interface Task {
  /** The SFT model's weights, for the run to change; the caller's to dispose of. */
  readonly policy: GPT2;
  /** The SFT model itself, which stays. */
  readonly reference: GPT2;
  readonly tokenizer: Tokenizer;
  /** Prompts to train on, in an order that means nothing. */
  readonly prompts: readonly string[];
  /** Prompts that no training has seen. */
  readonly heldOut: readonly string[];
  readonly reward: Reward;
  /** A folder beside the SFT model, for what several runs on it share. */
  readonly cache: string;
  /** What of the work is done, from 0 to 1: shown while the run goes on. */
  readonly onProgress: (share: number) => void;
  /** Evaluates `policy` as it is now, on the held-out prompts. */
  measure(step: number): Promise<Point>;
}

/** A setting's values are what a curve of the figure is named after, such as {"beta": 0.1}. */
export type Setting = Readonly<Record<string, number>>;

export interface Method {
  readonly name: string;
  /** One run each, with each seed. */
  readonly settings: readonly Setting[];
  /** Everything else that the result depends on: results made with other values are not taken for these. */
  readonly constants: object;
  run(task: Task, setting: Setting, seed: number): AsyncIterable<Point>;
}
