/** The ranges of the numbers that a user sets, and the check of a value against its range. */
import { InputError, together } from './errors';

export interface Range {
  /** What a message says after "must be". */
  readonly words: string;
  readonly holds: (value: number) => boolean;
  /** Bounds within which float32, or the machine, can do what is asked; `least` does not apply to 0, `holds` does. */
  readonly least?: number;
  readonly most?: number;
  /** Why a value outside the range is refused, where the words do not say it. */
  readonly why?: string;
}

/**
 * The largest of any number of numbers: `Math.max(...numbers)` overflows the stack at some hundred thousand.
 * @returns -Infinity for an empty list.
 */
export const largest = (numbers: readonly number[]): number =>
  numbers.reduce((most, number) => Math.max(most, number), -Infinity);

type Bounds = Pick<Range, 'least' | 'most' | 'why'>;

/** A count of steps or rows: no run reaches more. */
const COUNT = 1e9;
/** A count of things kept in memory at once, or repeated within a step. */
const LIST = 1e6;
/** Factors and prices: beside a term a million times larger, a term of a loss vanishes in float32. */
const FACTOR = 1e6;

export const whole = (first: number, most = COUNT): Range => ({
  words: `a whole number from ${first} up`,
  holds: (x) => Number.isInteger(x) && x >= first,
  most,
});
const from = (first: number, bounds: Bounds = {}): Range => ({
  words: `a number from ${first} up`,
  holds: (x) => x >= first,
  most: FACTOR,
  ...bounds,
});
const above0 = (bounds: Bounds = {}): Range => ({
  words: 'a number above 0',
  holds: (x) => x > 0,
  most: FACTOR,
  ...bounds,
});
const inside = (words: string, holds: (x: number) => boolean, why?: string): Range => ({
  words,
  holds,
  ...(why !== undefined && { why }),
});

const share = inside('in [0, 1]', (x) => x >= 0 && x <= 1);
/** The optimizer computes in float32, where 0.99999999 is 1 and the bias correction would divide by 1 - 1. */
const decay = inside('in [0, 1), also when rounded to 32 bits', (x) => x >= 0 && Math.fround(x) < 1);
const clip = above0({ least: 1e-6, why: 'nothing would be left to train once it is clipped' });
/** `Random` takes the low 32 bits, so a seed outside the range would stand for another one within it. */
const seed = inside('a whole number from 0 to 4294967295', (x) => Number.isInteger(x) && x >= 0 && x < 2 ** 32);

/** Every trainer's. */
const training = {
  steps: whole(1),
  epochs: above0({ most: COUNT }),
  batchSize: whole(1, LIST),
  accumulation: whole(1, LIST),
  /** 0 and Infinity do not clip. */
  maxGradNorm: from(0, { most: Infinity }),
  seed,
  /**
   * Any float32. As in transformers, a learning rate that is merely too high shows in the losses, and the run ends once
   * they are no longer numbers.
   */
  lr: from(0, { most: 3e38 }),
  warmupSteps: whole(0),
  minLrRatio: share,
  beta1: decay,
  beta2: decay,
  epsilon: above0({ least: 1e-30, most: 1000, why: 'without it a weight whose gradient is 0 becomes 0 / 0' }),
  weightDecay: from(0),
} as const;

/** A trainer's that has validation rows. */
const validated = { validateEvery: whole(1) } as const;

/** The losses' on pairs. */
const pairs = {
  beta: above0({ least: 1e-6 }),
  labelSmoothing: inside('in [0, 0.5)', (x) => x >= 0 && x < 0.5, 'from 0.5 on, rejected is preferred'),
  divergenceAlpha: inside('in (0, 1)', (x) => x > 0 && x < 1),
  discopopTau: inside('in (0, 1]', (x) => x > 0 && x <= 1, 'above 1 the loss grows without bound'),
  gamma: from(0),
  nllCoef: from(0),
} as const;

/** Those of functions around the losses on pairs, which no trainer calls. */
const aroundPairs = { weight: from(0), ldAlpha: share } as const;

