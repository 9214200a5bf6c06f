import { InputError } from '../errors';
import { FLOAT_DTYPES, type FloatDType } from '../formats/safetensorsWriter';
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { lora, type LoraTarget } from '../model/lora';
import { Weights } from '../model/weights';
import { initialWeights } from '../model/weightShapes';
import { Random } from '../random';
import { RANGES } from '../ranges';
import { readResponses } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import type { TrainOptions } from '../training/options';
import { stepCount } from '../training/order';
import { requireSftOptions, trainSft, type SftStep } from '../training/trainSft';
import { requireBestBy } from './bestBy';
import { readData } from './readData';
import { readConfig, required, type FieldRanges, type Values } from './trainConfig';
import { printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { UsageError } from './usage';

export const makesFiles = true;

export const usage = `  train-sft --config FILE
                      supervised fine-tuning; each field of the JSON file is an option, too (--batch-size for batchSize):
      model, data     to train; rows {"prompt", "response"}, {"instruction", "input", "output"} or {"messages"}, as JSON lines or Parquet;
                      a prompt may be a list of {"role", "content"} messages
      output          a folder for metrics.jsonl, checkpoints and at the end model/; the same command goes on from there
      maxLength       the most tokens of a row, default and at most the model's window; what happens to a longer one:
      truncation      refuse (default), prompt-start (the prompt loses tokens there), response-end (and then lacks its end-of-sequence token)
      skipBad         leave out rows that are wrong, each told on the standard error, instead of refusing the file (--skip-bad, or true)
      initialSeed     begin with random weights drawn from it, in the model's sizes, instead of its own
      lr, and steps or epochs (both without a default), batchSize 16, accumulation 1 (must divide batchSize), groupByLength, seed 0,
      warmupSteps 0, schedule linear (or cosine, constant), finalShare 0 (in [0, 1]),
      beta1 0.9, beta2 0.999 (both in [0, 1)), epsilon 1e-8 (above 0), weightDecay 0.01, maxGradNorm 1 (0 does not clip),
      frozen          weights that stay as they are, such as wte,wpe,h.0
      loraRank        train adapters of this rank (LoRA) instead of the weights, which stay as they are; model/ has them merged. With
      loraAlpha 2 x loraRank, loraTargets attn.c_attn (or some of attn.c_attn,attn.c_proj,mlp.c_fc,mlp.c_proj)
      validation      rows that are not trained on, looked at every validateEvery 50 steps and after the last
      bestBy, patience
                      keep the weights that were best in the validation, by loss (the default) or meanTokenAccuracy;
                      stop after so many validations that were no better
      tokenMetrics    also log entropy and token accuracy of each step
      saveEvery 100, keep 2, dtype F32 (or F16, BF16), tensorBoard (also metrics in OUTPUT/tensorboard)`;

/** The settings of every training command. */
export const trainFields = {
  model: 'text',
  data: 'path',
  output: 'path',
  steps: 'number',
  epochs: 'number',
  batchSize: 'number',
  accumulation: 'number',
  groupByLength: 'flag',
  lr: 'number',
  warmupSteps: 'number',
  schedule: 'text',
  finalShare: 'number',
  seed: 'number',
  beta1: 'number',
  beta2: 'number',
  epsilon: 'number',
  weightDecay: 'number',
  maxGradNorm: 'number',
  frozen: 'text',
  loraRank: 'number',
  loraAlpha: 'number',
  loraTargets: 'text',
  validation: 'path',
  validateEvery: 'number',
  bestBy: 'text',
  patience: 'number',
  tokenMetrics: 'flag',
  tensorBoard: 'flag',
  saveEvery: 'number',
  keep: 'number',
  dtype: 'text',
  maxLength: 'number',
  truncation: 'text',
  skipBad: 'flag',
} as const;

export const trainRanges: FieldRanges<typeof trainFields> = { ...RANGES.training, ...RANGES.validated, ...RANGES.run };

export const fields = { ...trainFields, initialSeed: 'number' } as const;
export const ranges: FieldRanges<typeof fields> = { ...trainRanges, ...RANGES.run };

/** What of the settings every trainer takes. */
export function trainOptions(config: Values<typeof trainFields>): TrainOptions {
  const { frozen, ...others } = config;
  const { dtype = 'F32', saveEvery = 1, keep = 1 } = config;
  if (!(FLOAT_DTYPES as readonly string[]).includes(dtype))
    // not after the reference's log-probs
    throw new InputError(`dtype must be one of ${FLOAT_DTYPES.join(', ')}, got "${dtype}"`);
  for (const [name, value] of Object.entries({ saveEvery, keep })) {
    if (!Number.isInteger(value) || value < 1)
      throw new InputError(`${name} must be a whole number from 1 up, got ${value}`);
  }
  if ((config.bestBy ?? config.patience) !== undefined && config.validation === undefined)
    throw new UsageError('bestBy and patience go by the validation: give a file of rows as "validation"');
  return {
    ...(others as Omit<TrainOptions, 'frozen'>),
    lr: required<number>(config, 'lr'),
    ...(frozen !== undefined && { frozen: list(frozen) }),
  };
}

/** The model that is trained: `base` itself, or a view of it with adapters. */
export function trainedModel(
  base: GPT2,
  { loraRank: rank, loraAlpha: alpha, loraTargets, frozen, seed = 0 }: Values<typeof trainFields>,
): GPT2 {
  if (rank === undefined) {
    if ((alpha ?? loraTargets) !== undefined)
      throw new UsageError('loraAlpha and loraTargets are of adapters: give their loraRank, too');
    return base;
  }
  if (frozen !== undefined)
    throw new InputError('loraRank: with adapters all weights stay as they are; leave out frozen');
  const targets = loraTargets === undefined ? undefined : (list(loraTargets) as LoraTarget[]);
  return lora(base, { rank, ...(alpha !== undefined && { alpha }), ...(targets && { targets }) }, new Random(seed));
}

const list = (names: string): string[] => names.split(',').map((name) => name.trim());

/** What of them `trainRun` takes. */
export function runOptions({ saveEvery, keep, dtype, tensorBoard, bestBy, patience }: Values<typeof trainFields>) {
  return {
    saveEvery,
    keep,
    tensorBoard,
    dtype: dtype as FloatDType | undefined,
    ...(bestBy !== undefined && { bestBy }),
    ...(patience !== undefined && { patience }),
  };
}

export async function run(args: readonly string[]): Promise<void> {
  const config = readConfig(args, fields, ranges);
  const [source, data, output] = ['model', 'data', 'output'].map((name) => required<string>(config, name)) as [
    string,
    string,
    string,
  ];
  const options = trainOptions(config);
  requireSftOptions(options);
  requireBestBy('train-sft', config.bestBy);

  const sizes = await configOf(source);
  const tokenizer = await Tokenizer.fromPretrained(source);
  const read = (path: string) => readData(config, sizes, (rowOptions) => readResponses(path, tokenizer, rowOptions));
  const rows = await read(data);
  const validation = config.validation === undefined ? undefined : await read(config.validation);
  const base =
    config.initialSeed === undefined
      ? await GPT2.fromPretrained(source)
      : new GPT2(sizes, Weights.from(initialWeights(sizes, new Random(config.initialSeed)), sizes));
  const model = trainedModel(base, config);
  const steps = stepCount(options, rows.length, options.batchSize ?? 16);
  printNotes(settingNotes('train-sft', config, steps));
  await trainRun<SftStep, GPT2>(
    {
      output,
      model,
      source,
      steps,
      ...runOptions(config),
      options,
      settings: config,
      contents: { rows, validation, model: base.weights.digest() },
    },
    (state) => trainSft(model, rows, options, { validation, state }),
    (metrics) =>
      'seconds' in metrics
        ? `${(metrics.tokens / metrics.seconds).toFixed(0)} tokens/s`
        : `token accuracy ${metrics.meanTokenAccuracy!.toFixed(3)}`,
  );
}
