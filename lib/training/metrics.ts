/**
 * Averages a step's metrics over its parts, and writes them for TensorBoard. Which metrics a trainer reports stands in
 * its own file, such as trainDpo.ts; only those of tokens, which several share, are computed here.
 */
import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';

import type { TokenStatistics } from '../model/heads';
import type { ResponseBatch } from '../text/responseBatch';
import { tf } from '../tf';

/** Metrics of the scored tokens, if they were asked for. */
export type TokenMetrics = {
  /** The mean entropy of the model's next-token distributions, in nats. */
  readonly entropy?: number;
  /** Fraction of tokens that were the model's top choice; for DPO, among the tokens of the chosen responses. */
  readonly meanTokenAccuracy?: number;
};

/** @param counts whether the tokens of the n-th response count for the accuracy. */
export function tokenMetrics(
  { scored, responses: [, L] }: ResponseBatch,
  statistics: TokenStatistics | undefined,
  counts: (response: number) => boolean,
): TokenMetrics {
  if (statistics === undefined) return {};
  let [entropy, counted, correct] = [0, 0, 0];
  scored.ids.forEach((id, n) => {
    entropy += statistics.entropy[n]!;
    if (!counts(Math.floor(scored.to[n]! / L))) return;
    counted += 1;
    correct += id === statistics.topTokens[n] ? 1 : 0;
  });
  return { entropy: entropy / scored.ids.length, meanTokenAccuracy: correct / counted };
}

/** Averages metrics of the same structure, with equal weights or the given ones, which must add up to 1. */
export function mean<Metrics extends object>(
  parts: readonly Metrics[],
  weights = parts.map(() => 1 / parts.length),
): Metrics {
  const names = Object.keys(parts[0]!) as (keyof Metrics)[];
  const averaged = names.map((name) => {
    const values = parts.map((part) => part[name]);
    const value =
      typeof values[0] === 'number'
        ? (values as number[]).reduce((sum, each, n) => sum + weights[n]! * each, 0)
        : mean(values as object[], weights);
    return [name, value] as const;
  });
  return Object.fromEntries(averaged) as Metrics;
}

/** The numbers of a step by name, such as `loss` or `rewards/chosen`. Lists, such as a step's updates, are omitted. */
export function flat(metrics: object, prefix = ''): Map<string, number> {
  return new Map(
    Object.entries(metrics).flatMap(([name, value]) => {
      if (typeof value === 'number') return [[prefix + name, value] as const];
      return typeof value === 'object' && value !== null && !Array.isArray(value)
        ? [...flat(value as object, `${prefix}${name}/`)]
        : [];
    }),
  );
}

/**
 * Writes the numbers of each step as TensorBoard scalars under the names that `flat` gives, by TensorFlow itself.
 *
 * A process writes one event file into `folder`. A process that resumes a run adds another, in which the steps after
 * the checkpoint appear again. When the function returns, the step's numbers are on their way to the disk, so a killed
 * run keeps them.
 *
 * @param folder created if it does not exist.
 */
export function tensorBoard(folder: string): (step: { readonly step: number }) => void {
  const path = resolve(folder); // TensorFlow keeps one writer per path for the life of the process
  mkdirSync(path, { recursive: true });
  const writer = tf.node.summaryFileWriter(path);
  return (step) => {
    for (const [name, value] of flat(step)) if (name !== 'step') writer.scalar(name, value, step.step);
    writer.flush();
  };
}
