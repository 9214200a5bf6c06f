import type { GPT2 } from '../model/gpt2';
import { withValueHead } from '../model/valueHead';
import { RANGES } from '../ranges';
import { stepCount } from '../training/order';
import {
  ppoAdam,
  requirePolicy,
  requirePpoOptions,
  trainPpo,
  type PpoStep,
  type PpoTrainOptions,
} from '../training/trainPpo';
import { samplingFields, samplingRun, samplingUsage } from './sampling';
import { readConfig, type FieldRanges } from './trainConfig';
import { printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { runOptions, trainOptions, trainRanges } from './trainSft';

export const makesFiles = true;

export const usage = `  train-ppo --config FILE
                      proximal policy optimization; fields as of train-sft (see its --help) but for those of a validation, and
${samplingUsage}
      batchSize 64 (prompts a step), temperature 0.7, ppoEpochs 4, minibatches 1, clipRange 0.2, valueClipRange 0.2, valueCoef 0.1,
      gamma 1, gaeLambda 0.95 (both in [0, 1]), epsilon 1e-5, weightDecay 0
      klCoef 0.05     fixed; or klTarget, a number of nats, to which klCoef (then 0.15 at first) adapts over klHorizon 10000 samples
                      (more than a fifth of batchSize)
      whitenRewards   scale rewards to a standard deviation of 1 (default true)`;

export const fields = {
  ...samplingFields,
  ppoEpochs: 'number',
  minibatches: 'number',
  clipRange: 'number',
  valueClipRange: 'number',
  valueCoef: 'number',
  gamma: 'number',
  gaeLambda: 'number',
  klCoef: 'number',
  klTarget: 'number',
  klHorizon: 'number',
  whitenRewards: 'flag',
} as const;
export const ranges: FieldRanges<typeof fields> = { ...trainRanges, ...RANGES.sampling, ...RANGES.ppo };

export async function run(args: readonly string[]): Promise<void> {
  const config = readConfig(args, fields, ranges);
  const options: PpoTrainOptions = ppoAdam(trainOptions(config));
  requirePpoOptions(options);
  const { policy, prompts, tokenizer, reward, reference, source, output, contents, interruption } =
    await samplingRun(config);
  const steps = stepCount(options, prompts.length, options.batchSize ?? 64);
  printNotes(settingNotes('train-ppo', config, steps));
  requirePolicy(policy, options);
  const model = withValueHead(policy);
  await trainRun<PpoStep, GPT2>(
    { output, model, source, steps, ...runOptions(config), options, settings: config, contents, interruption },
    (state) => trainPpo(model, prompts, options, { tokenizer, reward, reference, state }),
    ({ objective, klCoef, policy: { clipFraction } }) =>
      `score ${objective.scores.toFixed(3)}  KL ${objective.kl.toFixed(2)}  klCoef ${klCoef.toFixed(3)}  clipped ${clipFraction.toFixed(3)}`,
  );
}
