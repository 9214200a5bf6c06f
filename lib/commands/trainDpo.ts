import { preferenceLosses, type PreferenceLossName } from '../losses/preferenceLosses';
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { RANGES } from '../ranges';
import type { PairIds } from '../text/batch';
import { readPairs } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { requireWindow } from '../training/checks';
import { stepCount } from '../training/order';
import { keptReferenceLogps } from '../training/reference';
import { requireDpoOptions, trainDpo, type DpoInputs, type DpoStep, type DpoTrainOptions } from '../training/trainDpo';
import { requireBestBy } from './bestBy';
import { readData } from './readData';
import { readConfig, required, type FieldRanges } from './trainConfig';
import { lossNotes, printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { runOptions, trainedModel, trainFields, trainOptions, trainRanges } from './trainSft';
import { progress } from './usage';

export const makesFiles = true;

export const usage = `  train-dpo --config FILE
                      direct preference optimization; fields as of train-sft (see its --help), rows {"prompt", "chosen", "rejected"}, texts or lists
                      of messages (without "prompt": what chosen and rejected share), or {"instruction", "input", "chosen", "rejected"}, and
      loss sigmoid    sigmoid (DPO), ipo, hinge, robust, cdpo, simpo, orpo, … : one of preferenceLosses, with its options
                      beta 0.1 (above 0; simpo 2), labelSmoothing 0 (in [0, 0.5); cdpo, robust 0.1, exo_pair 0.001), divergence reverse_kl,
                      divergenceAlpha 0.5 (in (0, 1), of divergence alpha), discopopTau 0.05 (in (0, 1]), gamma 1 (simpo), nllCoef 1 (cpo)
      reference       the model that it is held to (default: model, as it is before training); its log-probs of all pairs are
                      computed first and kept in referenceCache (default: output), where other runs on the same find them
      liveReference   ask the reference for each batch instead, as long data and few steps would have it
      bestBy          also rewards/accuracies, rewards/margins`;

export const fields = {
  ...trainFields,
  loss: 'text',
  divergence: 'text',
  beta: 'number',
  labelSmoothing: 'number',
  divergenceAlpha: 'number',
  discopopTau: 'number',
  gamma: 'number',
  nllCoef: 'number',
  reference: 'text',
  liveReference: 'flag',
  referenceCache: 'path',
} as const;
export const ranges: FieldRanges<typeof fields> = { ...trainRanges, ...RANGES.pairs };

export async function run(args: readonly string[]): Promise<void> {
  const config = readConfig(args, fields, ranges);
  const [source, data, output] = ['model', 'data', 'output'].map((name) => required<string>(config, name)) as [
    string,
    string,
    string,
  ];
  const { reference: referenceName = source, liveReference = false, referenceCache = output } = config;
  const options = trainOptions(config) as DpoTrainOptions;
  requireDpoOptions(options);
  requireBestBy('train-dpo', config.bestBy);

  const sizes = await configOf(source);
  const tokenizer = await Tokenizer.fromPretrained(source);
  const read = (path: string) => readData(config, sizes, (rowOptions) => readPairs(path, tokenizer, rowOptions));
  const pairs = await read(data);
  const validation = config.validation === undefined ? undefined : await read(config.validation);
  const steps = stepCount(options, pairs.length, options.batchSize ?? 16);
  const loss = (config.loss ?? 'sigmoid') as PreferenceLossName;
  printNotes([...settingNotes('train-dpo', config, steps), ...lossNotes(loss, preferenceLosses[loss], config)]);
  // Of the model as it comes, before a checkpoint replaces its weights; with adapters it remains so.
  const base = await GPT2.fromPretrained(source);
  const model = trainedModel(base, config);
  const reference =
    referenceName === source && (model !== base || !liveReference) ? base : await GPT2.fromPretrained(referenceName);
  const longest = [...pairs, ...(validation ?? [])].reduce(
    (most, { promptIds, chosenIds, rejectedIds }) =>
      Math.max(most, promptIds.length + Math.max(chosenIds.length, rejectedIds.length)),
    0,
  );
  requireWindow('reference', referenceName, reference.config, longest, 'give maxLength, or another reference');
  const logps = (of: readonly PairIds[]) => {
    const kept = keptReferenceLogps(referenceCache, reference, of, {
      onProgress: (done) => progress(`log-probs of the reference: ${done} of ${of.length} pairs`),
    });
    progress('');
    return kept;
  };
  const inputs: DpoInputs = {
    reference: liveReference ? reference : logps(pairs),
    validation: validation && { pairs: validation, reference: logps(validation) },
  };
  const [begun, held] = [base, reference].map(({ weights }) => weights.digest());
  const contents = {
    rows: pairs,
    validation,
    model: begun,
    reference: held,
    referenceLogps: liveReference ? undefined : [inputs.reference, inputs.validation?.reference],
  };
  if (reference !== base && !liveReference) reference.dispose();
  await trainRun<DpoStep, GPT2>(
    { output, model, source, steps, ...runOptions(config), options, settings: config, contents },
    (state) => trainDpo(model, pairs, options, { ...inputs, state }),
    ({ rewards }) => `margin ${rewards.margins.toFixed(3)}  accuracy ${rewards.accuracies.toFixed(2)}`,
  );
}
