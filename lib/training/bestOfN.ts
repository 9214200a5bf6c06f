/**
 * Best-of-n: of n samples the one that a reward likes most. It needs no training, and is what trained policies are
 * measured against.
 */
import { InputError } from '../errors';

/**
 * The expected highest score of n samples, estimated from N of the same prompt without bias, and with less variance
 * than taking n of them:
 * the mean of the highest over all C(N, n) ways to choose. Of the scores in order, r_(1) to r_(N), the i-th is the
 * highest of
 * C(i - 1, n - 1) choices:
 *
 *     sum over i from n to N of C(i - 1, n - 1) / C(N, n) r_(i)
 *
 * (Nakano et al., WebGPT, arXiv 2112.09332.)
 *
 * @param scores of N samples of one prompt, in any order.
 * @param n from 1, the mean, to N, the highest.
 * @throws InputError if n does not lie there, or a score is no finite number.
 */
export function bestOfN(scores: readonly number[], n: number): number {
  const N = scores.length;
  if (N === 0) throw new InputError('there are no scores; give those of at least one sample');
  if (!Number.isInteger(n) || n < 1 || n > N)
    throw new InputError(`n must be a whole number from 1 to ${N}, the number of scores, got ${n}`);
  const wrong = scores.findIndex((score) => !Number.isFinite(score));
  if (wrong >= 0) throw new InputError(`score ${wrong} is ${scores[wrong]}; scores must be finite numbers`);

  const falling = Float64Array.from(scores).sort().reverse();
  let share = n / N; // of the choices, those with this score as the highest: C(N - 1, n - 1) / C(N, n), and so on down
  let sum = 0;
  for (let place = 0; place <= N - n; place += 1) {
    sum += share * falling[place]!;
    share *= (N - n - place) / (N - 1 - place);
  }
  return sum;
}

/**
 * KL(best of n || the model it samples from), in nats: log n - (n - 1) / n. Exact where no two answers score the same;
 * else, and for
 * any model of discrete texts, an upper bound (Beirami et al., arXiv 2401.01879).
 *
 * @throws InputError if n is no whole number from 1 up.
 */
export function bestOfNKl(n: number): number {
  if (!Number.isInteger(n) || n < 1) throw new InputError(`n must be a whole number from 1 up, got ${n}`);
  return Math.log(n) - (n - 1) / n;
}
