/** `alignbook train-kto`: reads labeled responses and runs the training. Flags: ktoOptions.ts. */
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { largest } from '../ranges';
import { readLabeled } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { requireWindow } from '../training/checks';
import { withDefaults, type OptionsOf } from '../training/declare';
import { stepCount } from '../training/order';
import { requireKtoOptions, trainKto, type KtoStep } from '../training/trainKto';
import { requireValidation } from './answerSettings';
import { LiveAnswers } from './liveAnswers';
import { readData } from './readData';
import { baseModel, trainedModel } from './trainedModel';
import { balanceNotes, printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { ktoCommandSettings } from './trainSettings';

export async function run(config: OptionsOf<typeof ktoCommandSettings>): Promise<void> {
  const { model: source, data, reference: referenceName = source } = config;
  requireKtoOptions(config);
  requireValidation(config);

  const sizes = await configOf(source);
  const tokenizer = await Tokenizer.fromPretrained(source);
  const read = (path: string) => readData(config, sizes, (rowOptions) => readLabeled(path, tokenizer, rowOptions));
  const rows = await read(data);
  const validation = config.validation === undefined ? undefined : await read(config.validation);
  const steps = stepCount(config, rows.length, withDefaults(config, ktoCommandSettings).batchSize);
  printNotes([...settingNotes('train-kto', config, steps), ...balanceNotes(rows, config)]);
  const base = await baseModel(source, config, { reference: true });
  const model = await trainedModel(source, base, config);
  // with adapters the base does not change, so it is the reference
  const reference = referenceName === source && model !== base ? base : await GPT2.fromPretrained(referenceName);
  const longest = largest(
    [...rows, ...(validation ?? [])].map(({ promptIds, responseIds }) => promptIds.length + responseIds.length),
  );
  requireWindow('reference', referenceName, reference.config, longest, 'give maxLength, or another reference');
  const contents = { rows, validation, model: base.weights.digest(), reference: reference.weights.digest() };
  const live = await LiveAnswers.of(config, {
    ...{ model, tokenizer, steps, data: rows, interruption: new AbortController() },
    validation: validation?.map(({ promptIds, responseIds, desirable }) => ({
      promptIds,
      right: desirable ? responseIds : undefined,
    })),
  });
  await trainRun<KtoStep, GPT2>(
    { config, model, steps, contents, live },
    (state) => trainKto(model, rows, config, { reference, validation, state }),
    ({ kl, rewards: { margins } }) =>
      `kl ${kl.toFixed(3)}${margins === undefined ? '' : `  margin ${margins.toFixed(3)}`}`,
  );
}
