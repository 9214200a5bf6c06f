import type { GPT2 } from '../model/gpt2';
import { RANGES } from '../ranges';
import { stepCount } from '../training/order';
import { requireGrpoOptions, trainGrpo, type GrpoStep, type GrpoTrainOptions } from '../training/trainGrpo';
import { samplingFields, samplingRun, samplingUsage } from './sampling';
import { readConfig, type FieldRanges } from './trainConfig';
import { printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { runOptions, trainOptions, trainRanges } from './trainSft';

export const makesFiles = true;

export const usage = `  train-grpo --config FILE
                      group relative policy optimization, or RLOO; fields as of train-sft (see its --help) but for those of a validation, and
${samplingUsage}
      batchSize 16 (prompts a step), groupSize 8 (samples a prompt), temperature 1, iterations 1 (updates a step), clipRange 0.2 (counts from iterations 2 up)
      algorithm grpo  or rloo
      beta 0.04       (from 0 up) what a nat of KL costs; klRatio (KL's term times the ratio); lossType grpo (or dapo, dr_grpo)
      scaleRewards    divide advantages by their group's standard deviation (default true)`;

export const fields = {
  ...samplingFields,
  groupSize: 'number',
  iterations: 'number',
  clipRange: 'number',
  algorithm: 'text',
  beta: 'number',
  klRatio: 'flag',
  lossType: 'text',
  scaleRewards: 'flag',
} as const;
export const ranges: FieldRanges<typeof fields> = { ...trainRanges, ...RANGES.sampling, ...RANGES.grpo };

export async function run(args: readonly string[]): Promise<void> {
  const config = readConfig(args, fields, ranges);
  const options = trainOptions(config) as GrpoTrainOptions;
  requireGrpoOptions(options);
  const { policy, prompts, tokenizer, reward, reference, source, output, contents, interruption } =
    await samplingRun(config);
  const steps = stepCount(options, prompts.length, options.batchSize ?? 16);
  printNotes(settingNotes('train-grpo', config, steps));
  await trainRun<GrpoStep, GPT2>(
    { output, model: policy, source, steps, ...runOptions(config), options, settings: config, contents, interruption },
    (state) => trainGrpo(policy, prompts, options, { tokenizer, reward, reference, state }),
    ({ scores, sequenceKl, eosCount }) =>
      `score ${scores.mean.toFixed(3)}  KL ${sequenceKl.toFixed(2)}  ended ${eosCount}`,
  );
}
