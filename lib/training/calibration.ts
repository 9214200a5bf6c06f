/** Calibration: whether a reward model is right as often as its probabilities say. */

/** Comparisons of similar confidence. */
export interface ReliabilityBin {
  /** Mean probability that the model gave to the answer with the higher score, 0.5 to 1. */
  readonly confidence: number;
  /** Fraction of pairs in which that answer was the chosen one. */
  readonly accuracy: number;
  readonly pairs: number;
}

export interface Calibration {
  /** The expected calibration error: |confidence - accuracy|, averaged over the bins by their pairs. 0 is best. */
  readonly calibrationError: number;
  /** The mean of (1 - p)^2, where p is the probability of the chosen answer: 0 is best, 0.25 means always 0.5. */
  readonly brier: number;
  /** The bins that are not empty, by increasing confidence. */
  readonly bins: readonly ReliabilityBin[];
}

/**
 * The calibration of a Bradley-Terry model, in which a margin means the probability p = sigmoid(margin) that the chosen
 * answer is better.
 *
 * The expected calibration error is that of https://arxiv.org/abs/1706.04599, Eq. 3: ten bins of equal width over the
 * confidence max(p, 1 - p). A choice between two answers fills only the upper five. (Counting each pair in both
 * orders, with p in ten bins compared with how often the first answer is the chosen one, gives the same.) Brier's
 * score: Monthly Weather Review 78, 1950.
 *
 * @param margins for each pair, the score of the chosen answer minus that of the rejected one. If they are equal, the
 *   model counts as wrong.
 */
export function calibration(margins: readonly number[], { bins = 10 } = {}): Calibration {
  const sums = Array.from({ length: bins }, () => ({ confidence: 0, correct: 0, pairs: 0 }));
  let squares = 0;
  for (const margin of margins) {
    const confidence = 1 / (1 + Math.exp(-Math.abs(margin)));
    const bin = sums[Math.min(bins - 1, Math.floor(confidence * bins))]!;
    bin.confidence += confidence;
    bin.correct += margin > 0 ? 1 : 0;
    bin.pairs += 1;
    squares += (1 / (1 + Math.exp(margin))) ** 2;
  }
  const filled = sums.filter(({ pairs }) => pairs > 0);
  return {
    calibrationError:
      filled.reduce((sum, { confidence, correct }) => sum + Math.abs(correct - confidence), 0) / margins.length,
    brier: squares / margins.length,
    bins: filled.map(({ confidence, correct, pairs }) => ({
      confidence: confidence / pairs,
      accuracy: correct / pairs,
      pairs,
    })),
  };
}
