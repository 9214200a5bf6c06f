/**
 * Turns a training's settings into what is handed over: rows, their order, every setting resolved, and the steps to
 * compare.
 */
import { InputError } from '../errors';
import type { HandoffKind } from '../handoff/compare';
import { dpoRow, rewardRow, sftRow, type Handoff } from '../handoff/write';
import { preferenceLosses, type PreferenceLossName } from '../losses/preferenceLosses';
import { exportCompanions } from '../model/export';
import { configOf, gpt2Folder } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { readPairs, readResponses } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import type { OptionsOf, Settings } from '../training/declare';
import { rowSettings } from '../training/options';
import { batchOrder, stepCount } from '../training/order';
import { referenceLogps } from '../training/reference';
import { rewardSettings } from '../training/rewardOptions';
import { requireDpoOptions, trainDpo } from '../training/trainDpo';
import { requireRewardOptions, trainReward } from '../training/trainReward';
import { requireSftOptions, trainSft } from '../training/trainSft';
import { readData } from './readData';
import { rewardModelOf } from './trainedModel';
import type { dpoCommandSettings, rewardCommandSettings, sftCommandSettings } from './trainSettings';

type Values<K extends HandoffKind> = OptionsOf<
  { dpo: typeof dpoCommandSettings; sft: typeof sftCommandSettings; reward: typeof rewardCommandSettings }[K]
>;

export interface HandoffInputs extends Omit<Handoff, 'version'> {
  /** Sentences about alignbook's own settings that are left out, and about anything handed over in only one way. */
  readonly notes: readonly string[];
  /** alignbook's own steps from the start; running them changes the model. */
  readonly train: () => AsyncIterable<object>;
}

/**
 * @throws InputError naming a setting that has no equivalent in TRL; also whatever reading the rows and models throws.
 */
export async function handoffInputs(
  kind: HandoffKind,
  values: Readonly<Record<string, unknown>>,
): Promise<HandoffInputs> {
  requireEqual(values);
  if (kind === 'sft') return sftInputs(values as unknown as Values<'sft'>);
  if (kind === 'reward') return rewardInputs(values as unknown as Values<'reward'>);
  return dpoInputs(values as unknown as Values<'dpo'>);
}

/** Losses whose value for a pair depends only on that pair, and which TRL 1.16's trainer defines in the same way. */
const PAIR_BY_PAIR: ReadonlySet<string> = new Set<PreferenceLossName>([
  'sigmoid',
  'robust',
  'hinge',
  'exo_pair',
  'discopop',
  'ipo',
  'sigmoid_norm',
  'nca_pair',
  'bco_pair',
  'sppo_hard',
  'apo_zero',
  'apo_down',
]);
/**
 * Losses that sort the batch or average over its tokens; TRL does this separately for each process's part of the batch.
 */
const WHOLE_BATCH: ReadonlySet<string> = new Set<PreferenceLossName>(['aot', 'aot_unpaired', 'sft']);

async function dpoInputs(config: Values<'dpo'>): Promise<HandoffInputs> {
  const { model: source, reference: referenceName = source, loss = 'sigmoid' } = config;
  requireDpoOptions(config);
  if (!PAIR_BY_PAIR.has(loss) && !WHOLE_BATCH.has(loss))
    throw new InputError(`loss ${loss} has no equal among those of TRL's DPOTrainer; choose another loss`);
  const tokenizer = await Tokenizer.fromPretrained(source);
  const pairs = await readData(config, await configOf(source), (options) => readPairs(config.data, tokenizer, options));
  const model = await GPT2.fromPretrained(source);
  const reference = referenceName === source ? model : await GPT2.fromPretrained(referenceName);
  const refLogps = referenceLogps(reference, pairs);
  if (reference !== model) reference.dispose();

  const { steps, order } = orderOf(config, pairs, ({ promptIds, chosenIds, rejectedIds }) =>
    [promptIds, chosenIds, rejectedIds].reduce((sum, ids) => sum + ids.length, 0),
  );
  const oneProcess = WHOLE_BATCH.has(loss);
  const given = Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined));
  const { beta, labelSmoothing, divergence, divergenceAlpha, discopopTau } = {
    ...{ beta: 0.1, labelSmoothing: 0, divergence: 'reverse_kl', divergenceAlpha: 0.5, discopopTau: 0.05 },
    ...preferenceLosses[loss].defaults,
    ...given,
  };
  return {
    kind: 'dpo',
    settings: {
      ...resolved(rowSettings, config),
      steps,
      oneProcess,
      ...{ loss, beta, labelSmoothing, divergence, divergenceAlpha, discopopTau },
    },
    rows: pairs.map((pair, n) => dpoRow(pair, refLogps[n]!)),
    order,
    model,
    companions: await exportCompanions(model, source),
    notes: [
      ...notesOf(config),
      ...(oneProcess ? [`loss ${loss} depends on the whole batch, so train.py runs it on one process only`] : []),
    ],
    train: () => trainDpo(model, pairs, config, { reference: refLogps }),
  };
}

