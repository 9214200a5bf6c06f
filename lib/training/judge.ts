/** Judges: which of two responses to a prompt is better. */
import { InputError } from '../errors';
import { endedIds, type Encoder } from '../text/batch';
import { requireScores, type Reward } from './rewards';
import type { Sample } from './rollout';

/** A prompt and the two responses that a judge compares, as texts. */
export interface ResponsePair {
  readonly prompt: string;
  readonly a: string;
  readonly b: string;
}

export const WINNERS = ['a', 'b', 'tie'] as const;
export type Winner = (typeof WINNERS)[number];

export interface Judgement {
  readonly winner: Winner;
  /** Why, in the judge's own words or numbers. */
  readonly reason?: string;
  /** Why there is no verdict, for example an empty answer. The winner is then `tie`, which does not count as one. */
  readonly failure?: string;
}

/** Compares two responses. Any function will do; `rewardJudge` and `chatJudge` make some. */
export interface Judge {
  (comparison: ResponsePair, signal?: AbortSignal): Judgement | Promise<Judgement>;
  /** The order of the two responses cannot matter, so that asking in one order is enough. */
  readonly symmetric?: boolean;
}

export interface RewardJudgeOptions {
  /** Scores that differ by no more than this, at least 0, are a tie. Default 0. */
  tieWithin?: number;
}

/**
 * A judge that prefers the response with the higher score: of a rule, which is any function of samples, or of a reward
 * model (`rewardOf`). The samples have the response's ids with the end-of-sequence token, and count as ended.
 *
 * @throws InputError, when it judges, if a score is missing or not finite.
 */
export function rewardJudge(reward: Reward, tokenizer: Encoder, { tieWithin = 0 }: RewardJudgeOptions = {}): Judge {
  if (!(tieWithin >= 0)) throw new InputError(`tieWithin must be a number from 0 up, got ${tieWithin}`);
  const judge = async ({ prompt, a, b }: ResponsePair): Promise<Judgement> => {
    const promptIds = tokenizer.encode(prompt);
    const samples = [a, b].map((text): Sample => {
      return { prompt: 0, promptIds, ids: endedIds(tokenizer, text), text, ended: true };
    });
    const [ofA, ofB] = requireScores(await reward(samples), samples) as [number, number];
    return { winner: byScores(ofA, ofB, tieWithin), reason: `${ofA.toPrecision(6)} against ${ofB.toPrecision(6)}` };
  };
  return Object.assign(judge, { symmetric: true });
}

/** The higher score wins; scores no further apart than `tieWithin` are a tie. */
export const byScores = (ofA: number, ofB: number, tieWithin = 0): Winner =>
  Math.abs(ofA - ofB) <= tieWithin ? 'tie' : ofA > ofB ? 'a' : 'b';

/** The same verdict where a and b have changed places. */
export const swapped = (winner: Winner): Winner => (winner === 'tie' ? 'tie' : winner === 'a' ? 'b' : 'a');

/** @throws InputError if a judge gave something else than a judgement; the message names the comparison's prompt. */
export function requireJudgement(given: unknown, { prompt }: ResponsePair): Judgement {
  const winner = (given as Judgement | undefined)?.winner;
  if (WINNERS.some((known) => known === winner)) return given as Judgement;
  throw new InputError(
    `the judge gave ${JSON.stringify(given)} for the prompt ${JSON.stringify(prompt.slice(0, 60))}; ` +
      'it must give { winner }, one of a, b and tie',
  );
}
