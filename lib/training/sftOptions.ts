/** The settings of `trainSft`. */
import { flag, type OptionsOf } from './declare';
import { rowSettings, type RunningOptions } from './options';

export const sftSettings = {
  ...rowSettings,
  packing: flag({
    group: 'optimization',
    default: false,
    help:
      'Pack the rows into windows of at most maxLength tokens, which batchSize and epochs then count; rows in a ' +
      'window do not see each other.',
  }),
} as const;

/** The options of `trainSft`; `npx alignbook train-sft --help` describes each. */
export interface SftTrainOptions extends OptionsOf<typeof sftSettings>, RunningOptions {
  /** The most tokens in a window if `packing` is given. Default: the model's `blockSize`. */
  maxLength?: number;
}
