/** The task that growth.ts gives its workers. */
import type { GPT2Config, Profile } from 'alignbook';

export interface GrowthTask {
  readonly layers: number;
  readonly batch: number;
  /** The length of a row; a quarter of its tokens belong to the response. */
  readonly tokens: number;
}

/** A worker's answer to each turn. */
export interface GrowthResult {
  /** Operations per second of the machine's fastest product. */
  readonly fastest: number;
  readonly profile: Omit<Profile<unknown>, 'result'>;
}

export const GPT2_SMALL: GPT2Config = {
  nLayer: 12,
  nHead: 12,
  nEmbd: 768,
  blockSize: 1024,
  vocabSize: 50257,
  layerNormEpsilon: 1e-5,
};

export const responseOf = (tokens: number): number => tokens / 4;

/**
 * Floating-point operations of the matrix products in one training step: those of the forward pass, and twice as many
 * in the backward pass.
 */
export function operations({ layers, batch, tokens }: GrowthTask): number {
  const { nEmbd: C, vocabSize: V } = GPT2_SMALL;
  // per token: matrices with 12 C^2 numbers in all; the scores, and the sums weighted by them
  const block = 24 * C ** 2 + 4 * tokens * C;
  return 3 * batch * (tokens * layers * block + responseOf(tokens) * 2 * C * V);
}
