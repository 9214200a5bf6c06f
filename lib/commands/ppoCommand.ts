import type { GPT2 } from '../model/gpt2';
import { withValueHead } from '../model/valueHead';
import type { OptionsOf } from '../training/declare';
import { stepCount } from '../training/order';
import { ppoAdam, requirePolicy, requirePpoOptions, trainPpo, type PpoStep } from '../training/trainPpo';
import { samplingRun } from './samplingRun';
import { printNotes, settingNotes } from './trainNotes';
import { trainRun } from './trainRun';
import type { ppoCommandSettings } from './trainSettings';

export async function run(config: OptionsOf<typeof ppoCommandSettings>): Promise<void> {
  requirePpoOptions(config);
  const { policy, prompts, contents, interruption, ...inputs } = await samplingRun(config);
  const steps = stepCount(config, prompts.length, config.batchSize ?? 64);
  printNotes(settingNotes('train-ppo', config, steps));
  requirePolicy(policy, config);
  const model = withValueHead(policy);
  await trainRun<PpoStep, GPT2>(
    { config, adam: ppoAdam(config), model, steps, contents, interruption },
    (state) => trainPpo(model, prompts, config, { ...inputs, state }),
    ({ objective, klCoef, policy: { clipFraction } }) =>
      `score ${objective.scores.toFixed(3)}  KL ${objective.kl.toFixed(2)}  ` +
      `klCoef ${klCoef.toFixed(3)}  clipped ${clipFraction.toFixed(3)}`,
  );
}
