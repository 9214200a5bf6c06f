/** `alignbook train-grpo`: runs the training on what samplingRun.ts prepares. Flags: grpoOptions.ts. */
import type { GPT2 } from '../model/gpt2';
import { withDefaults, type OptionsOf } from '../training/declare';
import { stepCount } from '../training/order';
import type { Reward } from '../training/rewards';
import { requireGrpoOptions, trainGrpo, type GrpoStep } from '../training/trainGrpo';
import { requireValidation } from './answerSettings';
import { samplingRun } from './samplingRun';
import { printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { grpoCommandSettings } from './trainSettings';

export async function run(config: OptionsOf<typeof grpoCommandSettings>): Promise<void> {
  requireGrpoOptions(config);
  requireValidation(config, { validates: false });
  const {
    policy,
    prompts,
    contents,
    liveOf,
    interruption: _,
    reward,
    rewards,
    ...inputs
  } = await samplingRun<Reward>(config);
  const steps = stepCount(config, prompts.length, withDefaults(config, grpoCommandSettings).batchSize);
  printNotes(settingNotes('train-grpo', config, steps));
  await trainRun<GrpoStep, GPT2>(
    { config, model: policy, steps, contents, live: await liveOf(policy, steps) },
    (state) => trainGrpo(policy, prompts, config, { ...inputs, ...(rewards ? { rewards } : { reward }), state }),
    ({ scores, sequenceKl, eosCount }) =>
      `score ${scores.mean.toFixed(3)}  KL ${sequenceKl.toFixed(2)}  ended ${eosCount}`,
  );
}
