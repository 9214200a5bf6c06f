/** Loads the judge that a command's settings name. */
import { createHash } from 'node:crypto';

import { InputError } from '../errors';
import { readText } from '../formats/fileBytes';
import type { Encoder } from '../text/batch';
import { chatJudge, JUDGE_TEMPLATE } from '../training/chatJudge';
import { withDefaults, type OptionsOf } from '../training/declare';
import { rewardJudge, type Judge } from '../training/judge';
import { UsageError } from './commandLine';
import { chatJudgeSettings } from './judgeSettings';
import { loadRewards } from './rewardSources';
import type { rewardSourceSettings } from './runSettings';

type RewardConfig = OptionsOf<typeof rewardSourceSettings>;
type ChatConfig = OptionsOf<typeof chatJudgeSettings>;

/** A judge, and a text that names it: another judge has another. */
export interface NamedJudge {
  readonly judge: Judge;
  readonly identity: string;
}

/**
 * The chat judge that the settings name; undefined if they have no `judgeUrl`.
 *
 * @throws UsageError if settings of it are missing or have no use; InputError if the key's variable is not set.
 */
export function loadChatJudge(config: ChatConfig): NamedJudge | undefined {
  const { judgeUrl: url, judgeModel: model, judgeKey: variable, judgeTemplate: file } = config;
  if (url === undefined) {
    const idle = (Object.keys(chatJudgeSettings) as (keyof ChatConfig)[]).find((name) => config[name] !== undefined);
    if (idle !== undefined) throw new UsageError(`${idle} does nothing without judgeUrl; give that, or leave it out`);
    return undefined;
  }
  if (model === undefined) throw new UsageError('judgeUrl needs judgeModel, the name of a model of that service');
  const apiKey = variable === undefined ? undefined : process.env[variable];
  if (variable !== undefined && !apiKey)
    throw new InputError(`judgeKey: the environment variable ${variable} is not set; put the service's key into it`);
  const template = file === undefined ? JUDGE_TEMPLATE : readText(file);
  const timeout = 1000 * withDefaults(config, chatJudgeSettings).judgeTimeout;
  const digest = createHash('sha256').update(template).digest('hex').slice(0, 16);
  return { judge: chatJudge({ url, model, apiKey, template, timeout }), identity: `${model}, question ${digest}` };
}

/** The judge of a command that compares texts. */
export async function loadJudge(
  config: RewardConfig & ChatConfig,
  tokenizer: Encoder,
  longest: number,
): Promise<NamedJudge> {
  const chat = loadChatJudge(config);
  if (chat !== undefined) return chat;
  const { reward, contents } = await loadRewards(config, { longest, remedy: 'give another model' });
  const identity = (['rewardModel', 'rewardFunction'] as const).flatMap((name) =>
    contents[name] === undefined ? [] : [`${name} ${contents[name].slice(0, 16)}`],
  );
  return { judge: rewardJudge(reward!, tokenizer), identity: identity.join(' + ') };
}
