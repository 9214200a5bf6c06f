/** The training commands and their help. */
import { command, valuesOf } from './command';
import { ONE_JUDGE } from './judgeSettings';
import {
  dpoCommandSettings,
  grpoCommandSettings,
  ktoCommandSettings,
  onlineDpoCommandSettings,
  ppoCommandSettings,
  rewardCommandSettings,
  sftCommandSettings,
} from './trainSettings';

const training = { config: true, makesFiles: true, exclusive: [['steps', 'epochs']] } as const;
const PAIR_ROWS =
  'Rows are {"prompt", "chosen", "rejected"}, texts or lists of {"role", "content"} messages (without "prompt": what ' +
  'chosen and rejected share), or {"instruction", "input", "chosen", "rejected"}, as JSON lines, a JSON ' +
  'array or Parquet.';
const PROMPT_ROWS =
  'Rows are {"prompt"} or {"instruction", "input"}, as JSON lines, a JSON array or Parquet; further fields are ' +
  'ignored, so rows of pairs will do. Give rewardModel, rewardFunction, or both.';

/** All of them in the list of commands; each one's summary is in its own help. */
export const TRAINING_SUMMARY =
  'Train: train-sft on responses, train-dpo on pairs, train-kto on thumbs up and down, train-reward a reward model, ' +
  'train-ppo and train-grpo on rewards, train-online-dpo on judged samples.';

export const trainCommands = [
  command({
    ...training,
    name: 'train-sft',
    summary: 'Train by supervised fine-tuning on responses or plain texts.',
    details:
      'Rows are {"prompt", "response"}, {"instruction", "input", "output"}, {"messages"} or {"text"}, as JSON lines, ' +
      'a JSON array or Parquet; a prompt may be a list of {"role", "content"} messages. A .txt file is one text. ' +
      'A text longer than maxLength is split, not truncated.',
    settings: sftCommandSettings,
    oneOf: [['steps', 'epochs']],
    example: 'train-sft --model gpt2 --data rows.jsonl --output run --epochs 1 --lr 1e-5',
    load: () => import('./sftCommand.js'),
  }),
  command({
    ...training,
    name: 'train-dpo',
    summary: 'Train by direct preference optimization (DPO) on pairs.',
    details: PAIR_ROWS,
    settings: dpoCommandSettings,
    oneOf: [['steps', 'epochs']],
    example: 'train-dpo --model ./sft/model --data pairs.jsonl --output run --epochs 1 --lr 1e-6',
    load: () => import('./dpoCommand.js'),
  }),
  command({
    ...training,
    name: 'train-kto',
    summary: 'Train by KTO on single responses with a thumb up or down.',
    details:
      'Rows are {"prompt", "completion", "label"}, with label true (desirable) or false, as JSON lines, a JSON array ' +
      'or Parquet; a prompt may be a list of {"role", "content"} messages. Rows of pairs will do: chosen is ' +
      'desirable, rejected is not.',
    settings: ktoCommandSettings,
    oneOf: [['steps', 'epochs']],
    example: 'train-kto --model ./sft/model --data thumbs.jsonl --output run --epochs 1 --lr 1e-6',
    load: () => import('./ktoCommand.js'),
  }),
  command({
    ...training,
    name: 'train-reward',
    summary: 'Train a reward model on pairs.',
    details:
      `${PAIR_ROWS} A row may have a "margin", a number: by how much the score of chosen should exceed that of ` +
      'rejected. The model is a language model, which gets a scalar head drawn from seed, or a reward model, whose ' +
      'training continues.',
    settings: rewardCommandSettings,
    oneOf: [['steps', 'epochs']],
    example: 'train-reward --model gpt2 --data pairs.jsonl --output reward --epochs 1 --lr 1e-5',
    load: () => import('./rewardCommand.js'),
  }),
  command({
    ...training,
    name: 'train-ppo',
    summary: 'Train by proximal policy optimization (PPO) on rewards.',
    details: PROMPT_ROWS,
    settings: ppoCommandSettings,
    oneOf: [
      ['steps', 'epochs'],
      ['rewardModel', 'rewardFunction'],
    ],
    example:
      'train-ppo --model gpt2 --data rows.jsonl --reward-model ./reward/model --output run --steps 100 --lr 1e-6',
    load: () => import('./ppoCommand.js'),
  }),
  command({
    ...training,
    name: 'train-grpo',
    summary: 'Train by GRPO or RLOO on rewards.',
    details: `${PROMPT_ROWS} Or give several rewards by name.`,
    settings: grpoCommandSettings,
    oneOf: [
      ['steps', 'epochs'],
      ['rewardModel', 'rewardFunction', 'rewards'],
    ],
    exclusive: [
      ['steps', 'epochs'],
      ['rewards', 'rewardModel'],
      ['rewards', 'rewardFunction'],
    ],
    example: 'train-grpo --model gpt2 --data rows.jsonl --reward-function reward.js --output run --steps 100 --lr 1e-6',
    load: () => import('./grpoCommand.js'),
  }),
  command({
    ...training,
    name: 'train-online-dpo',
    summary: 'Train by DPO on pairs that are sampled and judged in each step.',
    details:
      `${PROMPT_ROWS} Or give judgeUrl and judgeModel, a chat model that decides each pair; its judgements are kept ` +
      'in judgements.jsonl of the output folder.',
    settings: onlineDpoCommandSettings,
    oneOf: [
      ['steps', 'epochs'],
      ['rewardModel', 'rewardFunction', 'judgeUrl'],
    ],
    exclusive: [...training.exclusive, ...ONE_JUDGE],
    example:
      'train-online-dpo --model gpt2 --data rows.jsonl --reward-model ./reward/model --output run --steps 9 --lr 1e-6',
    load: () => import('./onlineDpoCommand.js'),
  }),
];

/** The setting values of a training command of this kind, as its own config file and options would give them. */
export const trainingOf = (kind: string, given: Readonly<Record<string, string>>): Record<string, unknown> =>
  valuesOf(
    trainCommands.find(({ name }) => name === `train-${kind}`)!,
    given,
  );
