/**
 * This library's GRPO as a contender of bench.ts: one step per turn. The reward is the fraction of even ids, as for the
 * other contender.
 */
import { GPT2, trainGrpo } from 'alignbook';

import type { Task } from './cases';
import { endless, inTurns } from './protocol';

async function main({ model: path, prompts, newTokens, group = 1, rowsAtOnce = 1 }: Task): Promise<void> {
  const [policy, reference] = [await GPT2.fromPretrained(path), await GPT2.fromPretrained(path)];
  const rows = prompts.length * group;
  const options = {
    steps: 1e6,
    batchSize: prompts.length,
    groupSize: group,
    accumulation: rows / rowsAtOnce,
    maxNewTokens: newTokens,
    beta: 0.04,
    lr: 1e-6,
    schedule: 'constant' as const,
  };
  const steps = trainGrpo(policy, prompts, options, {
    tokenizer: endless,
    reference,
    reward: (samples) => samples.map(({ ids }) => ids.filter((id) => id % 2 === 0).length / ids.length),
  });
  await inTurns(async () => ({ tokens: (await steps.next()).value!.tokens, updates: 1 }));
}

void main(JSON.parse(process.argv[2]!) as Task);
