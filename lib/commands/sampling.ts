/** What train-ppo and train-grpo share: prompts, the reward, the reference, and around them the run. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

import { FileError } from '../errors';
import { modelFolder } from '../hub/modelFolder';
import { readConfig as readModelConfig } from '../model/config';
import { GPT2 } from '../model/gpt2';
import { RewardModel } from '../model/rewardModel';
import { readPrompts } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { rewardOf, weightedRewards, type Reward } from '../training/rollout';
import { readData } from './readData';
import { required, type Values } from './trainConfig';
import { trainedModel, trainFields } from './trainSft';
import { UsageError } from './usage';

/** Of the fields of every training command those that are of rows with responses, or of a validation, are not here. */
const { groupByLength, validation, validateEvery, bestBy, patience, tokenMetrics, ...sampled } = trainFields;

export const samplingFields = {
  ...sampled, rewardModel: 'text', rewardFunction: 'text', reference: 'text', maxNewTokens: 'number', temperature: 'number', missingEosPenalty: 'number', lengthPenalty: 'number',
} as const; // prettier-ignore

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
  /** All that the result depends on. */
  readonly inputs: unknown;
}

export async function samplingRun(config: Values<typeof samplingFields>): Promise<SamplingRun> {
  const [source, data, output] = ['model', 'data', 'output'].map((name) => required<string>(config, name)) as [string, string, string];
  const { reference: referenceName = source, maxNewTokens = 64 } = config;
  if ((config.rewardModel ?? config.rewardFunction) === undefined) throw new UsageError('there is no reward: give rewardModel, rewardFunction, or both');
  const { blockSize } = readModelConfig(join(await modelFolder(source), 'config.json'));
  const tokenizer = await Tokenizer.fromPretrained(source);
  const prompts = await readData(config, blockSize, (rowOptions) => readPrompts(data, tokenizer, { ...rowOptions, maxNewTokens }));
  const code = config.rewardFunction === undefined ? undefined : readModule(config.rewardFunction);
  const terms = [
    ...(config.rewardModel === undefined ? [] : [rewardOf(await RewardModel.fromPretrained(config.rewardModel))]),
    ...(code === undefined ? [] : [await rewardFunction(config.rewardFunction!)]),
  ];
  const base = await GPT2.fromPretrained(source);
  const policy = trainedModel(base, config);
  const reference = referenceName === source && policy !== base ? base : await GPT2.fromPretrained(referenceName);
  return {
    source, output, policy, reference, tokenizer, prompts,
    reward: terms.length === 1 ? terms[0]! : weightedRewards(terms.map((reward) => ({ reward, weight: 1 }))),
    inputs: { ...config, output: undefined, prompts, code: code && createHash('sha256').update(code).digest('hex') },
  }; // prettier-ignore
}

function readModule(path: string): Buffer {
  if (!existsSync(path)) throw new FileError(path, 'is not there; give the file of a JavaScript module');
  return readFileSync(path);
}

async function rewardFunction(path: string): Promise<Reward> {
  const { default: exports } = (await import(pathToFileURL(resolve(path)).href).catch((cause: Error) => {
    throw new FileError(path, `cannot be loaded as a module (${cause.message})`, { cause });
  })) as { default?: { default?: unknown } };
  const exported = exports?.default ?? exports; // a default export compiled to CommonJS lies one deeper
  if (typeof exported !== 'function') throw new FileError(path, 'exports no function; write module.exports = (samples) => samples.map(({ text }) => …)');
  return exported as Reward;
}
