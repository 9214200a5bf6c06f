/** What is handed over of a GRPO training: prompts, settings and reward; its steps cannot be compared. */
import { InputError } from '../errors';
import { promptRow } from '../handoff/write';
import { exportCompanions } from '../model/export';
import { configOf } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { readPrompts } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { withDefaults, type OptionsOf } from '../training/declare';
import { grpoSettings } from '../training/grpoOptions';
import { requireGrpoOptions } from '../training/trainGrpo';
import { notesOf, orderOf, requireEqual, resolved, type HandoffInputs } from './handoffInputs';
import { readData } from './readData';
import type { grpoCommandSettings } from './trainSettings';

/**
 * @throws InputError naming a setting that TRL's GRPOTrainer cannot take; also whatever reading the rows and models
 *   throws.
 */
export async function grpoInputs(values: Readonly<Record<string, unknown>>): Promise<HandoffInputs> {
  requireEqual('grpo', values);
  const config = values as unknown as OptionsOf<typeof grpoCommandSettings>;
  const { model: source, maxNewTokens, batchSize, groupSize } = withDefaults(config, grpoSettings);
  requireGrpoOptions(config);
  if (config.algorithm === 'rloo')
    throw new InputError("algorithm: train.py runs TRL's GRPOTrainer; leave it out, or train RLOO by train-grpo");
  const code = (['rewardFunction', 'rewards'] as const).find((name) => config[name] !== undefined);
  if (code !== undefined)
    throw new InputError(
      `${code}: train.py cannot run JavaScript; give a rewardModel alone, and write the function into reward.py`,
    );
  if (config.skipEqual === true) throw new InputError('skipEqual: TRL has no such setting; leave it out');
  if (config.reference !== undefined && config.reference !== source)
    throw new InputError('reference: TRL takes the model before training; leave it out');
  const tokenizer = await Tokenizer.fromPretrained(source);
  const sizes = await configOf(source);
  const missing = tokenizer.missingIds(sizes.vocabSize).length;
  if (missing > 0)
    throw new InputError(
      `model: ${missing} ids of its embedding have no token, and TRL would sample them; resize the embedding`,
    );
  const prompts = await readData(config, sizes, (rowOptions) =>
    readPrompts(config.data, tokenizer, { ...rowOptions, maxNewTokens }),
  );
  const model = await GPT2.fromPretrained(source);
  const { steps, order } = orderOf(config, prompts, ({ length }) => length);
  return {
    kind: 'grpo',
    settings: { ...resolved(grpoSettings, config), steps, oneProcess: false },
    rows: prompts.map(promptRow),
    order,
    model,
    companions: await exportCompanions(model, source),
    notes: [
      ...notesOf(config, batchSize * groupSize),
      `the reward is asked from a server: npx alignbook score --serve --model ${config.rewardModel}`,
      'nothing is compared: samples, and with them the steps, depend on the number of processes',
    ],
    train: async function* () {},
  };
}
