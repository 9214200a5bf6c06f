/** The parts that train-ppo and train-grpo share: prompts, policy, reference and reward. */
import { fileDigest } from '../formats/fileBytes';
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { RewardModel } from '../model/rewardModel';
import { readPrompts } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { requireWindow } from '../training/checks';
import { withDefaults, type OptionsOf } from '../training/declare';
import { samplingSettings } from '../training/ppoOptions';
import { rewardOf, weightedRewards, type Reward } from '../training/rewards';
import { readData, type DataSettings } from './readData';
import { loadRewardFunction } from './rewardFunction';
import type { loraSettings, referenceSettings, rewardSourceSettings } from './runSettings';
import { trainedModel } from './trainedModel';

type SamplingConfig = OptionsOf<
  typeof loraSettings & typeof rewardSourceSettings & typeof referenceSettings & typeof samplingSettings
> &
  DataSettings & {
    readonly model: string;
    readonly data: string;
    readonly frozen?: readonly string[];
    readonly seed?: number;
  };

export interface SamplingRun {
  readonly policy: GPT2;
  readonly reference: GPT2;
  readonly tokenizer: Tokenizer;
  readonly prompts: readonly (readonly number[])[];
  readonly reward: Reward;
  /** Whatever the result depends on besides the settings. */
  readonly contents: Readonly<Record<string, unknown>>;
  /** Stops waiting for a reward when it is aborted. */
  readonly interruption: AbortController;
}

export async function samplingRun(config: SamplingConfig): Promise<SamplingRun> {
  const { model: source, data, reference: referenceName = source } = config;
  const { maxNewTokens } = withDefaults(config, samplingSettings);
  const sizes = await configOf(source);
  const tokenizer = await Tokenizer.fromPretrained(source);
  const prompts = await readData(config, sizes, (rowOptions) =>
    readPrompts(data, tokenizer, { ...rowOptions, maxNewTokens }),
  );
  const interruption = new AbortController();
  const rewardModel =
    config.rewardModel === undefined ? undefined : await RewardModel.fromPretrained(config.rewardModel);
  const code =
    config.rewardFunction === undefined
      ? undefined
      : await loadRewardFunction(config.rewardFunction, {
          signal: interruption.signal,
          tell: (text) => console.error(text),
        });
  const longest = Math.min(
    sizes.blockSize,
    prompts.reduce((most, { length }) => Math.max(most, length), 0) + maxNewTokens,
  );
  const remedy = 'lower maxNewTokens, leave long prompts out (maxLength), or give another model';
  if (rewardModel) requireWindow('rewardModel', config.rewardModel!, rewardModel.config, longest, remedy);
  const terms = [...(rewardModel ? [rewardOf(rewardModel)] : []), ...(code ? [code.reward] : [])];
  const base = await GPT2.fromPretrained(source);
  const policy = await trainedModel(source, base, config);
  const reference = referenceName === source && policy !== base ? base : await GPT2.fromPretrained(referenceName);
  requireWindow('reference', referenceName, reference.config, longest, remedy);
  return {
    policy,
    reference,
    tokenizer,
    prompts,
    reward: terms.length === 1 ? terms[0]! : weightedRewards(terms.map((reward) => ({ reward, weight: 1 }))),
    contents: {
      rows: prompts,
      model: base.weights.digest(),
      reference: reference.weights.digest(),
      rewardModel: rewardModel?.weights.digest(),
      rewardFunction: config.rewardFunction && fileDigest(config.rewardFunction),
    },
    interruption,
  };
}
