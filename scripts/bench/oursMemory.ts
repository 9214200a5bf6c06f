/**
 * A worker of memory.ts: loads a model and takes the first step of a training, with the peak of each phase. AdamW's
 * moments are there before the first step, so later ones take no more.
 */
import { readFileSync, writeFileSync } from 'node:fs';

import {
  GPT2,
  lora,
  Random,
  RewardModel,
  trainDpo,
  trainGrpo,
  trainPpo,
  trainReward,
  trainSft,
  type PairIds,
} from 'alignbook';

import { LORA_RANK, WORK, type MemoryTask, type Phases } from './memoryTask';
import { endless } from './protocol';

/** The peak of the resident memory since the last call, and the memory now, in bytes. */
function memory(): { peak: number; now: number } {
  const status = readFileSync('/proc/self/status', 'utf8');
  const bytes = (name: string) => 1024 * Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(status)![1]);
  const read = { peak: bytes('VmHWM'), now: bytes('VmRSS') };
  writeFileSync('/proc/self/clear_refs', '5'); // begins the next peak
  return read;
}

async function stepsOf(task: MemoryTask): Promise<AsyncGenerator<unknown, void>> {
  const { method, way, gradientCheckpointing, model: folder } = task;
  const base = await GPT2.fromPretrained(folder, { dtype: way === 'lora-bf16' ? 'BF16' : 'F32' });
  const random = new Random(2);
  const ids = (length: number) => Array.from({ length }, () => random.integer(base.config.vocabSize));
  const { rows, promptLength, responseLength, pairs: pairCount, pairResponseLength } = WORK;
  const prompts = Array.from({ length: rows }, () => ids(promptLength));
  const pairs: PairIds[] = Array.from({ length: pairCount }, () => ({
    promptIds: ids(promptLength),
    chosenIds: ids(pairResponseLength),
    rejectedIds: ids(pairResponseLength),
  }));
  const options = { steps: 1000, lr: 1e-6, schedule: 'constant', gradientCheckpointing } as const;
  if (method === 'reward') {
    const judge = RewardModel.begin(base, random);
    base.dispose();
    return trainReward(judge, pairs, { ...options, batchSize: pairCount });
  }
  const model = way === 'full' ? base : lora(base, { rank: LORA_RANK }, random);
  if (method === 'sft')
    return trainSft(
      model,
      prompts.map((promptIds) => ({ promptIds, responses: [ids(responseLength)] })),
      { ...options, batchSize: rows },
    );
  if (method === 'dpo') {
    const reference = pairs.map(() => ({ refChosenLogps: -1000, refRejectedLogps: -1000 }));
    return trainDpo(model, pairs, { ...options, batchSize: pairCount }, { reference });
  }
  const inputs = {
    tokenizer: endless,
    reference: model === base ? await GPT2.fromPretrained(folder) : base,
    reward: (samples: readonly { ids: readonly number[] }[]) => samples.map((_, n) => n),
  };
  const sampled = { ...options, maxNewTokens: responseLength };
  return method === 'ppo'
    ? trainPpo(model, prompts, { ...sampled, batchSize: rows, ppoEpochs: 1 }, inputs)
    : trainGrpo(model, prompts, { ...sampled, batchSize: 1, groupSize: rows }, inputs);
}

async function main(task: MemoryTask): Promise<void> {
  const started = memory();
  const steps = await stepsOf(task);
  const loaded = memory();
  await steps.next();
  console.log(JSON.stringify({ started, loaded, step: memory() } satisfies Phases));
}

void main(JSON.parse(process.argv[2]!) as MemoryTask);
