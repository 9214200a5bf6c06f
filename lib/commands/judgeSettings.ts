/** The settings of a judge, and of the commands that compare two models' responses. */
import { RANGES, whole } from '../ranges';
import { flag, number, path, text } from '../training/declare';
import { onlineDpoSettings } from '../training/onlineDpoOptions';
import { samplingSettings } from '../training/ppoOptions';
import { data, rewardSourceSettings, skipBad, sourceSettings } from './runSettings';

/** A judge that is a chat model behind an OpenAI-compatible address. */
export const chatJudgeSettings = {
  judgeUrl: text({
    group: 'model',
    sameRun: true,
    help: 'Ask the chat model at this OpenAI-compatible address, such as http://127.0.0.1:11434/v1 for Ollama.',
  }),
  judgeModel: text({ group: 'model', help: 'Ask this model of the service at judgeUrl.' }),
  judgeKey: text({
    group: 'model',
    value: 'variable',
    sameRun: true,
    help: 'Send the key in the environment variable of this name to judgeUrl.',
  }),
  judgeTemplate: path({
    group: 'model',
    value: 'file',
    sameRun: true,
    otherwise: "MT-Bench's, shortened",
    help: 'Ask with this text, in which {prompt}, {a} and {b} are filled in; [[A]], [[B]] or [[C]] must end an answer.',
  }),
  judgeTimeout: number(whole(1, 3600), {
    group: 'model',
    default: 60,
    sameRun: true,
    help: 'Ask again after N seconds without an answer.',
  }),
  concurrency: number(RANGES.judging.concurrency, {
    group: 'model',
    default: 4,
    sameRun: true,
    help: 'Have N questions open at judgeUrl at the same time.',
  }),
} as const;

const { temperature, maxNewTokens } = samplingSettings;

export const judgeSettings = {
  data: { ...data, required: false as const, help: 'Answer the prompts of this file, or of a data set: hf:NAME.' },
  ...sourceSettings,
  skipBad,
  model: text({ group: 'model', help: 'Compare the answers of this model: tiny, a hub name, or a folder.' }),
  against: text({
    group: 'model',
    otherwise: 'model, sampled twice',
    help: 'Compare them with the answers of this one.',
  }),
  answers: path({
    group: 'data',
    value: 'file',
    help: 'Compare the responses of this file, {"prompt", "response"}, instead of those of a model.',
  }),
  otherAnswers: path({
    group: 'data',
    value: 'file',
    help: 'Compare them with the responses of this file, to the same prompts in the same order.',
  }),
  temperature: { ...temperature, help: 'Sample at this temperature.' },
  maxNewTokens,
  seed: number(RANGES.generation.seed, { group: 'sampling', default: 0, help: 'Seed the draws.' }),
  ...rewardSourceSettings,
  ...chatJudgeSettings,
  bothOrders: onlineDpoSettings.bothOrders,
  output: path({
    required: true,
    group: 'output',
    value: 'file',
    help: 'Write the pairs to this file; each judgement is kept beside it, and the same command goes on from there.',
  }),
} as const;

export const winrateSettings = {
  ...judgeSettings,
  against: text({ group: 'model', help: 'Compare them with the answers of this model.' }),
  output: path({
    group: 'output',
    value: 'file',
    help: 'Write the report to this file as JSON; each judgement is kept beside it, for the same command run again.',
  }),
  json: flag({ group: 'output', default: false, help: 'Print the report as JSON instead of text.' }),
} as const;

/** Groups of judges that exclude each other. */
export const ONE_JUDGE = [
  ['judgeUrl', 'rewardModel'],
  ['judgeUrl', 'rewardFunction'],
] as const;
