/** Averages of plain numbers. */

/** @returns NaN if there are none. */
export function average(values: Iterable<number>): number {
  let [sum, count] = [0, 0];
  for (const value of values) [sum, count] = [sum + value, count + 1];
  return sum / count;
}

/**
 * @param options.unbiased with Bessel's correction, as torch.var; of a single value 0 all the same. Default false: of
 * all values that there are.
 */
export function variance(values: readonly number[], { unbiased = false } = {}): number {
  const center = average(values);
  const squares = values.reduce((sum, value) => sum + (value - center) ** 2, 0);
  return squares / (unbiased ? Math.max(1, values.length - 1) : values.length);
}

/** The mean of independent values, and its standard error: their deviation (n - 1) over the root of n. */
export function estimate(values: readonly number[]): { mean: number; standardError: number } {
  return { mean: average(values), standardError: Math.sqrt(variance(values, { unbiased: true }) / values.length) };
}
