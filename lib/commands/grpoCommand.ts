/** `alignbook train-grpo`: runs the training on what samplingRun.ts prepares. Flags: grpoOptions.ts. */
import type { GPT2 } from '../model/gpt2';
import { withDefaults, type OptionsOf } from '../training/declare';
import { stepCount } from '../training/order';
import { requireGrpoOptions, trainGrpo, type GrpoStep } from '../training/trainGrpo';
import { samplingRun } from './samplingRun';
import { printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { grpoCommandSettings } from './trainSettings';

export async function run(config: OptionsOf<typeof grpoCommandSettings>): Promise<void> {
  requireGrpoOptions(config);
  const { policy, prompts, contents, interruption, ...inputs } = await samplingRun(config);
  const steps = stepCount(config, prompts.length, withDefaults(config, grpoCommandSettings).batchSize);
  printNotes(settingNotes('train-grpo', config, steps));
  await trainRun<GrpoStep, GPT2>(
    { config, model: policy, steps, contents, interruption },
    (state) => trainGrpo(policy, prompts, config, { ...inputs, state }),
    ({ scores, sequenceKl, eosCount }) =>
      `score ${scores.mean.toFixed(3)}  KL ${sequenceKl.toFixed(2)}  ended ${eosCount}`,
  );
}
