/** GRPO on the true reward, at several weights of the KL to the reference (arXiv 2402.03300). */
import { trainGrpo } from 'alignbook';

import { MAX_NEW_TOKENS } from '../reviews/samples';
import { along, rewardOfSamples, type Method, type Scale } from './method';

const small = { batchSize: 16, groupSize: 4, lr: 3e-4, looks: [5, 10, 20, 30] };

/** The learning rate of `large` is a customary one, which has not been tried. */
const constantsOf: Readonly<Record<Scale, typeof small>> = {
  quick: { ...small, batchSize: 2, groupSize: 4, looks: [1, 2] },
  small,
  large: { ...small, lr: 1e-5 },
};

export function grpo(scale: Scale): Method {
  const constants = constantsOf[scale];
  return {
    name: 'grpo',
    settings: [{ beta: 0.1 }, { beta: 0.4 }, { beta: 1 }],
    constants,
    async *run(task, { beta }, seed) {
      const { looks, ...options } = constants;
      const steps = looks.at(-1)!;
      const prompts = task.prompts.map((prompt) => task.tokenizer.encode(prompt));
      const training = trainGrpo(
        task.policy,
        prompts,
        { ...options, beta: beta!, steps, seed, temperature: 1, maxNewTokens: MAX_NEW_TOKENS, schedule: 'constant' },
        { tokenizer: task.tokenizer, reward: rewardOfSamples(task), reference: task.reference },
      );
      yield* along(task, training, looks);
    },
  };
}