const kto = { beta: pairs.beta, desirableWeight: from(0), undesirableWeight: from(0) } as const;

const reward = { centerRewards: from(0) } as const;

/**
 * Those of the trainers that sample. Beyond these temperatures a draw is either always one token or any token alike,
 * and its log-probs say nothing.
 */
const sampling = {
  maxNewTokens: whole(1),
  temperature: above0({ least: 0.01, most: 100, why: 'greedy answers are no samples' }),
  missingEosPenalty: from(0),
  lengthPenalty: from(0),
} as const;

const ppo = {
  ppoEpochs: whole(1, LIST),
  minibatches: whole(1, LIST),
  clipRange: clip,
  valueClipRange: clip,
  valueCoef: from(0),
  gamma: share,
  gaeLambda: share,
  klCoef: from(0),
  klTarget: { ...above0({ least: 1e-6 }), words: 'a number of nats above 0' },
  klHorizon: above0({ most: COUNT }),
} as const;

const grpo = {
  groupSize: whole(2, LIST),
  iterations: whole(1, LIST),
  clipRange: clip,
  epsilonHigh: clip,
  beta: from(0),
} as const;

const judging = { concurrency: whole(1, 1000) } as const;

const onlineDpo = {
  referenceEvery: whole(1),
  referenceAlpha: inside('in (0, 1]', (x) => x > 0 && x <= 1, 'with 0 the reference would stay as it is'),
} as const;

/** Generation by a trained model, where temperature 0 is greedy. */
const generation = {
  maxNewTokens: whole(1, Infinity), // the model's window is the limit
  temperature: from(0, { least: 1e-6 }),
  topK: whole(1, Infinity),
  topP: inside('in (0, 1]', (x) => x > 0 && x <= 1),
  repetitionPenalty: above0(),
  seed,
} as const;

/** `readData` checks it, once the model's sizes are known. */
const byModel = inside("a whole number from 2 to the model's window", () => true);

/** Which rows of a file are taken. */
const rows = { limit: whole(1), shuffleSeed: seed } as const;

/** The commands' own. */
const run = {
  loraRank: whole(1),
  loraAlpha: above0({ least: 1e-6 }),
  patience: whole(1),
  saveEvery: whole(1),
  keep: whole(1),
  sampleEvery: whole(0),
  maxLength: byModel,
  initialSeed: seed,
} as const;

export const RANGES = {
  rows,
  training,
  validated,
  pairs,
  aroundPairs,
  kto,
  reward,
  sampling,
  ppo,
  grpo,
  judging,
  onlineDpo,
  generation,
  run,
} as const;

/** What is wrong with a value, such as "must be a number above 0, got -1"; undefined if it is in the range. */
export function refusal(
  value: unknown,
  { words, holds, least = -Infinity, most = Infinity, why }: Range,
): string | undefined {
  const must = (range: string, reason = '') =>
    `must be ${range}, got ${typeof value === 'string' ? JSON.stringify(value) : String(value)}${reason}`;
  if (typeof value !== 'number' || !holds(value) || (value === Infinity && most < Infinity))
    return must(words, why && `: ${why}`);
  if (value !== 0 && value < least) return must(`at least ${least}`);
  return value > most ? must(`at most ${most}`) : undefined;
}

/** @throws InputError "NAME must be RANGE, got VALUE". */
export function requireRange(name: string, value: unknown, range: Range): void {
  const wrong = refusal(value, range);
  if (wrong !== undefined) throw new InputError(`${name} ${wrong}`);
}

/**
 * Checks every number that is given; an option without a range here is not a number.
 *
 * @throws InputError naming all that are out of their range, one line each.
 */
export function requireRanges(options: object, ranges: Readonly<Record<string, Range>>): void {
  const wrong = Object.entries(options).flatMap(([name, value]) => {
    const said = value !== undefined && Object.hasOwn(ranges, name) ? refusal(value, ranges[name]!) : undefined;
    return said === undefined ? [] : [`${name} ${said}`];
  });
  if (wrong.length > 0) throw new InputError(together(wrong));
}
