/**
 * This library's PPO as a contender of bench.ts: one iteration per turn. The reward is whether the last id is even, as
 * for the other contender.
 */
import { GPT2, trainPpo } from 'alignbook';

import type { Task } from './cases';
import { endless, inTurns } from './protocol';

async function main({ model: path, prompts, newTokens, rowsAtOnce = 1, epochs = 1 }: Task): Promise<void> {
  const [policy, reference] = [await GPT2.fromPretrained(path), await GPT2.fromPretrained(path)];
  const options = {
    steps: 1e6,
    batchSize: prompts.length,
    ppoEpochs: epochs,
    accumulation: prompts.length / rowsAtOnce,
    maxNewTokens: newTokens,
    lr: 1e-6,
    schedule: 'constant' as const,
  };
  const iterations = trainPpo(policy, prompts, options, {
    tokenizer: endless,
    reference,
    reward: (samples) => samples.map(({ ids }) => (ids.at(-1)! % 2 === 0 ? 1 : 0)),
  });
  await inTurns(async () => {
    const { tokens, updates } = (await iterations.next()).value!;
    return { tokens, updates: updates.length };
  });
}

void main(JSON.parse(process.argv[2]!) as Task);
