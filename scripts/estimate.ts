import { average, variance } from 'alignbook/dist/moments';

/** The mean of independent values, and its standard error: their deviation (n - 1) over the root of n. */
export function estimate(values: readonly number[]): { mean: number; standardError: number } {
  return { mean: average(values), standardError: Math.sqrt(variance(values, { unbiased: true }) / values.length) };
}
