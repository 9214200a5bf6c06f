/** The settings of the commands that do not train. */
import { RANGES, whole } from '../ranges';
import { choice, flag, number, path, repeated, text } from '../training/declare';
import { dpoLossSettings } from '../training/dpoOptions';
import { data, dtype, model, skipBad, sourceSettings } from './runSettings';

const { generation, sampling, training } = RANGES;
const batchSize = (by: number, rows: string) =>
  number(training.batchSize, { group: 'output', default: by, help: `Compute N ${rows} at a time.` });
/** Prompts to sample answers for. */
const PROMPTS = 64;
const output = path({
  group: 'output',
  value: 'file',
  otherwise: 'the standard output',
  help: 'Write to this file, all or nothing.',
});

export const doctorSettings = {} as const;
export const downloadSettings = {
  model: text({
    required: true,
    help: 'A name such as gpt2, distilgpt2 or ORGANIZATION/NAME, @REVISION pins one; or a data set, hf:NAME.',
  }),
  configName: sourceSettings.configName,
} as const;
export const weightsSettings = {
  path: path({ required: true, help: 'A safetensors file, or the folder of a model.' }),
} as const;
export const dataSettings = {
  path: path({
    required: true,
    help: 'A file of rows, - for the standard input, or a data set on the hub: hf:NAME.',
  }),
  ...sourceSettings,
  model: text({ group: 'model', default: 'tiny', help: "Count tokens with this model's tokenizer; tiny has GPT-2's." }),
  examples: number(whole(0, 1000), { group: 'output', default: 5, help: 'Print the first N rows, decoded.' }),
} as const;
export const diagnoseSettings = {
  runs: repeated({
    required: true,
    help: 'Output folders of trainings, or their metrics.jsonl. Several runs are also compared in a table.',
  }),
  json: flag({ group: 'output', default: false, help: 'Print the diagnoses as JSON instead of text.' }),
} as const;
export const logpsSettings = {
  model,
  data,
  ...sourceSettings,
  skipBad,
  batchSize: batchSize(8, 'rows'),
  output,
} as const;
export const scoreSettings = {
  ...logpsSettings,
  data: { ...data, required: false as const },
  serve: flag({
    group: 'output',
    default: false,
    help: 'Answer requests over HTTP, POST /score with {"rows": [...]}, instead of scoring a file.',
  }),
  host: text({
    group: 'output',
    default: '127.0.0.1',
    help: 'Listen at this address; one that other machines reach needs a token.',
  }),
  port: number(whole(0, 65_535), {
    group: 'output',
    default: 8900,
    help: 'Listen at this port; 0 takes a free one, which is printed.',
  }),
  tokenFile: path({
    group: 'output',
    value: 'file',
    help: 'Answer only requests that carry the token in this file, as "Authorization: Bearer TOKEN".',
  }),
} as const;
/** How an answer is sampled. */
const answerSettings = {
  maxNewTokens: number(generation.maxNewTokens, { group: 'sampling', default: 64, help: 'End after N tokens.' }),
  temperature: number(generation.temperature, {
    group: 'sampling',
    default: 0,
    help: 'Sample at this temperature; 0 always takes the most likely token.',
  }),
  topK: number(generation.topK, { group: 'sampling', help: 'Sample only among the N most likely tokens.' }),
  topP: number(generation.topP, {
    group: 'sampling',
    help: 'Sample only among the most likely tokens that together reach this probability.',
  }),
  repetitionPenalty: number(generation.repetitionPenalty, {
    group: 'sampling',
    default: 1,
    help: 'Make tokens that are already there less likely; above 1.',
  }),
  stop: repeated({
    group: 'sampling',
    value: 'text',
    help: 'End where this text appears; may be given several times.',
  }),
  seed: number(generation.seed, { group: 'sampling', default: 0, help: 'Seed the draws.' }),
} as const;
export const generateSettings = {
  model: { ...model, group: 'model' },
  prompt: text({ required: true, group: 'data', help: 'Continue this text.' }),
  instruct: flag({
    group: 'data',
    default: false,
    help: "The text is an instruction: write it by the model's chat template, or as the Alpaca prompt.",
  }),
  ...answerSettings,
} as const;
export const chatSettings = {
  model: { ...model, group: 'model', help: 'Talk to this model: tiny, a hub name, or a folder.' },
  history: flag({
    group: 'data',
    otherwise: 'on if the model has a chat template',
    help: 'Show the model the earlier turns; with --no-history, each question stands alone.',
  }),
  ...answerSettings,
} as const;
export const evaluateSettings = {
  model: { ...model, help: 'Evaluate this model: tiny, a hub name, or a folder.' },
  data,
  ...sourceSettings,
  reference: text({
    group: 'model',
    help: 'Compare with this model, from which the other was trained: adds loss, reward accuracy and margin, and KL.',
  }),
  loss: { ...dpoLossSettings.loss, help: 'Report this loss; needs a reference.' },
  beta: dpoLossSettings.beta,
  labelSmoothing: dpoLossSettings.labelSmoothing,
  rewardModel: text({ group: 'model', help: "Also report this reward model's mean score of the sampled answers." }),
  prompts: number(whole(0), {
    group: 'sampling',
    default: PROMPTS,
    otherwise: `${PROMPTS}, or all if there are fewer`,
    help: 'Sample answers for N prompts, drawn at random; 0 samples none.',
  }),
  samples: number(whole(1), { group: 'sampling', default: 1, help: 'Sample N answers for each of these prompts.' }),
  temperature: number(
    { ...sampling.temperature, least: 0, most: Infinity },
    { group: 'sampling', default: 1, help: 'Sample at this temperature.' },
  ),
  maxNewTokens: number(whole(1), { group: 'sampling', default: 64, help: 'End an answer after N tokens.' }),
  seed: number(whole(0, Number.MAX_SAFE_INTEGER), { group: 'sampling', default: 0, help: 'Seed the draws.' }),
  show: number(whole(0), { group: 'output', default: 3, help: 'Show the most likely answers for N pairs.' }),
  batchSize: batchSize(16, 'pairs'),
  skipBad,
  output: path({
    group: 'output',
    value: 'file',
    help: 'Also write the report to this file, as JSON with all answers.',
  }),
  json: flag({ group: 'output', default: false, help: 'Print the report as JSON instead of text.' }),
} as const;
export const handoffSettings = {
  config: path({
    group: 'data',
    value: 'file',
    help: 'Hand over the training of this JSON file, as train-dpo or another training command takes it.',
  }),
  kind: choice(['dpo', 'sft', 'reward', 'grpo', 'ppo'], {
    group: 'data',
    default: 'dpo',
    help:
      'Take the file as one of train-dpo, train-sft, train-reward or train-grpo, whose steps are not compared. For ' +
      'PPO, TRL has no trainer.',
  }),
  steps: number(whole(1), {
    group: 'data',
    default: 20,
    help: 'Take the first N steps here as well, for the comparison.',
  }),
  out: path({ group: 'output', value: 'folder', help: 'Write model, rows, settings and train.py to this folder.' }),
  check: path({ group: 'validation', value: 'file', help: 'Compare this trajectory.json of train.py.' }),
  against: path({ group: 'validation', value: 'folder', help: 'Compare it with the steps in this folder.' }),
} as const;
export const exportSettings = {
  model: { ...model, help: 'Export this language or reward model: tiny, a hub name, or a folder.' },
  out: path({ required: true, group: 'output', value: 'folder', help: 'Write the model to this folder.' }),
  dtype,
  force: flag({ group: 'output', default: false, help: 'Replace the model folder that is there.' }),
} as const;
export const completionSettings = {
  shell: choice(['bash', 'zsh', 'fish'], { required: true, help: 'The shell to print a script for.' }),
} as const;
