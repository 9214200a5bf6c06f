/** The frontier's reward for the trainers that sample. */
import type { Reward } from 'alignbook';

import type { Task } from './method';

/** The true reward of whole reviews: of each sample's prompt and response together. */
export function rewardOfSamples({ reward, prompts }: Task): Reward {
  return (samples) => samples.map(({ prompt, text }) => reward(prompts[prompt]! + text));
}
