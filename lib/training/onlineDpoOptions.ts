/** The settings of `trainOnlineDpo`. */
import { RANGES } from '../ranges';
import { choice, flag, number, type OptionsOf } from './declare';
import { BETA } from './dpoOptions';
import { trainSettings } from './options';
import { samplingSettings, type SamplingOptions } from './ppoOptions';

const { onlineDpo, pairs } = RANGES;

export const onlineDpoSettings = {
  ...trainSettings,
  batchSize: { ...trainSettings.batchSize, help: 'Sample two responses for each of N prompts in each step.' },
  ...samplingSettings,
  temperature: {
    ...samplingSettings.temperature,
    help: 'Sample at this temperature; the loss takes the log-probs of temperature 1.',
  },
  bothOrders: flag({
    group: 'sampling',
    default: true,
    help: 'Ask a judge about each pair in both orders, and take it as a tie where these disagree.',
  }),
  loss: choice(['sigmoid', 'ipo'], {
    group: 'loss',
    default: 'sigmoid',
    help: 'Train with this loss; sigmoid is DPO.',
  }),
  beta: number(pairs.beta, {
    group: 'loss',
    default: BETA.others,
    help: 'Tie the policy to the reference this strongly.',
  }),
  referenceEvery: number(onlineDpo.referenceEvery, {
    group: 'loss',
    otherwise: 'the reference stays as it is',
    help: 'Renew the reference from the policy after every N steps; memory and checkpoints hold one more model then.',
  }),
  referenceAlpha: number(onlineDpo.referenceAlpha, {
    group: 'loss',
    default: 1,
    help: "Mix this much of the policy's weights into the reference; 1 replaces it, 0.6 is TRL's average.",
  }),
} as const;

/** The options of `trainOnlineDpo`; `npx alignbook train-online-dpo --help` describes each. */
export interface OnlineDpoTrainOptions extends OptionsOf<typeof onlineDpoSettings>, SamplingOptions {}
