/** The frontier's reward, in the form that the sampling trainers take. */
import type { Reward } from 'alignbook';

import type { Task } from './method';

/** The true reward of whole reviews, prompt and response together. */
export function rewardOfSamples({ reward, prompts }: Task): Reward {
  return (samples) => samples.map(({ prompt, text }) => reward(prompts[prompt]! + text));
}
