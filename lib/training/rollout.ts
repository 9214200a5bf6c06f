/**
 * Prompts -> sampled responses, their scores, and what policy and reference hold of them: what PPO and GRPO learn from.
 */
import { clipped, FileError, InputError, quoted } from '../errors';
import { generate } from '../model/generate';
import type { GPT2 } from '../model/gpt2';
import type { RewardModel } from '../model/rewardModel';
import { RANGES, requireRange, requireRanges } from '../ranges';
import { responseBatch, type ResponseBatch } from '../text/responseBatch';
import type { Tokenizer } from '../text/tokenizer';
import { tf } from '../tf';

/** A sampled response. */
export interface Sample {
  /** The number of its prompt, from 0, among all that were given. */
  readonly prompt: number;
  readonly promptIds: readonly number[];
  /**
   * The response, with the end-of-text token if it came to that. Everything after it is not there, so nothing needs a
   * mask.
   */
  readonly ids: readonly number[];
  /** The response's text, without the end-of-text token. */
  readonly text: string;
  /** Whether the response ended by itself, within `maxNewTokens`. */
  readonly ended: boolean;
}

/**
 * How good samples are: a score each, the more the better. Any function of their texts, a reward model (`rewardOf`), or
 * a sum.
 */
export type Reward = (samples: readonly Sample[]) => readonly number[] | Promise<readonly number[]>;

/** What sampling asks of a tokenizer. */
export type Decoder = Pick<Tokenizer, 'decode' | 'eosTokenId'> & Partial<Pick<Tokenizer, 'missingIds' | 'endTokenIds'>>;

export interface SampleOptions {
  /** Default 64. */
  maxNewTokens?: number;
  /**
   * From 0.01 to 100. Samples and log-probs are both of the policy at this temperature; top-k and top-p would part
   * them, so there are none. Default 1.
   */
  temperature?: number;
  /** Samples a prompt. Default 1. */
  samples?: number;
  /** Of the draws. Default 0. */
  seed?: number;
  /** Ids that are never drawn. Default: those that the tokenizer lacks. */
  suppressTokens?: readonly number[] | undefined;
  signal?: AbortSignal;
}

/**
 * @param prompts token ids.
 * @param numbers of the prompts to sample for. Default: all, in order.
 * @returns `samples` for each prompt, one prompt's after another's.
 * @throws InputError if a prompt or an option does not fit.
 */
export async function sampleResponses(
  model: GPT2,
  tokenizer: Decoder,
  prompts: readonly (readonly number[])[],
  options: SampleOptions = {},
  numbers: readonly number[] = prompts.map((_, n) => n),
): Promise<Sample[]> {
  const { temperature = 1 } = options;
  requireRange('temperature', temperature, RANGES.sampling.temperature);
  return respond(model, tokenizer, prompts, { ...options, temperature }, numbers);
}

/** The same, greedy at temperature 0. */
export async function respond(
  model: GPT2,
  tokenizer: Decoder,
  prompts: readonly (readonly number[])[],
  options: SampleOptions,
  numbers: readonly number[],
): Promise<Sample[]> {
  const { samples = 1, suppressTokens = tokenizer.missingIds?.(model.config.vocabSize) } = options;
  const made = await generate(
    model,
    numbers.map((number) => prompts[number]!),
    { ...options, suppressTokens, eosTokenId: tokenizer.endTokenIds ?? tokenizer.eosTokenId },
  );
  return made.map(({ ids, finish }, n) => {
    const prompt = numbers[Math.floor(n / samples)]!;
    const ended = finish === 'eos';
    return { prompt, promptIds: prompts[prompt]!, ids, text: tokenizer.decode(ended ? ids.slice(0, -1) : ids), ended };
  });
}

export interface Penalties {
  /** Taken off the score of a response that did not end by itself, from 0 up. TRL's examples take 1. Default 0. */
  missingEosPenalty?: number;
  /** Taken off for each token of a response, from 0 up. Default 0. */
  lengthPenalty?: number;
}

/**
 * The scores of samples by `reward`, less the penalties.
 *
 * @param options.step of the training, for messages.
 * @throws InputError if a penalty is below 0 (it would reward what it is to prevent), or, naming the sample, a score is
 *   missing or no number.
 */
