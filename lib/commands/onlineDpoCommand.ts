/** `alignbook train-online-dpo`: runs the training on what samplingRun.ts prepares. Flags: onlineDpoOptions.ts. */
import { join } from 'node:path';

import type { GPT2 } from '../model/gpt2';
import { withDefaults, type OptionsOf } from '../training/declare';
import { keptJudge } from '../training/keptJudge';
import { stepCount } from '../training/order';
import { requireOnlineDpoOptions, trainOnlineDpo, type OnlineDpoStep } from '../training/trainOnlineDpo';
import { requireValidation } from './answerSettings';
import { loadChatJudge } from './loadJudge';
import { samplingRun } from './samplingRun';
import { printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { onlineDpoCommandSettings } from './trainSettings';

export async function run(config: OptionsOf<typeof onlineDpoCommandSettings>): Promise<void> {
  requireOnlineDpoOptions(config);
  requireValidation(config, { validates: false });
  const { batchSize, concurrency } = withDefaults(config, onlineDpoCommandSettings);
  const chat = loadChatJudge(config);
  const { policy, prompts, contents, liveOf, interruption, reward, ...inputs } = await samplingRun(config);
  const steps = stepCount(config, prompts.length, batchSize);
  printNotes(settingNotes('train-online-dpo', config, steps));
  const live = await liveOf(policy, steps);
  await trainRun<OnlineDpoStep, GPT2>(
    {
      ...{ config, model: policy, steps, live },
      contents: { ...contents, judge: chat?.identity },
      holdsModelBeside: config.referenceEvery !== undefined,
    },
    (state) => {
      const judge = chat && keptJudge(chat.judge, join(config.output, 'judgements.jsonl'), chat.identity);
      const options = { ...config, signal: interruption.signal };
      return trainOnlineDpo(policy, prompts, options, { ...inputs, reward, judge, concurrency, state });
    },
    ({ rewards, ties, sequenceKl, scores }) =>
      `${scores ? `score ${scores.mean.toFixed(3)}  ` : ''}margin ${rewards.margins.toFixed(3)}  ` +
      `ties ${ties.toFixed(2)}  KL ${sequenceKl.toFixed(2)}`,
  );
}