async function sftInputs(config: Values<'sft'>): Promise<HandoffInputs> {
  const { model: source } = config;
  requireSftOptions(config);
  const tokenizer = await Tokenizer.fromPretrained(source);
  const rows = await readData(config, await configOf(source), (options) =>
    readResponses(config.data, tokenizer, options),
  );
  const model = await GPT2.fromPretrained(source);
  const { steps, order } = orderOf(config, rows, (row) => row.promptIds.length + row.responses[0]!.length);
  return {
    kind: 'sft',
    settings: { ...resolved(rowSettings, config), steps, oneProcess: false },
    rows: rows.map(sftRow),
    order,
    model,
    companions: await exportCompanions(model, source),
    notes: notesOf(config),
    train: () => trainSft(model, rows, config),
  };
}

async function rewardInputs(config: Values<'reward'>): Promise<HandoffInputs> {
  const { model: source } = config;
  requireRewardOptions(config);
  const tokenizer = await Tokenizer.fromPretrained(source);
  const padTokenId = tokenizer.padTokenId ?? tokenizer.eosTokenId;
  const model = await rewardModelOf(source, await gpt2Folder(source), config.seed ?? 0, padTokenId);
  const pairs = await readData(config, model.config, (options) =>
    readPairs(config.data, tokenizer, { ...options, margins: true }),
  );
  const { steps, order } = orderOf(config, pairs, ({ promptIds, chosenIds, rejectedIds }) =>
    [promptIds, chosenIds, rejectedIds].reduce((sum, ids) => sum + ids.length, 0),
  );
  const withMargin = pairs.some(({ margin }) => margin !== undefined);
  return {
    kind: 'reward',
    settings: {
      ...resolved(rewardSettings, config),
      steps,
      oneProcess: false,
      // a model without a padding id reads the score at the very last token
      readBeforeEnd: model.padTokenId === tokenizer.eosTokenId,
    },
    rows: pairs.map((pair) => rewardRow(pair, withMargin)),
    order,
    model,
    companions: await exportCompanions(model, source),
    notes: notesOf(config),
    train: () => trainReward(model, pairs, config),
  };
}

/** The value of every setting, defaults included. */
function resolved(settings: Settings, values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const names = Object.keys(settings).filter((name) => !OWN.some((own) => own === name));
  return Object.fromEntries(names.map((name) => [name, values[name] ?? settings[name]!.default]));
}

/** The number of steps, and the rows of each step in order. */
function orderOf<Row>(
  config: { steps?: number; epochs?: number; batchSize?: number; seed?: number; groupByLength?: boolean },
  rows: readonly Row[],
  length: (row: Row) => number,
): { steps: number; order: number[] } {
  const { batchSize = 16, seed = 0, groupByLength = false } = config;
  const steps = stepCount(config, rows.length, batchSize);
  const batch = batchOrder(rows.length, { batchSize, seed, ...(groupByLength && { lengths: rows.map(length) }) });
  return { steps, order: Array.from({ length: steps }, (_, step) => batch(step)).flat() };
}

/** Refuses settings with which TRL's steps would differ. */
function requireEqual({
  loraRank,
  frozen,
  schedule,
  minLrRatio,
  initialSeed,
}: Readonly<Record<string, unknown>>): void {
  if (loraRank !== undefined)
    throw new InputError(
      'loraRank: adapters are drawn at random, and peft would draw others; leave it out, or train with adapters here',
    );
  if (frozen !== undefined)
    throw new InputError('frozen: train.py trains every weight; leave it out, or train with frozen weights here');
  if (initialSeed !== undefined)
    throw new InputError('initialSeed: begin from a model instead; write one with train-sft and steps 1, lr 0');
  if (minLrRatio !== undefined && minLrRatio !== 0 && (schedule ?? 'linear') === 'linear')
    throw new InputError(
      'minLrRatio: transformers has no linear schedule that ends above 0; give schedule cosine, or minLrRatio 0',
    );
}

/** Settings that affect only alignbook's own loop. */
const OWN = [
  'validation',
  'validateEvery',
  'bestBy',
  'patience',
  'tokenMetrics',
  'tensorBoard',
  'normalizeOn',
  'epochs',
  'frozen',
  'accumulation',
] as const;

function notesOf(config: Readonly<Record<string, unknown>>): string[] {
  const silent: readonly string[] = ['epochs', 'frozen', 'tokenMetrics'];
  return OWN.filter((name) => config[name] !== undefined && !silent.includes(name)).map((name) =>
    name === 'accumulation'
      ? 'accumulation is left out: train.py takes --accumulate'
      : `${name} is left out: it belongs to alignbook's own loop`,
  );
}
