/** `alignbook train-ppo`: runs the training on what samplingRun.ts prepares. Flags: ppoOptions.ts. */
import type { GPT2 } from '../model/gpt2';
import { withValueHead } from '../model/valueHead';
import { withDefaults, type OptionsOf } from '../training/declare';
import { stepCount } from '../training/order';
import type { Reward } from '../training/rewards';
import { requirePolicy, requirePpoOptions, trainPpo, type PpoStep } from '../training/trainPpo';
import { requireValidation } from './answerSettings';
import { samplingRun } from './samplingRun';
import { printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import { ppoCommandSettings } from './trainSettings';

export async function run(config: OptionsOf<typeof ppoCommandSettings>): Promise<void> {
  requirePpoOptions(config);
  requireValidation(config, { validates: false });
  const options = withDefaults(config, ppoCommandSettings);
  const { policy, prompts, contents, liveOf, interruption: _, ...inputs } = await samplingRun<Reward>(config);
  const steps = stepCount(config, prompts.length, options.batchSize);
  printNotes(settingNotes('train-ppo', config, steps));
  requirePolicy(policy, config);
  const model = withValueHead(policy);
  await trainRun<PpoStep, GPT2>(
    { config, adam: options, model, steps, contents, live: await liveOf(model, steps) },
    (state) => trainPpo(model, prompts, config, { ...inputs, state }),
    ({ objective, klCoef, policy: { clipFraction } }) =>
      `score ${objective.scores.toFixed(3)}  KL ${objective.kl.toFixed(2)}  ` +
      `klCoef ${klCoef.toFixed(3)}  clipped ${clipFraction.toFixed(3)}`,
  );
}
