/**
 * This library's DPO step with a separate prompt before each response, as in other trainers: assembled from the parts
 * of trainDpo.
 */
import { AdamW, differentiate, dpoLoss, GPT2, referenceLogps, responseBatch, tf, type RefLogps } from 'alignbook';

import type { Task } from './cases';
import { inTurns, LEARNING } from './protocol';

async function main({ model, pairs }: Task): Promise<void> {
  const policy = await GPT2.fromPretrained(model);
  const rows = pairs.map(({ promptIds, chosenIds, rejectedIds }) => ({
    promptIds,
    responses: [chosenIds, rejectedIds],
  }));
  const batch = responseBatch(rows, { layout: 'padded' });
  const known = referenceLogps(policy, pairs);
  const optimizer = new AdamW(policy.weights, LEARNING);
  const column = (name: keyof RefLogps) => tf.tensor1d(known.map((pair) => pair[name]));
  const [refChosenLogps, refRejectedLogps] = [column('refChosenLogps'), column('refRejectedLogps')];
  await inTurns(async () => {
    using pass = policy.record(batch);
    using loss = differentiate([pass.perTokenLogps], (perTokenLogps) => {
      const [policyChosenLogps, policyRejectedLogps] = tf.unstack(
        perTokenLogps.sum(1).reshape([pairs.length, 2]),
        1,
      ) as [tf.Tensor1D, tf.Tensor1D];
      return dpoLoss({ policyChosenLogps, policyRejectedLogps, refChosenLogps, refRejectedLogps }).losses.mean();
    });
    const gradients = pass.backward(loss.gradients[0]);
    const gradNorm = gradients.clip(1);
    optimizer.step(gradients, LEARNING.lr);
    return { loss: loss.value, gradNorm };
  });
}

void main(JSON.parse(process.argv[2]!) as Task);
