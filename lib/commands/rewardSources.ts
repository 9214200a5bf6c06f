/** Where a run's rewards come from: NAME=SOURCE:WEIGHT texts, and the models and functions that they name, loaded. */
import { InputError, quoted } from '../errors';
import type { GPT2Config } from '../formats/config';
import { fileDigest } from '../formats/fileBytes';
import { expandHome } from '../hub/modelName';
import { RewardModel } from '../model/rewardModel';
import { requireWindow } from '../training/checks';
import { requireTerms, rewardOf, weightedRewards, type Reward, type RewardTerm } from '../training/rewards';
import { loadRewardFunction, type RewardFunctionOptions } from './rewardFunction';

interface RewardSource {
  readonly name: string;
  /** A JavaScript module, or a reward model's folder or hub name. */
  readonly source: string;
  readonly weight: number;
}

/**
 * Reads `rewards`: texts such as right=right.js, or letters=letters.js:0.2 with a weight.
 *
 * @throws InputError naming the text that is none, or as `requireTerms` does.
 */
function rewardSources(texts: readonly string[]): RewardSource[] {
  const sources = texts.map((text) => {
    const [, name, source, weight = '1'] = /^([^=]*)=(.+?)(?::([^:/\\]*))?$/.exec(text) ?? [];
    if (name === undefined || source === undefined)
      throw new InputError(
        `rewards: ${quoted(text)} must be NAME=SOURCE or NAME=SOURCE:WEIGHT, such as right=right.js:1`,
      );
    if (weight.trim() === '' || !Number.isFinite(Number(weight)))
      throw new InputError(`rewards: the weight of ${name} must be a number, got ${quoted(weight)}`);
    return { name, source: expandHome(source), weight: Number(weight) };
  });
  requireTerms(sources.map((source) => ({ ...source, reward: () => [] })));
  return sources;
}

/** A reward with the digest of its code or weights, and the sizes of its model, if it is one. */
interface LoadedReward {
  readonly reward: Reward;
  readonly digest: string;
  readonly config?: GPT2Config;
}

/**
 * @param source a JavaScript module, by the ending of its name, or a reward model's folder or hub name.
 * @throws FileError or InputError if the module or the model cannot be used.
 */
async function loadReward(source: string, options: RewardFunctionOptions): Promise<LoadedReward> {
  if (/\.[cm]?js$/.test(source)) return loadFunction(source, options);
  return loadModel(source);
}

async function loadModel(source: string): Promise<LoadedReward> {
  const model = await RewardModel.fromPretrained(source);
  return { reward: rewardOf(model), digest: model.weights.digest(), config: model.config };
}

async function loadFunction(path: string, options: RewardFunctionOptions): Promise<LoadedReward> {
  const { reward } = await loadRewardFunction(path, options);
  return { reward, digest: fileDigest(path) };
}

export interface LoadedRewards {
  /** The sum of rewardModel and rewardFunction, or of `rewards`; undefined if the settings name none. */
  readonly reward: Reward | undefined;
  /** The rewards that the setting of this name lists, if it is given. */
  readonly rewards?: readonly RewardTerm[];
  /** Whatever the scores depend on. */
  readonly contents: {
    readonly rewardModel: string | undefined;
    readonly rewardFunction: string | undefined;
    readonly rewards: readonly unknown[] | undefined;
  };
}

/**
 * @param longest tokens of the longest text to score.
 * @throws InputError or FileError if a model or a function does not fit.
 */
export async function loadRewards(
  {
    rewardModel: model,
    rewardFunction: file,
    rewards: texts,
  }: { rewardModel?: string; rewardFunction?: string; rewards?: readonly string[] },
  { longest, remedy, signal }: { longest: number; remedy: string; signal?: AbortSignal },
): Promise<LoadedRewards> {
  const options = { signal, tell: (text: string) => console.error(text) };
  const named = texts ? rewardSources(texts) : [];
  const loaded: LoadedReward[] = [];
  for (const { source } of named) loaded.push(await loadReward(source, options)); // a message is about the first
  const rewardModel = model === undefined ? undefined : await loadModel(model);
  const code = file === undefined ? undefined : await loadFunction(file, options);
  if (rewardModel) requireWindow('rewardModel', model!, rewardModel.config!, longest, remedy);
  loaded.forEach(({ config }, n) => {
    if (config) requireWindow('rewards', named[n]!.source, config, longest, remedy);
  });
  const rewards = named.map(({ name, weight }, n) => ({ name, weight, reward: loaded[n]!.reward }));
  const terms = [
    ...[rewardModel, code].flatMap((part) => (part ? [{ weight: 1, reward: part.reward }] : [])),
    ...rewards,
  ];
  const [first, ...others] = terms;
  return {
    reward: first && (others.length > 0 || first.weight !== 1) ? weightedRewards(terms) : first?.reward,
    ...(texts && { rewards }),
    contents: {
      rewardModel: rewardModel?.digest,
      rewardFunction: code?.digest,
      rewards: texts && named.map(({ name, weight }, n) => ({ name, weight, digest: loaded[n]!.digest })),
    },
  };
}
