/** The settings of the training commands that belong to no trainer: inputs, what is kept, and where the output goes. */
import { FLOAT_DTYPES } from '../formats/safetensorsWriter';
import type { HeldDType } from '../model/checkpointWeights';
import type { LoraTarget } from '../model/lora';
import { RANGES } from '../ranges';
import { TRUNCATIONS } from '../text/truncation';
import { choice, choices, flag, list, number, path, repeated, text } from '../training/declare';

const { run } = RANGES;

/** Settings shared by many commands. */
export const model = text({ required: true, group: 'data', help: 'Use this model: tiny, a hub name, or a folder.' });
export const data = path({
  required: true,
  group: 'data',
  value: 'file',
  help: 'Read the rows from this file, or from a data set on the hub: hf:NAME, such as hf:Anthropic/hh-rlhf#test.',
});
/** Which rows a command takes, and where their fields are. */
export const sourceSettings = {
  configName: text({
    group: 'data',
    sameRun: true,
    otherwise: "the data set's default",
    help: 'Take this configuration, also called subset, of a data set on the hub.',
  }),
  map: list({
    group: 'data',
    sameRun: true,
    value: 'FIELD=COLUMN,…',
    help: 'Read a field from a column of another name: prompt=ask,chosen=better.',
  }),
  limit: number(RANGES.rows.limit, { group: 'data', sameRun: true, help: 'Take at most N rows of each file.' }),
  shuffleSeed: number(RANGES.rows.shuffleSeed, {
    group: 'data',
    sameRun: true,
    otherwise: "the file's order",
    help: 'Shuffle the rows of each file by this seed before limit applies.',
  }),
} as const;
export const skipBad = flag({
  group: 'data',
  default: false,
  sameRun: true,
  help: 'Leave out rows that are wrong, and name each on the standard error, instead of refusing the file.',
});
export const dtype = choice(FLOAT_DTYPES, {
  group: 'output',
  default: 'F32',
  sameRun: true,
  help: 'Write the weights in this format.',
});

/** Settings of every training command. */
export const runSettings = {
  model: { ...model, sameRun: true, help: 'Train this model: tiny, a hub name, or a folder.' },
  data: { ...data, sameRun: true },
  ...sourceSettings,
  maxLength: number(run.maxLength, {
    group: 'data',
    otherwise: "the model's window",
    sameRun: true,
    help: 'Allow at most N tokens in a row.',
  }),
  truncation: choice(TRUNCATIONS, {
    group: 'data',
    default: 'refuse',
    sameRun: true,
    help:
      'Refuse a row that is too long, cut its prompt at the start, or cut its response at the end, ' +
      'which then lacks its end-of-sequence token.',
  }),
  skipBad,
  output: path({
    required: true,
    group: 'output',
    sameRun: true,
    value: 'folder',
    help: 'Write metrics.jsonl, checkpoints and at the end model/ here; the same command continues from there.',
  }),
  saveEvery: number(run.saveEvery, {
    group: 'output',
    default: 100,
    sameRun: true,
    help: 'Save a checkpoint every N steps.',
  }),
  keep: number(run.keep, { group: 'output', default: 2, sameRun: true, help: 'Keep the newest N checkpoints.' }),
  dtype,
  tensorBoard: flag({
    group: 'output',
    default: false,
    sameRun: true,
    help: 'Also write the metrics for TensorBoard, in tensorboard/ of the output folder.',
  }),
} as const;

/** The compiler requires new names to be added here; importing the names themselves would load TensorFlow. */
const HELD: Readonly<Record<HeldDType, true>> = { F32: true, BF16: true };
const TARGETS: Readonly<Record<LoraTarget, true>> = {
  'attn.c_attn': true,
  'attn.c_proj': true,
  'mlp.c_fc': true,
  'mlp.c_proj': true,
};

export const loraSettings = {
  loraRank: number(run.loraRank, {
    group: 'model',
    help: 'Train adapters of this rank (LoRA) instead of the weights; model/ has them merged, adapter/ for PEFT.',
  }),
  loraAlpha: number(run.loraAlpha, {
    group: 'model',
    otherwise: 'twice loraRank',
    help: 'Scale the adapters by this over their rank.',
  }),
  loraTargets: choices(Object.keys(TARGETS) as LoraTarget[], {
    group: 'model',
    value: 'names',
    otherwise: 'attn.c_attn',
    help: 'Adapt these matrices of every block.',
  }),
  baseDtype: choice(Object.keys(HELD) as HeldDType[], {
    group: 'model',
    default: 'F32',
    help: 'Hold the blocks under the adapters in this format; BF16 rounds their matrices and halves their memory.',
  }),
  continueAdapter: flag({
    group: 'model',
    default: false,
    help: 'Go on training the adapter that model is, instead of new ones.',
  }),
} as const;

/** The settings of a validation that has these metrics. */
export const validationSettings = (metrics: readonly string[]) =>
  ({
    validation: path({
      group: 'validation',
      value: 'file',
      sameRun: true,
      help: 'Validate on the rows of this file, which are not trained on.',
    }),
    bestBy: choice(metrics, {
      group: 'validation',
      otherwise: 'the last step',
      help:
        'Keep the weights that were best by this metric of the validation: the lowest loss, calibrationError or ' +
        'brier, or the highest of another.',
    }),
    patience: number(run.patience, {
      group: 'validation',
      help: 'Stop after N validations in a row without a better one; bestBy is then loss unless given.',
    }),
  }) as const;

export const initialSeed = number(run.initialSeed, {
  group: 'model',
  help: "Begin with random weights drawn from this seed, in the model's sizes, instead of its own weights.",
});

export const referenceSettings = {
  reference: text({
    group: 'model',
    otherwise: 'model before training',
    sameRun: true,
    help: 'Measure against this reference model.',
  }),
} as const;

export const dpoReferenceSettings = {
  ...referenceSettings,
  liveReference: flag({
    group: 'model',
    default: false,
    help: 'Query the reference in every step instead of computing its log-probs of all pairs first.',
  }),
  referenceCache: path({
    group: 'output',
    value: 'folder',
    otherwise: 'output',
    sameRun: true,
    help: "Keep the reference's log-probs here, where other runs on the same pairs find them.",
  }),
} as const;

export const rewardSourceSettings = {
  rewardModel: text({
    group: 'model',
    sameRun: true,
    help: 'Score responses by this model of train-reward; give this, rewardFunction, or both, whose scores are added.',
  }),
  rewardFunction: path({
    group: 'model',
    value: 'file',
    sameRun: true,
    help:
      'Score responses by this JavaScript module: module.exports takes samples { prompt, text, ids, ended } and ' +
      'returns a list of one number each, or a promise of it.',
  }),
} as const;

export const rewardTermSettings = {
  rewards: repeated({
    group: 'model',
    value: 'NAME=SOURCE',
    sameRun: true,
    help:
      'Score responses by a weighted sum of such rewards, each logged by its name: a JavaScript module or a reward ' +
      'model as SOURCE, or SOURCE:WEIGHT; give this instead of rewardModel and rewardFunction, once for each reward.',
  }),
} as const;

export const normalizeOn = path({
  group: 'output',
  value: 'file',
  sameRun: true,
  help: 'Change the trained model so that its scores of these rows have mean 0 and standard deviation 1.',
});
