/** This library's DPO as a contender of bench.ts: one step a turn, the reference's log-probs known. */
import { GPT2, referenceLogps, trainDpo } from 'alignbook';

import type { Task } from './bench';
import { inTurns } from './protocol';

async function main({ model: path, pairs = [] }: Task): Promise<void> {
  const policy = await GPT2.fromPretrained(path);
  const steps = trainDpo(policy, pairs, { steps: 1e6, batchSize: pairs.length, lr: 1e-6, schedule: 'constant' }, { reference: referenceLogps(policy, pairs) });
  await inTurns(async () => {
    const { loss, gradNorm } = (await steps.next()).value!;
    return { loss, gradNorm };
  });
}

void main(JSON.parse(process.argv[2]!) as Task);
