/**
 * Averages a step's metrics over its parts. Which metrics a trainer reports stands in its own file, such as
 * trainDpo.ts; only those of tokens, which several share, are computed here.
 */
import type { TokenStatistics } from '../model/heads';
import type { ResponseBatch } from '../text/responseBatch';

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
