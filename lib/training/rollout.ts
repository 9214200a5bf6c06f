/** Prompts -> sampled responses and their log-probs under policy and reference: what PPO and GRPO learn from. */
import { generate } from '../model/generate';
import type { GPT2 } from '../model/gpt2';
import { RANGES, requireRange } from '../ranges';
import { responseBatch, type ResponseBatch } from '../text/responseBatch';
import type { Tokenizer } from '../text/tokenizer';
import { tf } from '../tf';
import { samplingSettings } from './ppoOptions';

/** A sampled response. */
export interface Sample {
  /** Index of its prompt, from 0, among all prompts. */
  readonly prompt: number;
  readonly promptIds: readonly number[];
  /** The response, up to and including the end-of-text token if it was drawn. It has no padding and needs no mask. */
  readonly ids: readonly number[];
  /** The response's text, without the end-of-text token. */
  readonly text: string;
  /** Whether the response ended by itself, within `maxNewTokens`. */
  readonly ended: boolean;
}

/** What sampling needs from a tokenizer. */
export type Decoder = Pick<Tokenizer, 'decode' | 'eosTokenId'> & Partial<Pick<Tokenizer, 'missingIds' | 'endTokenIds'>>;

export interface SampleOptions {
  /** Default 64. */
  maxNewTokens?: number;
  /**
   * From 0.01 to 100. Samples and log-probs both come from the policy at this temperature; top-k and top-p would make
   * them differ, so they are not offered. Default 1.
   */
  temperature?: number;
  /** Samples per prompt. Default 1. */
  samples?: number;
  /** Seed of the draws. Default 0. */
  seed?: number;
  /** Ids that are never drawn. Default: those without a token in the tokenizer. */
  suppressTokens?: readonly number[] | undefined;
  signal?: AbortSignal;
}

/**
 * Samples responses to prompts.
 *
 * @param prompts token ids.
 * @param indices of the prompts to sample for. Default: all, in order.
 * @returns `samples` responses per prompt, prompt after prompt.
 * @throws InputError if a prompt or an option does not fit.
 */
export async function sampleResponses(
  model: GPT2,
  tokenizer: Decoder,
  prompts: readonly (readonly number[])[],
  options: SampleOptions = {},
  indices: readonly number[] = prompts.map((_, index) => index),
): Promise<Sample[]> {
  const { temperature = samplingSettings.temperature.default } = options;
  requireRange('temperature', temperature, RANGES.sampling.temperature);
  return respond(model, tokenizer, prompts, { ...options, temperature }, indices);
}

/** The same, but greedy at temperature 0. */
export async function respond(
  model: GPT2,
  tokenizer: Decoder,
  prompts: readonly (readonly number[])[],
  options: SampleOptions,
  indices: readonly number[],
): Promise<Sample[]> {
  const { samples = 1, suppressTokens = tokenizer.missingIds?.(model.config.vocabSize) } = options;
  const made = await generate(
    model,
    indices.map((index) => prompts[index]!),
    { ...options, suppressTokens, eosTokenId: tokenizer.endTokenIds ?? tokenizer.eosTokenId },
  );
  return made.map(({ ids, finish }, n) => {
    const prompt = indices[Math.floor(n / samples)]!;
    const ended = finish === 'eos';
    return { prompt, promptIds: prompts[prompt]!, ids, text: tokenizer.decode(ended ? ids.slice(0, -1) : ids), ended };
  });
}

/** One batch of samples; consecutive samples of one prompt share it, so that it is computed once. */
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

/** Samples in one forward pass, unless a caller says otherwise. */
export const SAMPLES_PER_PASS = 64;

/** One value per token, for each sample. */
export type PerToken = readonly Float32Array[];

export interface MeasureOptions {
  /** The temperature of the sampling. Default 1. */
  temperature?: number;
  /** Ids that sampling never drew: they get no probability. Default: none. */
  suppressTokens?: readonly number[] | undefined;
  /** Samples per forward pass. Default 64. */
  batchSize?: number;
}

/**
 * The ids to suppress in a reference so that it is comparable with a policy, whose embedding may be padded to another
 * size.
 *
 * @param suppressTokens those of the policy. Default: the ids of the reference's embedding without a token.
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
  { batchSize = SAMPLES_PER_PASS, ...options }: MeasureOptions = {},
): PerToken {
  return inParts(samples, batchSize).flatMap((some) => {
    const batch = sampleBatch(some, model.config.blockSize);
    const scored = model.score(batch, options);
    const logps = perToken(scored.dataSync<'float32'>(), some, batch);
    scored.dispose();
    return logps;
  });
}

/** The same, with the entropy of the model's distributions, in nats, and its values if it has a value head. */
export function measureSamples(
  model: GPT2,
  samples: readonly Sample[],
  { batchSize = SAMPLES_PER_PASS, ...options }: MeasureOptions = {},
): { logps: PerToken; values?: PerToken; entropy: PerToken } {
  const parts = inParts(samples, batchSize).map((some) => {
    const batch = sampleBatch(some, model.config.blockSize);
    const { perTokenLogps, values, statistics } = model.measure(batch, options);
    let start = 0;
    const entropy = some.map(({ ids }) => statistics.entropy.slice(start, (start += ids.length)));
    const measured = {
      logps: perToken(perTokenLogps.dataSync<'float32'>(), some, batch),
      ...(values && { values: perToken(values.dataSync<'float32'>(), some, batch) }),
      entropy,
    };
    perTokenLogps.dispose();
    values?.dispose();
    return measured;
  });
  return {
    logps: parts.flatMap((part) => part.logps),
    ...(model.weights.hasValueHead && { values: parts.flatMap((part) => part.values!) }),
    entropy: parts.flatMap((part) => part.entropy),
  };
}

/** [R, L] -> the values of each sample. */
function perToken(
  values: Float32Array,
  samples: readonly Sample[],
  { responses: [, L] }: ResponseBatch,
): Float32Array[] {
  return samples.map(({ ids }, n) => values.slice(n * L, n * L + ids.length));
}

/** Values per token -> [R, L], 0 after the end of a response; L is the length of the longest. */
export function padded(rows: PerToken): tf.Tensor2D {
  const L = Math.max(...rows.map((row) => row.length));
  const values = new Float32Array(rows.length * L);
  rows.forEach((row, n) => values.set(row, n * L));
  return tf.tensor2d(values, [rows.length, L]);
}

/**
 * An estimate of the KL between policy and reference over whole responses, for each sample of the policy: the sum of
 * logp - refLogp over its tokens, in nats (k1). Its mean over many samples is unbiased; single values may be negative.
 */
export function sequenceKl(logps: PerToken, refLogps: PerToken): number[] {
  return logps.map((sample, n) => sample.reduce((sum, logp, t) => sum + logp - refLogps[n]![t]!, 0));
}

/** Splits items into parts of `size`. */
export function inParts<Item>(items: readonly Item[], size: number): Item[][] {
  requireRange('batchSize', size, RANGES.training.batchSize);
  return Array.from({ length: Math.ceil(items.length / size) }, (_, n) => items.slice(n * size, (n + 1) * size));
}
