import type { GPT2Config } from 'alignbook';

/**
 * What a method's constants depend on: `quick` shows in a minute that everything works; models of the size of `tiny`
 * and real GPT-2s learn at other rates.
 */
export type Scale = 'quick' | 'small' | 'large';

export const scaleOf = (config: GPT2Config, quick: boolean): Scale =>
  quick ? 'quick' : config.nEmbd < 512 ? 'small' : 'large';