export async function scoreSamples(
  samples: readonly Sample[],
  reward: Reward,
  { missingEosPenalty = 0, lengthPenalty = 0, step }: Penalties & { step?: number } = {},
): Promise<number[]> {
  requireRanges({ missingEosPenalty, lengthPenalty }, RANGES.sampling);
  const scores = await (step === undefined
    ? checkedScores(reward, samples)
    : atStep(step, () => checkedScores(reward, samples)));
  return samples.map(({ ids, ended }, n) => scores[n]! - (ended ? 0 : missingEosPenalty) - lengthPenalty * ids.length);
}

const checkedScores = async (reward: Reward, samples: readonly Sample[]): Promise<readonly number[]> =>
  requireScores(await reward(samples), samples);

/** Its square is still a float32, and so is the sum of some million of them. */
const LARGEST_SCORE = 1e15;

/** What a reward function gave, if it is a finite number for each sample. @throws InputError naming the sample. */
export function requireScores(scores: unknown, samples: readonly Sample[]): readonly number[] {
  if (!isList(scores))
    throw new InputError(
      `reward gave ${clipped(String(scores))} for ${samples.length} samples; it must give a list of a number for each`,
    );
  if (scores.length !== samples.length)
    throw new InputError(
      `reward gave ${scores.length} scores for ${samples.length} samples; it must give one for each`,
    );
  const wrong = samples.findIndex((_, n) => !Number.isFinite(scores[n]));
  if (wrong >= 0)
    throw new InputError(
      `reward gave ${clipped(String(scores[wrong]))} for sample ${wrong}, ${quoted(samples[wrong]!.text)}; it must give a finite number`,
    );
  const large = samples.findIndex((_, n) => Math.abs(Number(scores[n])) > LARGEST_SCORE);
  if (large >= 0)
    throw new InputError(
      `reward gave ${clipped(String(scores[large]))} for sample ${large}, ${quoted(samples[large]!.text)}; scores beyond ${LARGEST_SCORE} overflow in a group's deviation: scale them down`,
    );
  return scores as readonly number[];
}

/** A list of anything, or a typed array. */
const isList = (value: unknown): value is ArrayLike<unknown> =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));

/** What `act` refuses, with the step before it. */
async function atStep<T>(step: number, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (cause) {
    if (cause instanceof FileError)
      throw new FileError(cause.path, `step ${step}: ${cause.message.slice(cause.path.length + 2)}`, { cause });
    throw cause instanceof InputError ? new InputError(`step ${step}: ${cause.message}`, { cause }) : cause;
  }
}

/** A reward model's score of each sample. */
export function rewardOf(model: RewardModel, { batchSize = 64 } = {}): Reward {
  return (samples) =>
    inParts(samples, batchSize).flatMap((some) => {
      const scores = model.scores(sampleBatch(some, model.config.blockSize));
      const values = [...scores.dataSync()];
      scores.dispose();
      return values;
    });
}

/**
 * A sum of rewards, each with its weight. As of `scoreSamples`, a missing score or one that is no number is refused, of
 * whichever it is.
 */
export function weightedRewards(terms: readonly { readonly reward: Reward; readonly weight: number }[]): Reward {
  return async (samples) => {
    const all = await Promise.all(terms.map(({ reward }) => checkedScores(reward, samples)));
    return samples.map((_, n) => terms.reduce((sum, { weight }, term) => sum + weight * all[term]![n]!, 0));
  };
}

/** One batch of samples; those of one prompt that follow each other share it, and it is computed once. */
export function sampleBatch(samples: readonly Sample[], maxLength: number): ResponseBatch {
  const rows: { prompt: number; promptIds: readonly number[]; responses: (readonly number[])[] }[] = [];
  for (const { prompt, promptIds, ids } of samples) {
    const last = rows.at(-1);
    if (last?.prompt === prompt) last.responses.push(ids);
    else rows.push({ prompt, promptIds, responses: [ids] });
  }
  return responseBatch(rows, { layout: 'shared', maxLength });
}

