/** The settings of `trainReward`. */
import { RANGES } from '../ranges';
import { number, type OptionsOf } from './declare';
import { rowSettings, type RunningOptions } from './options';

const { tokenMetrics: _, ...others } = rowSettings;

export const rewardSettings = {
  ...others,
  centerRewards: number(RANGES.reward.centerRewards, {
    group: 'loss',
    default: 0,
    help: 'Add this weight times (chosen + rejected)^2 to the loss, which centers the scores at 0.',
  }),
} as const;

/** The options of `trainReward`; `npx alignbook train-reward --help` describes each. */
export interface RewardTrainOptions extends OptionsOf<typeof rewardSettings>, RunningOptions {}
