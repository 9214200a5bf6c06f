/** `alignbook train-sft`: reads prompts with responses and runs the training. Flags: options.ts. */
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { Weights } from '../model/weights';
import { initialWeights } from '../model/weightShapes';
import { Random } from '../random';
import { readResponses } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { withDefaults, type OptionsOf } from '../training/declare';
import { stepCount } from '../training/order';
import { requireSftOptions, trainSft, type SftStep } from '../training/trainSft';
import { UsageError } from './commandLine';
import { readData } from './readData';
import { trainedModel } from './trainedModel';
import { printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { requireValidation, sftCommandSettings } from './trainSettings';

export async function run(config: OptionsOf<typeof sftCommandSettings>): Promise<void> {
  const { model: source, data, validation: validationFile, initialSeed } = config;
  requireSftOptions(config);
  requireValidation(config);
  if (initialSeed !== undefined && config.continueAdapter)
    throw new UsageError('initialSeed draws all weights, and continueAdapter needs those of a model; leave one out');

  const sizes = await configOf(source);
  const tokenizer = await Tokenizer.fromPretrained(source);
  const read = (path: string) =>
    readData(config, sizes, (rowOptions) =>
      readResponses(path, tokenizer, { ...rowOptions, responseField: config.responseField }),
    );
  const rows = await read(data);
  const validation = validationFile === undefined ? undefined : await read(validationFile);
  const base =
    initialSeed === undefined
      ? await GPT2.fromPretrained(source)
      : new GPT2(sizes, Weights.from(initialWeights(sizes, new Random(initialSeed)), sizes));
  const model = await trainedModel(source, base, config);
  const steps = stepCount(config, rows.length, withDefaults(config, sftCommandSettings).batchSize);
  printNotes(settingNotes('train-sft', config, steps));
  await trainRun<SftStep, GPT2>(
    { config, model, steps, contents: { rows, validation, model: base.weights.digest() } },
    (state) => trainSft(model, rows, config, { validation, state }),
    (metrics) =>
      'seconds' in metrics
        ? `${(metrics.tokens / metrics.seconds).toFixed(0)} tokens/s`
        : `token accuracy ${metrics.meanTokenAccuracy!.toFixed(3)}`,
  );
}
