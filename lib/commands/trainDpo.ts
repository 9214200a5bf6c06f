import { join } from 'node:path';

import { modelFolder } from '../hub/modelFolder';
import { readConfig as readModelConfig } from '../model/config';
import { GPT2 } from '../model/gpt2';
import type { FloatDType } from '../model/safetensorsWriter';
import { readPairs } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { referenceLogps, trainDpo, type DpoTrainOptions } from '../training/trainDpo';
import { readData } from './readData';
import { readConfig, required } from './trainConfig';
import { trainRun } from './trainRun';
import { trainFields } from './trainSft';
import { progress } from './usage';

export const usage = `  train-dpo --config FILE
                      direct preference optimization; fields as of train-sft, rows {"prompt", "chosen", "rejected"}, texts or lists of messages
                      (without "prompt": what chosen and rejected share), or {"instruction", "input", "chosen", "rejected"}, and
      loss sigmoid    sigmoid (DPO), ipo, hinge, robust, cdpo, simpo, orpo, … : one of preferenceLosses, with its options
                      beta, labelSmoothing, divergence, divergenceAlpha, discopopTau, gamma, nllCoef`;

const lossFields = {
  loss: 'text', divergence: 'text', beta: 'number', labelSmoothing: 'number', divergenceAlpha: 'number', discopopTau: 'number', gamma: 'number',
  nllCoef: 'number',
} as const; // prettier-ignore

export async function run(args: readonly string[]): Promise<void> {
  const config = readConfig(args, { ...trainFields, ...lossFields });
  const [source, data, output] = ['model', 'data', 'output'].map((name) => required<string>(config, name)) as [string, string, string];
  const options = { ...config, lr: required<number>(config, 'lr'), steps: required<number>(config, 'steps') } as DpoTrainOptions;

  const { blockSize } = readModelConfig(join(await modelFolder(source), 'config.json'));
  const tokenizer = await Tokenizer.fromPretrained(source);
  const pairs = await readData(config, blockSize, (rowOptions) => readPairs(data, tokenizer, rowOptions));
  const model = await GPT2.fromPretrained(source);
  // Of the model as it comes, before a checkpoint replaces its weights.
  const reference = referenceLogps(model, pairs, { onProgress: (done) => progress(`log-probs of the reference: ${done} of ${pairs.length} pairs`) });
  progress('');
  const { saveEvery = 100, keep = 2, dtype = 'F32' } = config;
  await trainRun(
    { output, model, source, steps: options.steps, saveEvery, keep, dtype: dtype as FloatDType, options, inputs: { ...config, output: undefined, pairs } },
    (state) => trainDpo(model, pairs, options, { reference, state }),
    ({ rewards }) => `margin ${rewards.margins.toFixed(3)}  accuracy ${rewards.accuracies.toFixed(2)}`,
  );
}
