/**
 * This library's work for a task, ready to be done again and again: a step of a training, or a whole scoring or
 * generation.
 */
import { generate, GPT2, referenceLogps, trainDpo } from 'alignbook';

import type { Task } from './cases';
import { LEARNING } from './learning';

export type Repeat = () => Promise<unknown>;

/** @param live asks the reference in each step; else its log-probs are known. */
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
