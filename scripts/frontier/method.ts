/** A method in the comparison of reward against KL: a way to raise the reward of a model's reviews. */
import type { GPT2, Tokenizer } from 'alignbook';

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
