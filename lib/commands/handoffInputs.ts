/**
 * Turns a training's settings into what is handed over: rows, their order, every setting resolved, and the steps to
 * compare.
 */
import { InputError, plural } from '../errors';
import type { HandoffKind } from '../handoff/compare';
import { dpoRow, rewardRow, sftRow, type Handoff } from '../handoff/write';
import { preferenceLosses, type PreferenceLossName } from '../losses/preferenceLosses';
import { exportCompanions } from '../model/export';
import { configOf, gpt2Files } from '../model/folder';
import { GPT2 } from '../model/gpt2';
import { largest } from '../ranges';
import { longestText, pairTokens } from '../text/batch';
import { readPairs, readResponses } from '../text/dataset';
import { Tokenizer } from '../text/tokenizer';
import { requireWindow } from '../training/checks';
import { withDefaults, type OptionsOf, type Settings } from '../training/declare';
import { dpoSettings } from '../training/dpoOptions';
import { rowSettings } from '../training/options';
import { batchOrder, stepCount } from '../training/order';
import { referenceLogps } from '../training/reference';
import { rewardSettings } from '../training/rewardOptions';
import { requireDpoOptions, trainDpo } from '../training/trainDpo';
import { requireRewardOptions, trainReward } from '../training/trainReward';
import { requireSftOptions, trainSft } from '../training/trainSft';
import { metricSettings, requireValidation, sampleSettings } from './answerSettings';
import { readData } from './readData';
import { loraSettings } from './runSettings';
import { statusLine } from './terminal';
import { rewardModelOf } from './trainedModel';
import { type dpoCommandSettings, type rewardCommandSettings, type sftCommandSettings } from './trainSettings';

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
  requireEqual(kind, values);
  requireValidation(values);
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
/** Losses whose label smoothing TRL has as well. */
const SMOOTHED: ReadonlySet<string> = new Set<PreferenceLossName>(['robust', 'exo_pair', 'aot', 'aot_unpaired']);
/**
 * Losses that sort the batch or average over its tokens; TRL does this separately for each process's part of the batch.
 */
const WHOLE_BATCH: ReadonlySet<string> = new Set<PreferenceLossName>(['aot', 'aot_unpaired', 'sft']);

