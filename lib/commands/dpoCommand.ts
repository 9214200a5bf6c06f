/** `alignbook train-dpo`: reads pairs, has the reference score them, and runs the training. Flags: dpoOptions.ts. */
import { plural } from '../errors';
import { preferenceLosses } from '../losses/preferenceLosses';
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { largest } from '../ranges';
import { longestText, type PairIds } from '../text/batch';
import { readPairs } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { requireWindow } from '../training/checks';
import { withDefaults, type OptionsOf } from '../training/declare';
import { stepCount } from '../training/order';
import { keptReferenceLogps } from '../training/reference';
import { requireDpoOptions, trainDpo, type DpoInputs, type DpoStep } from '../training/trainDpo';
import { requireValidation } from './answerSettings';
import { LiveAnswers } from './liveAnswers';
import { readData } from './readData';
import { statusLine } from './terminal';
import { baseModel, trainedModel } from './trainedModel';
import { lossNotes, printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { dpoCommandSettings } from './trainSettings';

export async function run(config: OptionsOf<typeof dpoCommandSettings>): Promise<void> {
  const { batchSize, loss, liveReference } = withDefaults(config, dpoCommandSettings);
  const { model: source, data, output, reference: referenceName = source, referenceCache = output } = config;
  requireDpoOptions(config);
  requireValidation(config);

  const sizes = await configOf(source);
  const tokenizer = await Tokenizer.fromPretrained(source);
  const read = (path: string) => readData(config, sizes, (rowOptions) => readPairs(path, tokenizer, rowOptions));
  const pairs = await read(data);
  const validation = config.validation === undefined ? undefined : await read(config.validation);
  const steps = stepCount(config, pairs.length, batchSize);
  printNotes([...settingNotes('train-dpo', config, steps), ...lossNotes(loss, preferenceLosses[loss], config)]);
  // The reference is the model before a checkpoint replaces its weights; with adapters, its weights never change.
  const base = await baseModel(source, config);
  const model = await trainedModel(source, base, config);
  const reference =
    referenceName === source && (model !== base || !liveReference) ? base : await GPT2.fromPretrained(referenceName);
  const longest = largest([...pairs, ...(validation ?? [])].map(longestText));
  requireWindow('reference', referenceName, reference.config, longest, 'give maxLength, or another reference');
  const logps = (of: readonly PairIds[]) => {
    const kept = keptReferenceLogps(referenceCache, reference, of, {
      onProgress: (done) => statusLine(`log-probs of the reference: ${done} of ${plural(of.length, 'pair')}`),
    });
    statusLine('');
    return kept;
  };
  const inputs: DpoInputs = {
    reference: liveReference ? reference : logps(pairs),
    validation: validation && { pairs: validation, reference: logps(validation) },
  };
  const [begun, referenceDigest] = [base, reference].map(({ weights }) => weights.digest());
  const contents = {
    rows: pairs,
    validation,
    model: begun,
    reference: referenceDigest,
    referenceLogps: liveReference ? undefined : [inputs.reference, inputs.validation?.reference],
  };
  if (reference !== base && !liveReference) reference.dispose();
  const live = await LiveAnswers.of(config, {
    ...{ model, tokenizer, steps, data: pairs, interruption: new AbortController() },
    validation: validation?.map(({ promptIds, chosenIds }) => ({ promptIds, right: chosenIds })),
  });
  await trainRun<DpoStep, GPT2>(
    { config, model, steps, contents, live },
    (state) => trainDpo(model, pairs, config, { ...inputs, state }),
    ({ rewards }) => `margin ${rewards.margins.toFixed(3)}  accuracy ${rewards.accuracies.toFixed(2)}`,
  );
}
