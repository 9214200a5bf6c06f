/** Numbers about a batch, in groups: averaged over parts, and by name. */
import type { TokenStatistics } from '../model/heads';
import type { ResponseBatch } from '../text/responseBatch';

/** Of the scored tokens; only where they were asked for. */
export type TokenMetrics = {
  /** The mean entropy of the model's next-token distributions, in nats. */
  readonly entropy?: number;
  /** The share of tokens that the model held likeliest; of DPO's pairs, of the chosen responses' tokens. */
  readonly meanTokenAccuracy?: number;
};

/** @param response whether the tokens of the n-th response count for the accuracy. */
export function tokenMetrics(
  { scored, responses: [, L] }: ResponseBatch,
  statistics: TokenStatistics | undefined,
  response: (n: number) => boolean,
): TokenMetrics {
  if (statistics === undefined) return {};
  let [entropy, counted, right] = [0, 0, 0];
  scored.ids.forEach((id, n) => {
    entropy += statistics.entropy[n]!;
    if (!response(Math.floor(scored.to[n]! / L))) return;
    counted += 1;
    right += id === statistics.topTokens[n] ? 1 : 0;
  });
  return { entropy: entropy / scored.ids.length, meanTokenAccuracy: right / counted };
}

/** Metrics of one shape, averaged; by equal weights unless others are given, which must add up to 1. */
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

/**
 * The numbers of a step by name, those in groups as `rewards/chosen`; lists, such as a step's updates, are left out.
 */
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
