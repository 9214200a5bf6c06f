/**
 * DPO on pairs of the SFT model's own samples, labeled by the true reward: the paper's setting (arXiv 2305.18290,
 * section 6.1).
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { trainDpo, type PairIds, type RefLogps } from 'alignbook';
import { replaceFile } from 'alignbook/dist/formats/replace';

import { sampleLogps } from '../reviews/evaluation';
import { rewardPairs } from '../reviews/rewardPairs';
import { samples } from '../reviews/samples';
import { along, type Method, type Scale, type Task } from './method';

interface Constants {
  /** The number of prompts from which pairs are made, with `each` samples for each prompt. */
  readonly prompts: number;
  readonly each: number;
  readonly samplesSeed: number;
  readonly batchSize: number;
  readonly lr: number;
  readonly warmupSteps: number;
  /** The steps after which to evaluate the policy; the last one ends the training. */
  readonly looks: readonly number[];
}

const small: Constants = {
  prompts: 1000,
  each: 4,
  samplesSeed: 1,
  batchSize: 32,
  lr: 3e-4,
  warmupSteps: 10,
  looks: [10, 20, 40],
};

/** The learning rate of `large` is a customary one, which has not been tried. */
const constantsOf: Readonly<Record<Scale, Constants>> = {
  quick: { ...small, prompts: 12, batchSize: 4, warmupSteps: 0, looks: [2, 4] },
  small,
  large: { ...small, lr: 1e-5 },
};

export function dpo(scale: Scale): Method {
  const constants = constantsOf[scale];
  return {
    name: 'dpo',
    settings: [{ beta: 0.03 }, { beta: 0.1 }, { beta: 0.3 }, { beta: 1 }],
    constants,
    async *run(task, { beta }, seed) {
      const { batchSize, lr, warmupSteps, looks } = constants;
      const { pairs, reference } = await keptPairs(task, constants);
      const steps = looks.at(-1)!;
      yield* along(
        task,
        trainDpo(
          task.policy,
          pairs,
          { beta: beta!, lr, warmupSteps, schedule: 'constant', steps, batchSize, seed },
          { reference },
        ),
        looks,
      );
    },
  };
}

interface Kept {
  readonly pairs: PairIds[];
  readonly reference: RefLogps[];
}

/**
 * Made once for all runs on the same SFT model, because it takes minutes. A sample belongs to several pairs, so the
 * reference's log-probs are computed for each sample.
 */
async function keptPairs(
  { reference, tokenizer, prompts, reward, cache, onProgress }: Task,
  { prompts: count, each, samplesSeed }: Constants,
): Promise<Kept> {
  const some = prompts.slice(0, count);
  const path = join(
    cache,
    `pairs-${createHash('sha256')
      .update(JSON.stringify([some, each, samplesSeed]))
      .digest('hex')
      .slice(0, 16)}.json`,
  );
  if (!existsSync(path)) {
    const drawn = await samples(reference, tokenizer, some, {
      reward,
      each,
      seed: samplesSeed,
      onProgress: (done) => onProgress(done / (each * some.length)),
    });
    const logps = sampleLogps(reference, drawn);
    const made = rewardPairs(
      drawn.map((sample, n) => ({ ...sample, logp: logps[n]! })),
      each,
    );
    const kept: Kept = {
      pairs: made.map(({ chosen, rejected }) => ({
        promptIds: [...chosen.promptIds],
        chosenIds: [...chosen.ids],
        rejectedIds: [...rejected.ids],
      })),
      reference: made.map(({ chosen, rejected }) => ({ refChosenLogps: chosen.logp, refRejectedLogps: rejected.logp })),
    };
    mkdirSync(dirname(path), { recursive: true });
    replaceFile(path, (append) => append(JSON.stringify(kept)));
  }
  return JSON.parse(readFileSync(path, 'utf8')) as Kept;
}
