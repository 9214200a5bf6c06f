/** The settings of `trainKto`. */
import { RANGES } from '../ranges';
import { number, type OptionsOf } from './declare';
import { rowSettings, type RunningOptions } from './options';

const { kto } = RANGES;

export const ktoSettings = {
  ...rowSettings,
  beta: number(kto.beta, {
    group: 'loss',
    default: 0.1,
    help: 'Tie the policy to the reference this strongly.',
  }),
  desirableWeight: number(kto.desirableWeight, {
    group: 'loss',
    default: 1,
    help: 'Multiply the losses of desirable responses by this, to make up for unequal counts.',
  }),
  undesirableWeight: number(kto.undesirableWeight, {
    group: 'loss',
    default: 1,
    help: 'Multiply the losses of undesirable responses by this.',
  }),
} as const;

/** The options of `trainKto`; `npx alignbook train-kto --help` describes each. */
export interface KtoTrainOptions extends OptionsOf<typeof ktoSettings>, RunningOptions {}