export const countTokens = (samples: readonly Sample[]): number =>
  samples.reduce((sum, { ids }) => sum + ids.length, 0);

/** Numbers of the tokens of each sample. */
export type OfTokens = readonly Float32Array[];

export interface MeasureOptions {
  /** Of the sampling. Default 1. */
  temperature?: number;
  /** Of the sampling: what could not be drawn takes no share. Default: none. */
  suppressTokens?: readonly number[] | undefined;
  /** Samples at a time. Default 64. */
  batchSize?: number;
}

/**
 * What a reference's distributions leave out beside a policy's: embeddings may be padded to different sizes.
 *
 * @param suppressTokens of the policy. Default: what the tokenizer lacks of the reference's embedding.
 */
export function referenceSuppression(
  { config: { vocabSize } }: GPT2,
  tokenizer: Decoder,
  suppressTokens: readonly number[] | undefined,
): readonly number[] | undefined {
  return suppressTokens?.filter((id) => id < vocabSize) ?? tokenizer.missingIds?.(vocabSize);
}

/** Log-probs of the samples' tokens under `model`, in nats. */
export function sampleLogps(
  model: GPT2,
  samples: readonly Sample[],
  { batchSize = 64, ...options }: MeasureOptions = {},
): OfTokens {
  return inParts(samples, batchSize).flatMap((some) => {
    const batch = sampleBatch(some, model.config.blockSize);
    const scored = model.score(batch, options);
    const logps = ofTokens(scored.dataSync<'float32'>(), some, batch);
    scored.dispose();
    return logps;
  });
}

/** The same, with the model's values, if it has a value head, and the entropy of its distributions, in nats. */
export function measureSamples(
  model: GPT2,
  samples: readonly Sample[],
  { batchSize = 64, ...options }: MeasureOptions = {},
): { logps: OfTokens; values?: OfTokens; entropy: OfTokens } {
  const parts = inParts(samples, batchSize).map((some) => {
    const batch = sampleBatch(some, model.config.blockSize);
    const { perTokenLogps, values, statistics } = model.measure(batch, options);
    let start = 0;
    const entropy = some.map(({ ids }) => statistics.entropy.slice(start, (start += ids.length)));
    const found = {
      logps: ofTokens(perTokenLogps.dataSync<'float32'>(), some, batch),
      ...(values && { values: ofTokens(values.dataSync<'float32'>(), some, batch) }),
      entropy,
    };
    perTokenLogps.dispose();
    values?.dispose();
    return found;
  });
  return {
    logps: parts.flatMap((part) => part.logps),
    ...(model.weights.hasValueHead && { values: parts.flatMap((part) => part.values!) }),
    entropy: parts.flatMap((part) => part.entropy),
  };
}

/** [R, L] -> each sample's. */
function ofTokens(
  values: Float32Array,
  samples: readonly Sample[],
  { responses: [, L] }: ResponseBatch,
): Float32Array[] {
  return samples.map(({ ids }, n) => values.slice(n * L, n * L + ids.length));
}

/** [R, L] of numbers of tokens, 0 where a response has ended; L is the longest's length. */
export function padded(rows: OfTokens): tf.Tensor2D {
  const L = Math.max(...rows.map((row) => row.length));
  const values = new Float32Array(rows.length * L);
  rows.forEach((row, n) => values.set(row, n * L));
  return tf.tensor2d(values, [rows.length, L]);
}

/**
 * An estimate of the KL between policy and reference over whole responses, for each sample of the policy: the sum of
 * logp - refLogp over its tokens, in nats (k1). Its mean over many samples is unbiased; single ones may be negative.
 */
export function sequenceKl(logps: OfTokens, refLogps: OfTokens): number[] {
  return logps.map((ofSample, n) => ofSample.reduce((sum, logp, t) => sum + logp - refLogps[n]![t]!, 0));
}

function inParts<Item>(items: readonly Item[], size: number): Item[][] {
  requireRange('batchSize', size, RANGES.training.batchSize);
  return Array.from({ length: Math.ceil(items.length / size) }, (_, n) => items.slice(n * size, (n + 1) * size));
}
