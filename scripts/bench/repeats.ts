/**
 * This library's work for a task, in a form that can be repeated: a training step, or a whole scoring or generation.
 */
import { generate, GPT2, referenceLogps, trainDpo } from 'alignbook';

import type { Task } from './cases';
import { LEARNING } from './protocol';

export type Repeat = () => Promise<unknown>;

/** @param live computes the reference's log-probs in each step; otherwise they are known. */
export async function dpoSteps({ model: path, pairs }: Task, live = false): Promise<Repeat> {
  const policy = await GPT2.fromPretrained(path);
  const reference = live ? await GPT2.fromPretrained(path) : referenceLogps(policy, pairs);
  const steps = trainDpo(policy, pairs, { ...LEARNING, steps: 1e6, batchSize: pairs.length }, { reference });
  return async () => {
    const { loss, gradNorm } = (await steps.next()).value!;
    return { loss, gradNorm };
  };
}

/** The log-prob of each response. */
export async function scoring({ model: path, pairs }: Task): Promise<Repeat> {
  const model = await GPT2.fromPretrained(path);
  return async () =>
    referenceLogps(model, pairs).map(({ refChosenLogps, refRejectedLogps }) => [refChosenLogps, refRejectedLogps]);
}

export async function generation({ model: path, prompts, newTokens, batchSize, end }: Task): Promise<Repeat> {
  const model = await GPT2.fromPretrained(path);
  const options = { maxNewTokens: newTokens, ...(batchSize && { batchSize, eosTokenId: end }) };
  return async () => (await generate(model, prompts, options)).map(({ ids }) => ids);
}
