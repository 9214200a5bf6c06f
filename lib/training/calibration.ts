/** Whether the odds that a reward model gives are those with which it is right. */

/** Comparisons of much the same confidence. */
export interface ReliabilityBin {
  /** The mean probability that the model gave to the answer it scored higher, 0.5 to 1. */
  readonly confidence: number;
  /** The share of them in which that answer was the chosen one. */
  readonly accuracy: number;
  readonly pairs: number;
}

export interface Calibration {
  /**
   * The expected calibration error: the mean distance of confidence and accuracy, over the bins by their pairs. 0 is
   * best.
   */
  readonly calibrationError: number;
  /**
   * The mean of (1 - p)^2, p being the probability given to the chosen answer: 0 is best, 0.25 comes of always saying
   * 0.5.
   */
  readonly brier: number;
  /** Those that are not empty, by rising confidence. */
  readonly bins: readonly ReliabilityBin[];
}

/**
 * The Bradley-Terry model reads a margin as the probability p = sigmoid(margin) that the chosen answer is the better
 * one.
 *
 * The expected calibration error is that of https://arxiv.org/abs/1706.04599, Eq. 3: ten bins of equal width over the
 * confidence,
 * max(p, 1 - p), of which a choice between two fills the upper five. (With each pair counted in both orders, p in ten
 * bins and held
 * to how often the first answer is the chosen one, it is the same.) Brier's score: Monthly Weather Review 78, 1950.
 *
 * @param margins score of the chosen answer less that of the rejected one, for each pair. Where they are equal, the
 *   model is wrong.
 */
export function calibration(margins: readonly number[], { bins = 10 } = {}): Calibration {
  const sums = Array.from({ length: bins }, () => ({ confidence: 0, right: 0, pairs: 0 }));
  let squares = 0;
  for (const margin of margins) {
    const confidence = 1 / (1 + Math.exp(-Math.abs(margin)));
    const bin = sums[Math.min(bins - 1, Math.floor(confidence * bins))]!;
    bin.confidence += confidence;
    bin.right += margin > 0 ? 1 : 0;
    bin.pairs += 1;
    squares += (1 / (1 + Math.exp(margin))) ** 2;
  }
  const filled = sums.filter(({ pairs }) => pairs > 0);
  return {
    calibrationError:
      filled.reduce((sum, { confidence, right }) => sum + Math.abs(right - confidence), 0) / margins.length,
    brier: squares / margins.length,
    bins: filled.map(({ confidence, right, pairs }) => ({
      confidence: confidence / pairs,
      accuracy: right / pairs,
      pairs,
    })),
  };
}
