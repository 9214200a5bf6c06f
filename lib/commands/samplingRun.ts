/** The parts that the commands share that sample: prompts, policy, reference and reward. */
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { readPrompts } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { requireWindow } from '../training/checks';
import { withDefaults, type OptionsOf } from '../training/declare';
import { samplingSettings } from '../training/ppoOptions';
import type { Reward, RewardTerm } from '../training/rewards';
import type { metricSettings, sampleSettings } from './answerSettings';
import { LiveAnswers, readPromptRows } from './liveAnswers';
import { readData, type DataSettings } from './readData';
import { loadRewards } from './rewardSources';
import type { loraSettings, referenceSettings, rewardSourceSettings } from './runSettings';
import { baseModel, trainedModel } from './trainedModel';

type SamplingConfig = OptionsOf<
  typeof loraSettings &
    typeof rewardSourceSettings &
    typeof referenceSettings &
    typeof samplingSettings &
    typeof sampleSettings &
    typeof metricSettings
> &
  DataSettings & {
    readonly model: string;
    readonly data: string;
    readonly frozen?: readonly string[];
    readonly seed?: number;
    readonly rewards?: readonly string[];
    readonly validation?: string;
    readonly validateEvery?: number;
  };

export interface SamplingRun<R extends Reward | undefined> {
  readonly policy: GPT2;
  readonly reference: GPT2;
  readonly tokenizer: Tokenizer;
  readonly prompts: readonly (readonly number[])[];
  /** The reward; undefined if the settings name none, as where a judge decides. */
  readonly reward: R;
  /** The rewards that the setting of this name lists, whose weighted sum is then `reward`. */
  readonly rewards?: readonly RewardTerm[];
  /** Aborted on an interrupt. */
  readonly interruption: AbortController;
  /** Whatever the result depends on besides the settings. */
  readonly contents: Readonly<Record<string, unknown>>;
  /** What the run shows of the answers of `model`, which is the policy, or the policy with a value head. */
  readonly liveOf: (model: GPT2, steps: number) => Promise<LiveAnswers>;
}

/** @param R says whether the command's settings are sure to name a reward. */
export async function samplingRun<R extends Reward | undefined = Reward | undefined>(
  config: SamplingConfig,
): Promise<SamplingRun<R>> {
  const { model: source, data, reference: referenceName = source } = config;
  const { maxNewTokens } = withDefaults(config, samplingSettings);
  const sizes = await configOf(source);
  const tokenizer = await Tokenizer.fromPretrained(source);
  const prompts = await readData(config, sizes, (rowOptions) =>
    readPrompts(data, tokenizer, { ...rowOptions, maxNewTokens }),
  );
  const validation =
    config.validation === undefined ? undefined : await readPromptRows(config.validation, config, tokenizer, sizes);
  const interruption = new AbortController();
  const longest = Math.min(
    sizes.blockSize,
    prompts.reduce((most, { length }) => Math.max(most, length), 0) + maxNewTokens,
  );
  const remedy = 'lower maxNewTokens, leave long prompts out (maxLength), or give another model';
  const rewards = await loadRewards(config, { longest, remedy, signal: interruption.signal });
  const base = await baseModel(source, config, { reference: true });
  const policy = await trainedModel(source, base, config);
  const reference = referenceName === source && policy !== base ? base : await GPT2.fromPretrained(referenceName);
  requireWindow('reference', referenceName, reference.config, longest, remedy);
  return {
    policy,
    reference,
    tokenizer,
    prompts,
    reward: rewards.reward as R,
    ...(rewards.rewards && { rewards: rewards.rewards }),
    interruption,
    contents: {
      rows: prompts,
      validation,
      model: base.weights.digest(),
      reference: reference.weights.digest(),
      ...rewards.contents,
    },
    liveOf: (model, steps) =>
      LiveAnswers.of(config, {
        ...{ model, tokenizer, steps, validation, interruption },
        data: prompts.map((promptIds) => ({ promptIds })),
      }),
  };
}
