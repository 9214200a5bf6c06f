import { join } from 'node:path';

import { modelFolder } from '../hub/modelFolder';
import { readConfig as readModelConfig } from '../model/config';
import { GPT2 } from '../model/gpt2';
import { initialWeights } from '../model/initialize';
import type { FloatDType } from '../model/safetensorsWriter';
import { Weights } from '../model/weights';
import { Random } from '../random';
import { readResponses } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { trainSft, type TrainOptions } from '../training/trainSft';
import { readData } from './readData';
import { readConfig, required } from './trainConfig';
import { trainRun } from './trainRun';

export const usage = `  train-sft --config FILE
                      supervised fine-tuning; each field of the JSON file is an option, too (--batch-size for batchSize):
      model, data     to train; rows {"prompt", "response"}, {"instruction", "input", "output"} or {"messages"}, as JSON lines or Parquet;
                      a prompt may be a list of {"role", "content"} messages
      output          a folder for metrics.jsonl, checkpoints and at the end model/; the same command goes on from there
      maxLength       the most tokens of a row, default and at most the model's window; what happens to a longer one:
      truncation      refuse (default), prompt-start (the prompt loses tokens there), response-end (and then lacks its end-of-sequence token)
      skipBad         leave out rows that are wrong, each told on the standard error, instead of refusing the file (--skip-bad, or true)
      initialSeed     begin with random weights drawn from it, in the model's sizes, instead of its own
      steps, batchSize 16, accumulation 1, lr, warmupSteps 0, schedule linear|cosine|constant, finalShare 0, seed 0,
      beta1 0.9, beta2 0.999, epsilon 1e-8, weightDecay 0.01, maxGradNorm 1, saveEvery 100, keep 2, dtype F32|F16|BF16`;

/** The settings of every training command. */
export const trainFields = {
  model: 'text', data: 'text', output: 'text', steps: 'number', batchSize: 'number', accumulation: 'number',
  lr: 'number', warmupSteps: 'number', schedule: 'text', finalShare: 'number', seed: 'number', beta1: 'number',
  beta2: 'number', epsilon: 'number', weightDecay: 'number', maxGradNorm: 'number', saveEvery: 'number', keep: 'number',
  dtype: 'text', maxLength: 'number', truncation: 'text', skipBad: 'flag',
} as const; // prettier-ignore

export async function run(args: readonly string[]): Promise<void> {
  const config = readConfig(args, { ...trainFields, initialSeed: 'number' });
  const [source, data, output] = ['model', 'data', 'output'].map((name) => required<string>(config, name)) as [string, string, string];
  const options = { ...config, lr: required<number>(config, 'lr'), steps: required<number>(config, 'steps') } as TrainOptions;

  const sizes = readModelConfig(join(await modelFolder(source), 'config.json'));
  const tokenizer = await Tokenizer.fromPretrained(source);
  const rows = await readData(config, sizes.blockSize, (rowOptions) => readResponses(data, tokenizer, rowOptions));
  const model = config.initialSeed === undefined ? await GPT2.fromPretrained(source) : new GPT2(sizes, Weights.from(initialWeights(sizes, new Random(config.initialSeed)), sizes));
  const { saveEvery = 100, keep = 2, dtype = 'F32' } = config;
  await trainRun(
    { output, model, source, steps: options.steps, saveEvery, keep, dtype: dtype as FloatDType, options, inputs: { ...config, output: undefined, rows } },
    (state) => trainSft(model, rows, options, state),
    ({ tokens, seconds }) => `${(tokens / seconds).toFixed(0)} tokens/s`,
  );
}
