/** Asks a judge about many comparisons, each in both orders, and says how much its verdicts depend on the order. */
import { InputError } from '../errors';
import { RANGES, requireRange } from '../ranges';
import { withDefaults } from './declare';
import { requireJudgement, swapped, type Judge, type Judgement, type ResponsePair, type Winner } from './judge';
import { onlineDpoSettings } from './onlineDpoOptions';

/** A comparison with its verdict. */
export interface Judged extends ResponsePair {
  /** The winner in both orders; `tie` if the orders disagree. */
  readonly winner: Winner;
  /** Whether the second order gave another winner, so that the place decided and not the response. */
  readonly inconsistent: boolean;
  /** What the judge said of the order a, b, and of b, a if it was asked; the winner of each is named as in a, b. */
  readonly orders: readonly Judgement[];
  /** Why there is no verdict, if an answer had none. */
  readonly failure?: string;
}

export interface JudgingOptions {
  /** Ask once as a, b and once as b, a. A judge that is symmetric is asked once. Default true. */
  bothOrders?: boolean;
  /** Comparisons asked about at the same time, from 1 up, for a judge that is a service. Otherwise one by one. */
  concurrency?: number | undefined;
  /** Called with the number of comparisons that are done. */
  onProgress?: (done: number) => void;
  signal?: AbortSignal | undefined;
}

/**
 * The verdict on each comparison. Two orders that agree have a winner; if they disagree, it is a tie (MT-Bench, arXiv
 * 2306.05685, section 3.4).
 *
 * @throws whatever the judge throws, once the comparisons that have begun are done; the reason of `signal`.
 */
export async function judgeAll(
  judge: Judge,
  comparisons: readonly ResponsePair[],
  { onProgress, signal, concurrency, ...options }: JudgingOptions = {},
): Promise<Judged[]> {
  const { bothOrders } = withDefaults(options, onlineDpoSettings);
  const workers = concurrency === undefined ? 1 : Math.min(concurrency, comparisons.length);
  if (concurrency !== undefined) requireRange('concurrency', concurrency, RANGES.judging.concurrency);
  const judged: Judged[] = [];
  let [next, done] = [0, 0];
  const failures: unknown[] = [];
  const work = async (): Promise<void> => {
    while (next < comparisons.length && failures.length === 0) {
      const n = next++;
      try {
        signal?.throwIfAborted();
        judged[n] = await judgeOne(judge, comparisons[n]!, bothOrders && judge.symmetric !== true, signal);
        onProgress?.((done += 1));
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
  if (failures.length > 0) throw failures[0];
  return judged;
}

async function judgeOne(judge: Judge, comparison: ResponsePair, both: boolean, signal?: AbortSignal): Promise<Judged> {
  const { prompt, a, b } = comparison;
  if (a === b) return ofOrders(comparison, [{ winner: 'tie', reason: 'the responses are the same' }]);
  const first = requireJudgement(await judge({ prompt, a, b }, signal), comparison);
  if (!both) return ofOrders(comparison, [first]);
  const second = requireJudgement(await judge({ prompt, a: b, b: a }, signal), comparison);
  return ofOrders(comparison, [first, { ...second, winner: swapped(second.winner) }]);
}

function ofOrders({ prompt, a, b }: ResponsePair, orders: readonly Judgement[]): Judged {
  const [{ winner }, second] = orders as [Judgement, Judgement?];
  const failure = orders.find((each) => each.failure !== undefined)?.failure;
  if (failure !== undefined) return { prompt, a, b, winner: 'tie', inconsistent: false, orders, failure };
  const inconsistent = second !== undefined && second.winner !== winner;
  return { prompt, a, b, winner: inconsistent ? 'tie' : winner, inconsistent, orders };
}

export interface PositionBias {
  /** Comparisons with a verdict in both orders. */
  readonly asked: number;
  /** Fraction of these whose orders disagree. */
  readonly inconsistent: number;
  /** Fraction in which the first place won in both orders, and in which the second place did. */
  readonly first: number;
  readonly second: number;
}

/**
 * How often the place decides. A judge that sees only the responses has fractions of 0; one that always prefers the
 * first has an `inconsistent` and a `first` of 1.
 *
 * @throws InputError if no comparison was asked in both orders.
 */
export function positionBias(judged: readonly Judged[]): PositionBias {
  const both = judged.filter(({ orders, failure }) => orders.length === 2 && failure === undefined);
  if (both.length === 0) throw new InputError('no comparison has a verdict in both orders; ask with bothOrders');
  const fraction = (counts: (inOrder: Winner, inSwapped: Winner) => boolean) =>
    both.filter(({ orders: [one, other] }) => counts(one!.winner, other!.winner)).length / both.length;
  return {
    asked: both.length,
    inconsistent: fraction((one, other) => one !== other),
    first: fraction((one, other) => one === 'a' && other === 'b'), // b stands first in the second order
    second: fraction((one, other) => one === 'b' && other === 'a'),
  };
}
