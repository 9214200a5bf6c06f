import { InputError } from '../errors';
import { gpt2Folder } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { hasScoreHead, RewardModel } from '../model/rewardModel';
import { scoreNormalization } from '../model/score';
import { Random } from '../random';
import { RANGES } from '../ranges';
import { readCandidates, readPairs } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { stepCount } from '../training/order';
import { requireRewardOptions, trainReward, type RewardStep, type RewardTrainOptions } from '../training/trainReward';
import { requireBestBy } from './bestBy';
import { readData } from './readData';
import { readConfig, required, type FieldRanges } from './trainConfig';
import { printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { runOptions, trainFields, trainOptions, trainRanges } from './trainSft';

export const makesFiles = true;

export const usage = `  train-reward --config FILE
                      a reward model on preference pairs, rows as of train-dpo, which may also have a "margin", a number: by how much
                      the score of chosen should exceed that of rejected. Fields as of train-sft (see its --help), without LoRA and tokenMetrics, and
      model           a language model, which gets a scalar head drawn from seed, or a reward model, whose training goes on
      centring 0      (from 0 up) weight of (chosen + rejected)^2, which holds the scores about 0
      normalizeOn     rows as of score; the trained model is changed so that their scores have mean 0 and standard deviation 1
      bestBy          loss, calibrationError, brier (the least is best), accuracy, margin (the greatest)`;

const { tokenMetrics: _, ...others } = trainFields;
export const fields = { ...others, centring: 'number', normalizeOn: 'path' } as const;
export const ranges: FieldRanges<typeof fields> = { ...trainRanges, ...RANGES.reward };

/** Known, so that a message can say what becomes of them. */
const LORA = ['loraRank', 'loraAlpha', 'loraTargets'] as const;

export async function run(args: readonly string[]): Promise<void> {
  const config = readConfig(args, fields, ranges);
  const adapters = LORA.find((name) => config[name] !== undefined);
  if (adapters !== undefined)
    throw new InputError(
      `${adapters}: a reward model is trained without adapters; leave it out, or keep weights as they are with frozen`,
    );
  const [source, data, output] = ['model', 'data', 'output'].map((name) => required<string>(config, name)) as [
    string,
    string,
    string,
  ];
  const options = trainOptions(config) as RewardTrainOptions;
  requireRewardOptions(options);
  requireBestBy('train-reward', config.bestBy);

  const folder = await gpt2Folder(source);
  const tokenizer = await Tokenizer.fromPretrained(source);
  const model = await beginning(source, folder, options.seed ?? 0, tokenizer.padTokenId ?? tokenizer.eosTokenId);
  const read = (path: string) =>
    readData(config, model.config, (rowOptions) => readPairs(path, tokenizer, { ...rowOptions, margins: true }));
  const pairs = await read(data);
  const validation = config.validation === undefined ? undefined : await read(config.validation);
  const samples =
    config.normalizeOn === undefined
      ? undefined
      : await readData(config, model.config, (rowOptions) =>
          readCandidates(config.normalizeOn!, tokenizer, rowOptions),
        );
  const steps = stepCount(options, pairs.length, options.batchSize ?? 16);
  printNotes(settingNotes('train-reward', config, steps));
  const finish =
    samples &&
    (() => {
      const found = scoreNormalization(model, samples);
      model.normalize(found);
      console.log(
        `normalized: the scores of ${config.normalizeOn} had mean ${found.mean.toFixed(3)} and standard deviation ${found.deviation.toFixed(3)}`,
      );
    });
  await trainRun<RewardStep, RewardModel>(
    {
      output,
      model,
      source,
      steps,
      ...runOptions(config),
      options,
      finish,
      settings: config,
      contents: { rows: pairs, validation, model: model.weights.digest(), padTokenId: model.padTokenId },
    },
    (state) => trainReward(model, pairs, options, { validation, state }),
    ({ margin, accuracy }) => `margin ${margin.toFixed(3)}  accuracy ${accuracy.toFixed(2)}`,
  );
}

/**
 * A language model gets a head whose scores are read where TRL's RewardTrainer would train them; a reward model keeps
 * its place.
 */
async function beginning(source: string, folder: string, seed: number, padTokenId: number): Promise<RewardModel> {
  if (hasScoreHead(folder)) return RewardModel.fromPretrained(source);
  const base = await GPT2.fromPretrained(source);
  const model = RewardModel.begin(base, new Random(seed), padTokenId);
  base.dispose();
  return model;
}
