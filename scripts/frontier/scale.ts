import type { GPT2Config } from 'alignbook';

/**
 * The scale of a run, which sets a method's constants: `quick` checks in a minute that everything works; models of the
 * size of `tiny` and real GPT-2s need different learning rates.
 */
export type Scale = 'quick' | 'small' | 'large';

export const scaleOf = (config: GPT2Config, quick: boolean): Scale =>
  quick ? 'quick' : config.nEmbd < 512 ? 'small' : 'large';
