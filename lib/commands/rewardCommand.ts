/** `alignbook train-reward`: reads pairs, adds a score head, and runs the training. Flags: rewardOptions.ts. */
import { InputError } from '../errors';
import { configOf, gpt2Files } from '../model/folder';
import type { RewardModel } from '../model/rewardModel';
import { scoreNormalization } from '../model/score';
import { readCandidates, readPairs } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { withDefaults, type OptionsOf } from '../training/declare';
import { stepCount } from '../training/order';
import { requireRewardOptions, trainReward, type RewardStep } from '../training/trainReward';
import { requireValidation, sampleSettings } from './answerSettings';
import { memoryNotes } from './memoryNote';
import { readData } from './readData';
import { loraSettings } from './runSettings';
import { rewardModelOf } from './trainedModel';
import { printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { rewardCommandSettings } from './trainSettings';

/** Recognized here, so that an error message can say what to do instead. */
const LORA = Object.keys(loraSettings) as (keyof typeof loraSettings)[];
const SAMPLES = Object.keys(sampleSettings) as (keyof typeof sampleSettings)[];

export async function run(config: OptionsOf<typeof rewardCommandSettings>): Promise<void> {
  const { model: source, data, normalizeOn } = config;
  const { batchSize, seed } = withDefaults(config, rewardCommandSettings);
  const adapters = LORA.find((name) => config[name] !== undefined);
  if (adapters !== undefined)
    throw new InputError(
      `${adapters}: a reward model is trained without adapters; leave it out, or keep weights as they are with frozen`,
    );
  const sampled = SAMPLES.find((name) => config[name] !== undefined);
  if (sampled !== undefined) throw new InputError(`${sampled}: a reward model gives scores, not answers; leave it out`);
  requireRewardOptions(config);
  requireValidation(config);

  const { folder } = await gpt2Files(source);
  const tokenizer = await Tokenizer.fromPretrained(source);
  printNotes(memoryNotes(await configOf(source), config, { mayAdapt: false }));
  const model = await rewardModelOf(source, folder, seed, tokenizer.padTokenId ?? tokenizer.eosTokenId);
  const read = (path: string) =>
    readData(config, model.config, (rowOptions) => readPairs(path, tokenizer, { ...rowOptions, margins: true }));
  const pairs = await read(data);
  const validation = config.validation === undefined ? undefined : await read(config.validation);
  const samples =
    normalizeOn === undefined
      ? undefined
      : await readData(config, model.config, (rowOptions) => readCandidates(normalizeOn, tokenizer, rowOptions));
  const steps = stepCount(config, pairs.length, batchSize);
  printNotes(settingNotes('train-reward', config, steps));
  const finish =
    samples &&
    (() => {
      const found = scoreNormalization(model, samples);
      model.normalize(found);
      console.log(
        `normalized: the scores of ${normalizeOn} had mean ${found.mean.toFixed(3)} ` +
          `and standard deviation ${found.deviation.toFixed(3)}`,
      );
    });
  await trainRun<RewardStep, RewardModel>(
    {
      config,
      model,
      steps,
      finish,
      contents: { rows: pairs, validation, model: model.weights.digest(), padTokenId: model.padTokenId },
    },
    (state) => trainReward(model, pairs, config, { validation, state }),
    ({ margin, accuracy }) => `margin ${margin.toFixed(3)}  accuracy ${accuracy.toFixed(2)}`,
  );
}
