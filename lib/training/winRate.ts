/** Win rates: how often one model's responses beat another's, with an interval, and without the effect of length. */
import { InputError } from '../errors';
import { average } from '../moments';
import type { Winner } from './judge';

/** A fraction and the bounds of its 95 % interval. */
export interface Estimated {
  readonly rate: number;
  readonly low: number;
  readonly high: number;
}

export interface WinRate extends Estimated {
  readonly wins: number;
  readonly ties: number;
  readonly losses: number;
}

/** The standard normal quantile of 0.975: two-sided 95 %. */
const Z = 1.959963984540054;

/**
 * How often `a` wins: (wins + ties / 2) / n, with Wilson's interval (E. B. Wilson, 1927, JASA 22:209; Brown, Cai and
 * DasGupta 2001, Eq. 4), which stays within 0 and 1 and is usable from a few comparisons on. A tie counts as half a win
 * and half a loss; since halves vary less than whole wins, the interval is then somewhat too wide, never too narrow.
 *
 * @throws InputError if there is no verdict.
 */
export function winRate(winners: readonly Winner[]): WinRate {
  const n = winners.length;
  if (n === 0) throw new InputError('there are no verdicts; judge at least one comparison');
  const count = (wanted: Winner) => winners.filter((winner) => winner === wanted).length;
  const [wins, ties, losses] = [count('a'), count('tie'), count('b')];
  const rate = (wins + ties / 2) / n;
  const middle = (rate + Z ** 2 / (2 * n)) / (1 + Z ** 2 / n);
  const half = (Z / (1 + Z ** 2 / n)) * Math.sqrt((rate * (1 - rate)) / n + Z ** 2 / (4 * n ** 2));
  return { wins, ties, losses, rate, low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/** A verdict and the lengths of the two responses, both in tokens or both in characters. */
export interface LengthOutcome {
  readonly winner: Winner;
  readonly lengthA: number;
  readonly lengthB: number;
}

export interface LengthControlled extends Estimated {
  /** phi: the slope of the log-odds at a difference of 0, per root mean square of the length difference. */
  readonly lengthEffect: number;
}

/**
 * The win rate that responses of equal length would have, after AlpacaEval 2 (arXiv 2404.04475, Eq. 2, without its
 * terms of the single instruction, which need many models): a logistic regression
 *
 *     p(a wins) = sigmoid(theta + phi tanh((lengthA - lengthB) / s)),   s the root mean square of lengthA - lengthB
 *
 * whose estimate at a difference of 0 is sigmoid(theta). It minimizes the negative log-likelihood plus phi² / 2; the
 * penalty keeps phi finite where length alone decides. A tie is half a win and half a loss. The interval is theta's
 * from the Hessian (Wald), through the sigmoid.
 *
 * @throws InputError if there is no verdict, or all are wins or all losses: theta is then infinite.
 */
export function lengthControlledWinRate(outcomes: readonly LengthOutcome[]): LengthControlled {
  if (outcomes.length === 0) throw new InputError('there are no verdicts; judge at least one comparison');
  const y = outcomes.map(({ winner }) => (winner === 'a' ? 1 : winner === 'tie' ? 0.5 : 0));
  const mean = average(y);
  if (mean === 0 || mean === 1)
    throw new InputError('all verdicts are the same, so that the effect of length is not known; judge more');
  const differences = outcomes.map(({ lengthA, lengthB }) => lengthA - lengthB);
  const scale = Math.sqrt(average(differences.map((difference) => difference ** 2)));
  const x = differences.map((difference) => (scale === 0 ? 0 : Math.tanh(difference / scale)));

  const sigmoid = (logit: number) => 1 / (1 + Math.exp(-logit));
  /** The objective's value, its gradient, and its Hessian's elements. */
  const at = ([theta, phi]: readonly [number, number]) => {
    let [value, ofTheta, ofPhi, tt, tp, pp] = [phi ** 2 / 2, 0, phi, 0, 0, 1];
    for (const [n, xn] of x.entries()) {
      const logit = theta + phi * xn;
      const p = sigmoid(logit);
      value += Math.max(logit, 0) - y[n]! * logit + Math.log1p(Math.exp(-Math.abs(logit)));
      [ofTheta, ofPhi] = [ofTheta + p - y[n]!, ofPhi + (p - y[n]!) * xn];
      const w = p * (1 - p);
      [tt, tp, pp] = [tt + w, tp + w * xn, pp + w * xn ** 2];
    }
    return { value, ofTheta, ofPhi, tt, tp, pp, determinant: tt * pp - tp ** 2 };
  };
  let point: readonly [number, number] = [Math.log(mean / (1 - mean)), 0];
  for (let step = 0; step < 100; step += 1) {
    const { value, ofTheta, ofPhi, tt, tp, pp, determinant } = at(point);
    const newton = [(pp * ofTheta - tp * ofPhi) / determinant, (tt * ofPhi - tp * ofTheta) / determinant] as const;
    if (Math.hypot(...newton) < 1e-12) break;
    let rate = 1; // halved until the objective falls: Newton's step can be too long far from the minimum
    const moved = (): readonly [number, number] => [point[0] - rate * newton[0], point[1] - rate * newton[1]];
    while (at(moved()).value > value && rate > 1e-9) rate /= 2;
    point = moved();
  }
  const [theta, lengthEffect] = point;
  const { pp, determinant } = at(point);
  const error = Math.sqrt(pp / determinant);
  return { rate: sigmoid(theta), low: sigmoid(theta - Z * error), high: sigmoid(theta + Z * error), lengthEffect };
}

export interface Agreement {
  /** Fraction of comparisons with the same verdict. */
  readonly agreement: number;
  /** The fraction that two judges with these frequencies of verdicts would agree on by chance. */
  readonly byChance: number;
  /** (agreement - byChance) / (1 - byChance): 1 for full agreement, 0 for chance. */
  readonly kappa: number;
}

/**
 * Cohen's kappa (1960, Educational and Psychological Measurement 20:37) of two judges on the same comparisons.
 *
 * @throws InputError if the lists are empty or not of one length, or if both judges always give one same verdict: no
 *   disagreement was then possible by chance, and kappa is 0 / 0.
 */
export function cohenKappa(one: readonly Winner[], other: readonly Winner[]): Agreement {
  const n = one.length;
  if (n === 0 || n !== other.length)
    throw new InputError(`${n} and ${other.length} verdicts; give as many of one judge as of the other, at least one`);
  const agreement = one.filter((winner, k) => winner === other[k]).length / n;
  const fraction = (all: readonly Winner[], wanted: Winner) => all.filter((winner) => winner === wanted).length / n;
  const byChance = (['a', 'b', 'tie'] as const).reduce(
    (sum, winner) => sum + fraction(one, winner) * fraction(other, winner),
    0,
  );
  if (byChance === 1) throw new InputError(`both judges always say ${one[0]}; kappa needs verdicts that differ`);
  return { agreement, byChance, kappa: (agreement - byChance) / (1 - byChance) };
}
