/** The range of every number that a user sets, in one table, and the check of a value against it. */
import { InputError } from './errors';

export interface Range {
  /** What a message says after "must be". */
  readonly words: string;
  readonly holds: (value: number) => boolean;
  /** Bounds within which float32, or the machine, can do what the setting asks for; `least` leaves 0 to `holds`. */
  readonly least?: number;
  readonly most?: number;
  /** Why a value outside is refused, where the words do not say it. */
  readonly why?: string;
}

/**
 * `Math.max` of numbers however many: as arguments, some hundred thousand overflow the stack.
 * @returns -Infinity of none.
 */
export const largest = (numbers: readonly number[]): number =>
  numbers.reduce((most, number) => Math.max(most, number), -Infinity);

type Bounds = Pick<Range, 'least' | 'most' | 'why'>;

/** As a number of steps, of rows: no run comes to more. */
const COUNT = 1e9;
/** What is held in memory at once, or repeated within a step. */
const LIST = 1e6;
/** Factors and prices: a million times another term of a loss leaves nothing of that term in float32. */
const FACTOR = 1e6;

const whole = (first: number, most = COUNT): Range => ({
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
/** In float32, in which the optimizer computes: 0.99999999 is 1 there, and its bias correction divides by 1 - 1. */
const decay = inside('in [0, 1), also when rounded to 32 bits', (x) => x >= 0 && Math.fround(x) < 1);
const clip = above0({ least: 1e-6, why: 'nothing would be left to train once it is clipped' });
/** `Random` takes the low 32 bits, so that a seed outside would stand for another one within. */
const seed = inside('a whole number from 0 to 4294967295', (x) => Number.isInteger(x) && x >= 0 && x < 2 ** 32);

/** Of every trainer. */
const training = {
  steps: whole(1),
  epochs: above0({ most: COUNT }),
  batchSize: whole(1, LIST),
  accumulation: whole(1, LIST),
  /** 0 and Infinity do not clip. */
  maxGradNorm: from(0, { most: Infinity }),
  seed,
  /**
   * Within float32: one that is only too high shows, as in transformers, in the losses, and ends where they are no
   * longer numbers.
   */
  lr: from(0, { most: 3e38 }),
  warmupSteps: whole(0),
  finalShare: share,
  beta1: decay,
  beta2: decay,
  epsilon: above0({ least: 1e-30, most: 1000, why: 'without it a weight whose gradient is 0 becomes 0 / 0' }),
  weightDecay: from(0),
} as const;

/** Of a trainer with validation rows. */
const validated = { validateEvery: whole(1) } as const;

/** Of the losses on pairs. */
const pairs = {
  beta: above0({ least: 1e-6 }),
  labelSmoothing: inside('in [0, 0.5)', (x) => x >= 0 && x < 0.5, 'from 0.5 on, rejected is preferred'),
  divergenceAlpha: inside('in (0, 1)', (x) => x > 0 && x < 1),
  discopopTau: inside('in (0, 1]', (x) => x > 0 && x <= 1, 'above 1 the loss grows without bound'),
  gamma: from(0),
  nllCoef: from(0),
} as const;

/** Of functions around them, which no trainer calls. */
const aroundPairs = { weight: from(0), ldAlpha: share } as const;

const kto = { beta: pairs.beta, desirableWeight: from(0), undesirableWeight: from(0) } as const;

const reward = { centring: from(0) } as const;

/**
 * Of the trainers that sample. A temperature beyond leaves either one token or a draw among all, and log-probs that say
 * nothing.
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

const grpo = { groupSize: whole(2, LIST), iterations: whole(1, LIST), clipRange: clip, beta: from(0) } as const;

/** Of text made by a trained model, where 0 is greedy. */
const generation = {
  maxNewTokens: whole(1, Infinity), // the model's window ends it anyhow
  temperature: from(0, { least: 1e-6 }),
  topK: whole(1, Infinity),
  topP: inside('in (0, 1]', (x) => x > 0 && x <= 1),
  repetitionPenalty: above0(),
  seed,
} as const;

/** Checked where the model's sizes are known, by `readData`. */
const byModel = inside("a whole number from 2 to the model's window", () => true);

/** What the commands take besides. */
const run = {
  loraRank: whole(1),
  loraAlpha: above0({ least: 1e-6 }),
  patience: whole(1),
  saveEvery: whole(1),
  keep: whole(1),
  maxLength: byModel,
  initialSeed: seed,
} as const;

export const RANGES = {
  training,
  validated,
  pairs,
  aroundPairs,
  kto,
  reward,
  sampling,
  ppo,
  grpo,
  generation,
  run,
} as const;

/** A range for each number among some options, so that the compiler asks for one where an option is new. */
export type RangesOf<Options> = {
  readonly [Name in keyof Options as NonNullable<Options[Name]> extends number ? Name : never]-?: Range;
};

/** @throws InputError "NAME must be RANGE, got VALUE". */
export function requireRange(
  name: string,
  value: unknown,
  { words, holds, least = -Infinity, most = Infinity, why }: Range,
): void {
  const must = (range: string, reason = '') =>
    new InputError(
      `${name} must be ${range}, got ${typeof value === 'string' ? JSON.stringify(value) : String(value)}${reason}`,
    );
  if (typeof value !== 'number' || !holds(value) || (value === Infinity && most < Infinity))
    throw must(words, why && `: ${why}`);
  if (value !== 0 && value < least) throw must(`at least ${least}`);
  if (value > most) throw must(`at most ${most}`);
}

/** The same of all numbers that are given; what has no range here is not a number. */
export function requireRanges(options: object, ranges: Readonly<Record<string, Range>>): void {
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && Object.hasOwn(ranges, name)) requireRange(name, value, ranges[name]!);
  }
}
