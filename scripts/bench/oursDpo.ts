/**
 * This library's DPO as a contender of bench.ts: one step a turn, the reference's log-probs known, or asked in each
 * step if the last argument is `live`.
 */
import { GPT2, referenceLogps, trainDpo } from 'alignbook';

import type { Task } from './cases';
import { LEARNING } from './learning';
import { inTurns } from './protocol';

async function main({ model: path, pairs }: Task, live: boolean): Promise<void> {
  const policy = await GPT2.fromPretrained(path);
  const reference = live ? await GPT2.fromPretrained(path) : referenceLogps(policy, pairs);
  const steps = trainDpo(policy, pairs, { ...LEARNING, steps: 1e6, batchSize: pairs.length }, { reference });
  await inTurns(async () => {
    const { loss, gradNorm } = (await steps.next()).value!;
    return { loss, gradNorm };
  });
}

void main(JSON.parse(process.argv[2]!) as Task, process.argv[3] === 'live');