async function dpoInputs(config: Values<'dpo'>): Promise<HandoffInputs> {
  const { model: source, reference: referenceName = source, loss = dpoSettings.loss.default } = config;
  requireDpoOptions(config);
  if (!PAIR_BY_PAIR.has(loss) && !WHOLE_BATCH.has(loss))
    throw new InputError(`loss ${loss} has no equal among those of TRL's DPOTrainer; choose another loss`);
  if (config.labelSmoothing && !SMOOTHED.has(loss))
    throw new InputError(
      `labelSmoothing: TRL's ${loss} has none and would train without it; leave it out, or choose robust or exo_pair`,
    );
  const tokenizer = await Tokenizer.fromPretrained(source);
  const pairs = await readData(config, await configOf(source), (options) => readPairs(config.data, tokenizer, options));
  const model = await GPT2.fromPretrained(source);
  const reference = referenceName === source ? model : await GPT2.fromPretrained(referenceName);
  requireWindow(
    'reference',
    referenceName,
    reference.config,
    largest(pairs.map(longestText)),
    'give maxLength, or another reference',
  );
  const refLogps = referenceLogps(reference, pairs, {
    onProgress: (done) => statusLine(`log-probs of the reference: ${done} of ${plural(pairs.length, 'pair')}`),
  });
  statusLine('');
  if (reference !== model) reference.dispose();

  const { steps, order } = orderOf(config, pairs, pairTokens);
  const oneProcess = WHOLE_BATCH.has(loss);
  const given = Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined));
  const { beta, labelSmoothing, divergence, divergenceAlpha, discopopTau } = {
    ...preferenceLosses.discopop.defaults,
    ...preferenceLosses.sigmoid.defaults,
    ...preferenceLosses[loss].defaults, // the others are of no effect on this loss
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
    readResponses(config.data, tokenizer, { ...options, responseField: config.responseField }),
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
  const model = await rewardModelOf(
    source,
    (await gpt2Files(source)).folder,
    withDefaults(config, rewardSettings).seed,
    padTokenId,
  );
  const pairs = await readData(config, model.config, (options) =>
    readPairs(config.data, tokenizer, { ...options, margins: true }),
  );
  const { steps, order } = orderOf(config, pairs, pairTokens);
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
export function resolved(settings: Settings, values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const names = Object.keys(settings).filter((name) => !OWN.some((own) => own === name));
  const all: Readonly<Record<string, unknown>> = withDefaults(values, settings);
  return Object.fromEntries(names.map((name) => [name, all[name]]));
}

/** The number of steps, and the rows of each step in order. */
export function orderOf<Row>(
  config: { steps?: number; epochs?: number; batchSize?: number; seed?: number; groupByLength?: boolean },
  rows: readonly Row[],
  length: (row: Row) => number,
): { steps: number; order: number[] } {
  const { batchSize, seed, groupByLength } = withDefaults(config, rowSettings);
  const steps = stepCount(config, rows.length, batchSize);
  if (steps * batchSize > MOST_PLACES)
    throw new InputError(
      `${steps} steps of ${batchSize} rows are more than the ${MOST_PLACES} places of a handed-over order; lower steps`,
    );
  const batch = batchOrder(rows.length, { batchSize, seed, ...(groupByLength && { lengths: rows.map(length) }) });
  return { steps, order: Array.from({ length: steps }, (_, step) => batch(step)).flat() };
}

/** Refuses settings with which TRL's steps would differ. */
export function requireEqual(kind: Handoff['kind'], values: Readonly<Record<string, unknown>>): void {
  const { frozen, schedule, minLrRatio, initialSeed, packing } = values;
  const adapters = Object.keys(loraSettings).find((name) => values[name] !== undefined);
  if (adapters !== undefined)
    throw new InputError(
      `${adapters}: adapters are drawn at random, and peft would draw others; leave it out` +
        `${kind === 'reward' ? '' : `, or train with adapters by train-${kind}`}`,
    );
  if (frozen !== undefined)
    throw new InputError('frozen: train.py trains every weight; leave it out, or train by alignbook itself');
  if (packing === true)
    throw new InputError('packing: train.py takes rows one by one; leave it out, or train by alignbook itself');
  if (initialSeed !== undefined)
    throw new InputError(
      'initialSeed: train.py begins from a model; write one with train-sft, steps 1 and lr 0, and name that',
    );
  if (minLrRatio !== undefined && minLrRatio !== 0 && (schedule ?? rowSettings.schedule.default) === 'linear')
    throw new InputError(
      'minLrRatio: transformers has no linear schedule that ends above 0; give schedule cosine, or minLrRatio 0',
    );
}

/** Rows in all steps together: order.json then has some 100 MB. */
const MOST_PLACES = 10_000_000;

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
  'gradientCheckpointing',
  'dtype',
  ...Object.keys(sampleSettings),
  ...Object.keys(metricSettings),
] as const;

const batchSizeOf = (config: Readonly<Record<string, unknown>>): number => withDefaults(config, rowSettings).batchSize;

/** @param rows number of rows that are divided among the processes in each step. */
export function notesOf(config: Readonly<Record<string, unknown>>, rows = batchSizeOf(config)): string[] {
  const silent: readonly string[] = ['epochs', 'frozen', 'tokenMetrics'];
  const left = OWN.filter(
    (name) => config[name] !== undefined && !silent.includes(name) && !(name === 'accumulation' && config[name] === 1),
  );
  const divisors = Array.from({ length: rows }, (_, n) => n + 1).filter((n) => rows % n === 0);
  return [
    ...left.map((name) =>
      name === 'accumulation'
        ? 'accumulation is left out: train.py takes --accumulate'
        : `${name} is left out: it belongs to alignbook's own loop`,
    ),
    `a batch of ${rows} rows can be divided among ${divisors.join(', ')} processes (times --accumulate)`,
  ];
}
