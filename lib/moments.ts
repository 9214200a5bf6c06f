/** Mean, variance and standard error of plain numbers. */

/** @returns the mean, or NaN if there are no values. */
export function average(values: Iterable<number>): number {
  let [sum, count] = [0, 0];
  for (const value of values) [sum, count] = [sum + value, count + 1];
  return sum / count;
}

/**
 * @param options.unbiased apply Bessel's correction, as torch.var does; the variance of a single value is 0 even so.
 *   Default false: divide by the number of values.
 */
export function variance(values: readonly number[], { unbiased = false } = {}): number {
  const center = average(values);
  const squares = values.reduce((sum, value) => sum + (value - center) ** 2, 0);
  return squares / (unbiased ? Math.max(1, values.length - 1) : values.length);
}

/** The mean of n independent values, and its standard error: their unbiased standard deviation over sqrt(n). */
export function estimate(values: readonly number[]): { mean: number; standardError: number } {
  return { mean: average(values), standardError: Math.sqrt(variance(values, { unbiased: true }) / values.length) };
}
