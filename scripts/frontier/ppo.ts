/**
 * PPO on the true reward, kept at several distances from the reference by an adaptive KL coefficient (arXiv 1909.08593,
 * section 2.2).
 */
import { trainPpo } from 'alignbook';

import { MAX_NEW_TOKENS } from '../reviews/samples';
import { along, rewardOfSamples, type Method, type Scale } from './method';

const small = { batchSize: 64, ppoEpochs: 4, minibatches: 1, lr: 2e-4, klCoef: 0.2, klHorizon: 64, looks: [4, 8, 16] };

/** The learning rate of `large` is a customary one, which has not been tried. */
const constantsOf: Readonly<Record<Scale, typeof small>> = {
  quick: { ...small, batchSize: 8, looks: [1, 2] },
  small,
  large: { ...small, lr: 1e-5 },
};

export function ppo(scale: Scale): Method {
  const constants = constantsOf[scale];
  return {
    name: 'ppo',
    settings: [{ klTarget: 1 }, { klTarget: 2 }, { klTarget: 5 }],
    constants,
    async *run(task, { klTarget }, seed) {
      const { looks, ...options } = constants;
      const steps = looks.at(-1)!;
      const prompts = task.prompts.map((prompt) => task.tokenizer.encode(prompt));
      const training = trainPpo(
        task.policy,
        prompts,
        {
          ...options,
          klTarget: klTarget!,
          steps,
          seed,
          temperature: 1,
          maxNewTokens: MAX_NEW_TOKENS,
          whitenRewards: false,
          schedule: 'constant',
        },
        { tokenizer: task.tokenizer, reward: rewardOfSamples(task), reference: task.reference },
      );
      yield* along(task, training, looks);
    },
  };
}
