/** Notes, one line each, on settings that are allowed but do not do what one may expect. */
import { plural } from '../errors';
import type { preferenceLosses } from '../losses/preferenceLosses';
import type { PromptResponses } from '../text/responseBatch';
import { withDefaults } from '../training/declare';
import { dpoCommandSettings, ktoCommandSettings, TRAININGS } from './trainSettings';

/** The settings of any training command. */
type Settings = Readonly<Record<string, unknown>>;

/**
 * A setting, and the reason why it has no effect, as the end of a sentence; undefined if it has one. `settings` have
 * their defaults.
 */
type Rule = readonly [name: string, why: (settings: Settings) => string | undefined];

const without = (other: string) => (settings: Settings) =>
  settings[other] === undefined ? `without ${other}` : undefined;
const withoutClipping = ({ iterations }: Settings) =>
  iterations === 1 ? 'with iterations 1, where the ratio is 1' : undefined;
const withRloo = ({ algorithm }: Settings) => (algorithm === 'rloo' ? 'with algorithm rloo' : undefined);
const inOneUpdate = ({ ppoEpochs, minibatches }: Settings) =>
  ppoEpochs === 1 && minibatches === 1 ? 'with one update a rollout: ppoEpochs 1 and minibatches 1' : undefined;

const COMMON: readonly Rule[] = [
  ['validateEvery', without('validation')],
  ['greaterIsBetter', ({ bestBy, patience }) => ((bestBy ?? patience) === undefined ? 'without bestBy' : undefined)],
  ...(['samplePrompts', 'samplePrompt'] as const).map((name): Rule => [
    name,
    ({ sampleEvery }) => (sampleEvery === 0 ? 'with sampleEvery 0' : undefined),
  ]),
  ['minLrRatio', ({ schedule }) => (schedule === 'constant' ? 'with schedule constant' : undefined)],
];

const RULES = {
  'train-sft': COMMON,
  'train-kto': COMMON,
  'train-reward': COMMON,
  'train-dpo': [
    ...COMMON,
    [
      'referenceCache',
      ({ liveReference, validation }) =>
        liveReference === true && validation === undefined ? 'with liveReference' : undefined,
    ],
  ],
  'train-ppo': [
    ...COMMON,
    ['klHorizon', without('klTarget')],
    ['clipRange', inOneUpdate],
    ['valueClipRange', inOneUpdate],
  ],
  'train-grpo': [
    ...COMMON,
    ['lossType', withRloo],
    ['klRatio', withRloo],
    ['scaleRewards', withRloo],
    ['level', withRloo],
    ['maskTruncated', withRloo],
    ['skipEqual', withRloo],
    [
      'klRatio',
      ({ klRatio, algorithm, beta }) =>
        klRatio === true && algorithm !== 'rloo' && beta === 0 ? 'with beta 0' : undefined,
    ],
    ['clipRange', withoutClipping],
    ['epsilonHigh', withoutClipping],
  ],
  'train-online-dpo': [...COMMON, ['referenceAlpha', without('referenceEvery')], ['bothOrders', without('judgeUrl')]],
} satisfies Record<Training, readonly Rule[]>;

export type Training = keyof typeof TRAININGS;

/**
 * @param command the command that the settings belong to.
 * @param steps the number of steps that the run will take.
 * @returns sentences without the prefix "note: ".
 */
export function settingNotes(command: Training, settings: Settings, steps: number): string[] {
  const all = withDefaults(settings, TRAININGS[command]);
  const idle = (RULES[command] as readonly Rule[]).flatMap(([name, why]) => {
    const reason = settings[name] === undefined ? undefined : why(all);
    return reason === undefined ? [] : [`${name} has no effect ${reason}`];
  });
  return [...idle, ...rateNotes(all, steps)];
}

/** Notes on the learning rate. As in transformers, none of these cases is refused. */
function rateNotes({ lr, warmupSteps }: { lr?: unknown; warmupSteps: number }, steps: number): string[] {
  if (lr === 0) return ['lr is 0, so nothing is learned'];
  if (steps === 1 && warmupSteps > 0)
    return [
      'the only step is the first of the warm-up, whose learning rate is 0, so nothing is learned; ' +
        'give warmupSteps 0, or more steps',
    ];
  if (warmupSteps > steps)
    return [
      `warmupSteps ${warmupSteps} is more than the ${plural(steps, 'step')}, so the learning rate ` +
        `never reaches lr`,
    ];
  return [];
}

/** Unexpected effects of a loss on pairs in combination with other settings. */
export function lossNotes(name: string, { needs }: (typeof preferenceLosses)['sigmoid'], settings: Settings): string[] {
  const { accumulation, batchSize } = withDefaults(settings, dpoCommandSettings);
  const notes: string[] = [];
  if (settings['reference'] !== undefined && !needs.includes('refChosenLogps'))
    notes.push(`reference has no effect on the loss ${name}, which needs none; it only changes the logged rewards`);
  if (accumulation !== 1 && BY_BATCH.includes(name))
    notes.push(
      `the loss ${name} depends on which pairs are in a part: accumulation ` +
        `${accumulation} trains as batches of ${batchSize / accumulation} would, not of ${batchSize}`,
    );
  return notes;
}

/**
 * Whether KTO's weights make up for unequal counts: the paper wants desirableWeight times the number of desirable rows
 * over the same of undesirable ones between 1 and 4/3 (https://arxiv.org/abs/2402.01306, Eq. 8).
 */
export function balanceNotes(rows: readonly { readonly desirable: boolean }[], settings: Settings): string[] {
  const { desirableWeight, undesirableWeight } = withDefaults(settings, ktoCommandSettings);
  const up = rows.filter(({ desirable }) => desirable).length;
  const down = rows.length - up;
  if (up === 0 || down === 0)
    return [`all ${rows.length} rows are ${up === 0 ? 'undesirable' : 'desirable'}; KTO learns from both kinds`];
  const ratio = (desirableWeight * up) / (undesirableWeight * down);
  if (ratio >= 1 - 1e-9 && ratio <= 4 / 3 + 1e-9) return [];
  const least = (undesirableWeight * down) / up;
  const [from, to] = [least, (4 / 3) * least].map((weight) => Number(weight.toPrecision(3)));
  return [
    `${plural(up, 'desirable row')} and ${plural(down, 'undesirable row')}: the paper suggests a desirableWeight ` +
      `from ${from} to ${to} for these counts`,
  ];
}

/** What `packing` makes of the rows. */
export function packingNote(rows: readonly PromptResponses[], windows: number, maxLength: number): string {
  const tokens = rows.reduce((sum, { promptIds, responses }) => sum + promptIds.length + responses[0]!.length, 0);
  const share = ((100 * tokens) / (windows * maxLength)).toFixed(0);
  return (
    `${plural(rows.length, 'row')} of ${plural(tokens, 'token')} are packed into ${plural(windows, 'window')} of ` +
    `${maxLength}, ${share} % full; batchSize counts windows`
  );
}

/** Losses that sort the batch, or divide by its mean length. */
const BY_BATCH: readonly string[] = ['aot', 'aot_unpaired', 'sft', 'cpo', 'orpo'];

export function printNotes(notes: readonly string[]): void {
  for (const note of notes) console.log(`note: ${note}`);
}
