/** This library's DPO step with one of its choices undone, which the last argument names: `padded`, or `live`. */
import { AdamW, dpoLoss, GPT2, referenceLogps, responseBatch, tf, trainDpo, type RefLogps } from 'alignbook';

import type { Task } from './bench';
import { LEARNING } from './learning';
import { inTurns } from './protocol';

type Pairs = Task['pairs'];
type Step = () => Promise<{ loss: number; gradNorm: number }>;

/** Each response after a prompt of its own, as other trainers have it. */
function padded(policy: GPT2, pairs: Pairs): Step {
  const rows = pairs.flatMap(({ promptIds, chosenIds, rejectedIds }) => [chosenIds, rejectedIds].map((response) => ({ promptIds, responses: [response] })));
  const batch = responseBatch(rows, { layout: 'padded' });
  const known = referenceLogps(policy, pairs);
  const optimizer = new AdamW(policy.weights, LEARNING);
  const column = (name: keyof RefLogps) => tf.tensor1d(known.map((pair) => pair[name]));
  const [refChosenLogps, refRejectedLogps] = [column('refChosenLogps'), column('refRejectedLogps')];
  return async () => {
    using recording = policy.record(batch);
    const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => {
      const [policyChosenLogps, policyRejectedLogps] = tf.unstack(x.sum(1).reshape([pairs.length, 2]), 1) as [tf.Tensor1D, tf.Tensor1D];
      return dpoLoss({ policyChosenLogps, policyRejectedLogps, refChosenLogps, refRejectedLogps }).losses.mean();
    })(recording.perTokenLogps);
    const gradients = recording.backward(grad as tf.Tensor2D);
    const gradNorm = gradients.clip(1);
    optimizer.step(gradients, LEARNING.lr);
    const loss = value.dataSync()[0]!;
    tf.dispose([recording.perTokenLogps, recording.responseMask, value, grad]);
    return { loss, gradNorm };
  };
}

/** The reference, a second model, asked in each step. */
async function live(policy: GPT2, pairs: Pairs, model: string): Promise<Step> {
  const steps = trainDpo(policy, pairs, { ...LEARNING, steps: 1e6, batchSize: pairs.length }, { reference: await GPT2.fromPretrained(model) });
  return async () => {
    const { loss, gradNorm } = (await steps.next()).value!;
    return { loss, gradNorm };
  };
}

async function main({ model, pairs }: Task, choice: string): Promise<void> {
  const policy = await GPT2.fromPretrained(model);
  await inTurns(choice === 'padded' ? padded(policy, pairs) : await live(policy, pairs, model));
}

void main(JSON.parse(process.argv[2]!) as Task, process.argv[3]!);
