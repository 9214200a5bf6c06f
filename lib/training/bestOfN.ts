/** Best-of-n: take the sample with the highest score out of n. It needs no training, and is a baseline for policies. */
import { InputError } from '../errors';

/**
 * The expected highest score of n samples, estimated from N samples of the same prompt: the highest, averaged over all
 * C(N, n) ways to choose n of them. The estimate is unbiased and has less variance than taking n samples. If r_(1) to
 * r_(N) are the sorted scores, the i-th is the highest in C(i - 1, n - 1) choices:
 *
 *     sum over i from n to N of C(i - 1, n - 1) / C(N, n) r_(i)
 *
 * (Nakano et al., WebGPT, arXiv 2112.09332.)
 *
 * @param scores N scores of one prompt's samples, in any order.
 * @param n from 1 (the mean) to N (the highest).
 * @throws InputError if n is out of that range or a score is not finite.
 */
export function bestOfN(scores: readonly number[], n: number): number {
  const N = scores.length;
  if (N === 0) throw new InputError('there are no scores; give at least one');
  if (!Number.isInteger(n) || n < 1 || n > N)
    throw new InputError(`n must be a whole number from 1 to ${N}, the number of scores, got ${n}`);
  const wrong = scores.findIndex((score) => !Number.isFinite(score));
  if (wrong >= 0) throw new InputError(`score ${wrong} is ${scores[wrong]}; scores must be finite numbers`);

  const falling = Float64Array.from(scores).sort().reverse();
  // The fraction of choices in which this score is the highest: C(N - 1, n - 1) / C(N, n), and so on down.
  let share = n / N;
  let sum = 0;
  for (let place = 0; place <= N - n; place += 1) {
    sum += share * falling[place]!;
    share *= (N - n - place) / (N - 1 - place);
  }
  return sum;
}

/**
 * KL(best of n || the model it samples from), in nats: log n - (n - 1) / n. It is exact if no two answers have the same
 * score; otherwise, and for any model of discrete texts, it is an upper bound (Beirami et al., arXiv 2401.01879).
 *
 * @throws InputError if n is not a whole number from 1 up.
 */
export function bestOfNKl(n: number): number {
  if (!Number.isInteger(n) || n < 1) throw new InputError(`n must be a whole number from 1 up, got ${n}`);
  return Math.log(n) - (n - 1) / n;
}
