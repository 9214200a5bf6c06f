/** Online DPO on the true reward, at several betas (arXiv 2402.04792). */
import { trainOnlineDpo } from 'alignbook';

import { MAX_NEW_TOKENS } from '../reviews/samples';
import { along, rewardOfSamples, type Method, type Scale } from './method';

/** As many samples in a step as GRPO's, and as many steps. */
const small = { batchSize: 32, lr: 3e-4, looks: [5, 10, 20, 30] };

/** The learning rate of `large` is a customary one, which has not been tried. */
const constantsOf: Readonly<Record<Scale, typeof small>> = {
  quick: { ...small, batchSize: 4, looks: [1, 2] },
  small,
  large: { ...small, lr: 1e-5 },
};

export function onlineDpo(scale: Scale): Method {
  const constants = constantsOf[scale];
  return {
    name: 'online-dpo',
    settings: [{ beta: 0.1 }, { beta: 0.3 }, { beta: 1 }],
    constants,
    async *run(task, { beta }, seed) {
      const { looks, ...options } = constants;
      const steps = looks.at(-1)!;
      const prompts = task.prompts.map((prompt) => task.tokenizer.encode(prompt));
      const training = trainOnlineDpo(
        task.policy,
        prompts,
        { ...options, beta: beta!, steps, seed, temperature: 1, maxNewTokens: MAX_NEW_TOKENS, schedule: 'constant' },
        { tokenizer: task.tokenizer, reward: rewardOfSamples(task), reference: task.reference },
      );
      yield* along(task, training, looks);
    },
  };
}
