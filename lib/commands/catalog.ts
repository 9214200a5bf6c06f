/** All commands of `npx alignbook`, in the order of the help. This file does not load TensorFlow. */
import { command, type Command } from './command';
import {
  chatSettings,
  completionSettings,
  dataSettings,
  diagnoseSettings,
  doctorSettings,
  downloadSettings,
  evaluateSettings,
  exportSettings,
  generateSettings,
  handoffSettings,
  logpsSettings,
  scoreSettings,
  weightsSettings,
} from './commandSettings';
import { judgeSettings, ONE_JUDGE, winrateSettings } from './judgeSettings';
import { trainCommands } from './trainCommands';

const PAIR_ROWS =
  'Rows are {"prompt", "chosen", "rejected"}, texts or lists of {"role", "content"} messages, or {"instruction", ' +
  '"input", "chosen", "rejected"}, as JSON lines, a JSON array or Parquet; - reads the standard input.';

const JUDGES = ['rewardModel', 'rewardFunction', 'judgeUrl'] as const;

export const catalog: readonly Command[] = [
  command({
    name: 'doctor',
    summary: 'Report what is installed, the device, and what is missing.',
    settings: doctorSettings,
    example: 'doctor',
    load: () => import('./doctorCommand.js'),
  }),
  command({
    name: 'download',
    summary: 'Download a model from the Hugging Face hub.',
    details:
      "The model goes into Hugging Face's cache, shared with Python; the command prints its folder. The first use of " +
      'a name elsewhere downloads it as well.',
    settings: downloadSettings,
    argument: 'model',
    example: 'download gpt2',
    makesFiles: true,
    load: () => import('./downloadCommand.js'),
  }),
  command({
    name: 'weights',
    summary: 'List the tensors of a file or model folder.',
    settings: weightsSettings,
    argument: 'path',
    example: 'weights ./my-gpt2',
    load: () => import('./weightsCommand.js'),
  }),
  command({
    name: 'data',
    summary: 'Show what is understood of a file of rows; run this first.',
    details:
      'Prints the kind and number of the rows, what is wrong with others, the lengths in tokens, what is unusual, ' +
      'and the first rows as the model sees them.',
    settings: dataSettings,
    argument: 'path',
    strict: ['examples'],
    example: 'data pairs.jsonl',
    load: () => import('./dataCommand.js'),
  }),
  command({
    name: 'logps',
    summary: 'Print the log-probs of the tokens of pairs.',
    details: `Prints one JSON line for each row. ${PAIR_ROWS}`,
    settings: logpsSettings,
    strict: ['batchSize'],
    example: 'logps --model tiny --data pairs.jsonl',
    load: () => import('./logpsCommand.js'),
  }),
  command({
    name: 'score',
    summary: 'Score responses with a reward model.',
    details:
      'Prints one JSON line for each row: {"chosen", "rejected"} for the rows of logps, {"score"} for those of ' +
      'train-sft. For pairs, accuracy and calibration follow on the standard error. With --serve, it scores for ' +
      'other programs instead, until it is interrupted.',
    settings: scoreSettings,
    oneOf: [['data', 'serve']],
    strict: ['batchSize', 'port'],
    example: 'score --model ./reward/model --data pairs.jsonl',
    load: () => import('./scoreCommand.js'),
  }),
  command({
    name: 'generate',
    summary: 'Continue a text.',
    settings: generateSettings,
    example: 'generate --model tiny --prompt "Once upon a time" --temperature 0.7',
    load: () => import('./generateCommand.js'),
  }),
  command({
    name: 'chat',
    summary: 'Talk to a model, and compare it with another.',
    details:
      'Streams each answer; Ctrl-C stops it. /compare MODEL shows the answer of another model beside the last one, ' +
      '/help lists all commands. From a pipe, each line is a question.',
    settings: chatSettings,
    example: 'chat --model tiny --temperature 0.7',
    load: () => import('./chatCommand.js'),
  }),
  command({
    name: 'evaluate',
    summary: 'Evaluate a model on pairs and sampled answers.',
    details: `Reports log-probs, and how often the chosen answer is more likely than the rejected one. ${PAIR_ROWS}`,
    settings: evaluateSettings,
    strict: ['prompts', 'samples', 'temperature', 'maxNewTokens', 'seed', 'show', 'batchSize'],
    example: 'evaluate --model ./run/model --reference gpt2 --data pairs.jsonl',
    load: () => import('./evaluateCommand.js'),
  }),
  command({
    name: 'judge',
    summary: 'Make pairs of preferences: a judge compares answers.',
    details:
      'Answers are those of a model, sampled twice, of two models, or of two files. The judge is a reward model, a ' +
      'function, or a chat model. Ties and verdicts that depend on the order are left out.',
    settings: judgeSettings,
    oneOf: [JUDGES],
    exclusive: ONE_JUDGE,
    example: 'judge --model tiny --data prompts.jsonl --reward-model ./reward/model --output pairs.jsonl',
    makesFiles: true,
    load: () => import('./judgeCommand.js'),
  }),
  command({
    name: 'winrate',
    summary: "Say how often one model's answers beat another's.",
    details:
      'Judges as the command judge, and prints the win rate with its 95 % interval, the same at equal lengths, and ' +
      'how often the place of an answer decided. A tie counts as half a win.',
    settings: winrateSettings,
    oneOf: [JUDGES],
    exclusive: ONE_JUDGE,
    example: 'winrate --model ./run/model --against tiny --data prompts.jsonl --reward-model ./reward/model',
    load: () => import('./winrateCommand.js'),
  }),
  ...trainCommands,
  command({
    name: 'diagnose',
    summary: 'Say what looks wrong in the metrics of runs.',
    details:
      'Reads metrics.jsonl, and says what is unusual, with its numbers and what to try; what is fine; and what these ' +
      'metrics cannot tell. The exit status is 0 whether or not something is found, and 1 if a run cannot be read.',
    settings: diagnoseSettings,
    argument: 'runs',
    example: 'diagnose runs/dpo runs/ppo',
    load: () => import('./diagnoseCommand.js'),
  }),
  command({
    name: 'handoff',
    summary: 'Hand a training to TRL, on many processes.',
    details:
      'Writes a folder that continues a training with TRL under torchrun, accelerate, Slurm or Ray, on any number of ' +
      'processes, with equal steps; then compares those steps with its own.',
    settings: handoffSettings,
    strict: ['kind', 'steps'],
    example: 'handoff --config run.json --out ./handoff',
    makesFiles: true,
    load: () => import('./handoffCommand.js'),
  }),
  command({
    name: 'export',
    summary: 'Write a folder that transformers opens.',
    settings: exportSettings,
    strict: ['dtype'],
    example: 'export --model tiny --out ./my-gpt2 --dtype BF16',
    makesFiles: true,
    load: () => import('./exportCommand.js'),
  }),
  command({
    name: 'completion',
    summary: 'Print a completion script for a shell.',
    settings: completionSettings,
    argument: 'shell',
    strict: ['shell'],
    example: 'completion bash >> ~/.bashrc',
    load: async () => {
      const { completionScript } = await import('./completion.js');
      return { run: ({ shell }) => console.log(completionScript(shell, catalog)) };
    },
  }),
];
