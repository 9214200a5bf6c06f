/** What train-ppo and train-grpo share: prompts, the reward, the reference, and around them the run. */
import { fileDigest } from '../formats/fileDigest';
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { RewardModel } from '../model/rewardModel';
import { readPrompts } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { requireWindow } from '../training/checks';
import { rewardOf, weightedRewards, type Reward } from '../training/rewards';
import { readData } from './readData';
import { loadRewardFunction } from './rewardFunction';
import { required, type Values } from './trainConfig';
import { trainedModel, trainFields } from './trainSft';
import { UsageError } from './usage';

/** Of the fields of every training command those that are of rows with responses, or of a validation, are not here. */
const { groupByLength, validation, validateEvery, bestBy, patience, tokenMetrics, ...sampled } = trainFields;

export const samplingFields = {
  ...sampled,
  rewardModel: 'text',
  rewardFunction: 'path',
  reference: 'text',
  maxNewTokens: 'number',
  temperature: 'number',
  missingEosPenalty: 'number',
  lengthPenalty: 'number',
} as const;

export const samplingUsage = `      data            rows {"prompt"} or {"instruction", "input"}; what else they have is not looked at, so pairs will do
      rewardModel     as train-reward makes it; or
      rewardFunction  a JavaScript module whose module.exports (or default export) takes samples { prompt, text, ids, ended }, prompt being the
                      row's number from 0, and gives a list of a number each, or a promise of it; or both, whose scores are added
      reference       the model that KL is measured against (default: model, as it is before training)
      maxNewTokens 64, missingEosPenalty 0 (off the score of a response that did not end), lengthPenalty 0 (off the score, each token)`;

export interface SamplingRun {
  readonly source: string;
  readonly output: string;
  readonly policy: GPT2;
  readonly reference: GPT2;
  readonly tokenizer: Tokenizer;
  readonly prompts: readonly (readonly number[])[];
  readonly reward: Reward;
  /** What the result depends on, besides the settings. */
  readonly contents: Readonly<Record<string, unknown>>;
  /** Ends the wait for a reward. */
  readonly interruption: AbortController;
}

export async function samplingRun(config: Values<typeof samplingFields>): Promise<SamplingRun> {
  const [source, data, output] = ['model', 'data', 'output'].map((name) => required<string>(config, name)) as [
    string,
    string,
    string,
  ];
  const { reference: referenceName = source, maxNewTokens = 64 } = config;
  if ((config.rewardModel ?? config.rewardFunction) === undefined)
    throw new UsageError('there is no reward: give rewardModel, rewardFunction, or both');
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
  const policy = trainedModel(base, config);
  const reference = referenceName === source && policy !== base ? base : await GPT2.fromPretrained(referenceName);
  requireWindow('reference', referenceName, reference.config, longest, remedy);
  return {
    source,
    output,
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
