/** `alignbook train-sft`: reads prompts with responses and runs the training. Flags: sftOptions.ts. */
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { Weights } from '../model/weights';
import { initialWeights } from '../model/weightShapes';
import { Random } from '../random';
import { readResponses } from '../text/dataset';
import type { PromptResponses } from '../text/responseBatch';
import { Tokenizer } from '../text/tokenizer';
import { withDefaults, type OptionsOf } from '../training/declare';
import { stepCount } from '../training/order';
import { requireSftOptions, sftWindows, trainSft, type SftStep } from '../training/trainSft';
import { requireValidation } from './answerSettings';
import { UsageError } from './commandLine';
import { LiveAnswers } from './liveAnswers';
import { readData } from './readData';
import { baseModel, trainedModel } from './trainedModel';
import { packingNote, printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { sftCommandSettings } from './trainSettings';

export async function run(config: OptionsOf<typeof sftCommandSettings>): Promise<void> {
  const { model: source, data, validation: validationFile, initialSeed } = config;
  requireSftOptions(config);
  requireValidation(config);
  if (initialSeed !== undefined && config.continueAdapter)
    throw new UsageError('initialSeed draws all weights, and continueAdapter needs those of a model; leave one out');
  if (initialSeed !== undefined && config.baseDtype === 'BF16')
    throw new UsageError('initialSeed draws weights in F32; leave baseDtype out');

  const sizes = await configOf(source);
  const tokenizer = await Tokenizer.fromPretrained(source);
  const texts = new Set<PromptResponses>();
  const onText = (pieces: readonly PromptResponses[]) => pieces.forEach((piece) => texts.add(piece));
  const read = (path: string) =>
    readData(config, sizes, (rowOptions) =>
      readResponses(path, tokenizer, { ...rowOptions, onText, responseField: config.responseField }),
    );
  const rows = await read(data);
  const validation = validationFile === undefined ? undefined : await read(validationFile);
  const base =
    initialSeed === undefined
      ? await baseModel(source, config)
      : new GPT2(sizes, Weights.from(initialWeights(sizes, new Random(initialSeed)), sizes));
  const model = await trainedModel(source, base, config);
  const { batchSize, packing, maxLength = sizes.blockSize } = withDefaults(config, sftCommandSettings);
  const windows = sftWindows(rows, config, sizes.blockSize);
  const steps = stepCount(config, windows.length, batchSize);
  printNotes([
    ...(packing ? [packingNote(rows, windows.length, maxLength)] : []),
    ...settingNotes('train-sft', config, steps),
  ]);
  const asked = (row: PromptResponses) => ({
    promptIds: row.promptIds,
    right: row.responses[0],
    isText: texts.has(row),
  });
  const live = await LiveAnswers.of(config, {
    ...{ model, tokenizer, steps, data: rows.map(asked), interruption: new AbortController() },
    validation: validation?.map(asked),
  });
  await trainRun<SftStep, GPT2>(
    {
      config,
      model,
      steps,
      live,
      // the windows depend on maxLength, which by itself does not make it another run
      contents: { rows, validation, model: base.weights.digest(), windows: packing ? windows : undefined },
    },
    (state) => trainSft(model, rows, config, { validation, state }),
    (metrics) =>
      'seconds' in metrics
        ? `${(metrics.tokens / metrics.seconds).toFixed(0)} tokens/s`
        : `token accuracy ${metrics.meanTokenAccuracy!.toFixed(3)}`,
  );
}
