/** The task that growth.ts gives its workers. */
import type { GPT2Config, Profile } from 'alignbook';

export interface GrowthTask {
  readonly layers: number;
  readonly batch: number;
  /** A row's, of which a quarter are the response's. */
  readonly tokens: number;
}

/** What a worker answers to each turn. */
export interface GrowthResult {
  /** Operations a second of the machine's fastest product. */
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
 * Floating-point operations of the matrix products of a step of training: the forward pass's, and twice as many of the
 * backward's.
 */
export function operations({ layers, batch, tokens }: GrowthTask): number {
  const { nEmbd: C, vocabSize: V } = GPT2_SMALL;
  // a token's: matrices of 12 C^2 numbers in all; scores, and mixtures by them
  const block = 24 * C ** 2 + 4 * tokens * C;
  return 3 * batch * (tokens * layers * block + responseOf(tokens) * 2 * C * V);
}
