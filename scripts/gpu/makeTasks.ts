/**
 * Writes the tasks of step 5 to a file: node makeTasks.js MODEL FILE [small]. This is a separate process because
 * check.ts does not load TensorFlow, which would take a part of the card.
 */
import { writeFileSync } from 'node:fs';

import { cases, type Case } from '../bench/cases';
import { inputsOf, smaller } from '../bench/inputs';
import { step } from './report';
import type { NamedTask, TaskFile } from './times';

const caseOf = (name: string): Case => cases.find((one) => one.name === name)!;
const batch8 = caseOf('generate, batch 8');
const CASES: readonly Case[] = [
  ...['dpo, 4 pairs', 'dpo, 16 pairs', 'dpo, 4 pairs, long prompts', 'score, 250 pairs', 'generate, batch 1'].map(
    caseOf,
  ),
  batch8,
  { ...batch8, name: 'generate, batch 64', prompts: [64, 32] },
];

/** @param small chooses sizes that a CPU computes in seconds. */
async function tasksFor(model: string, small: boolean): Promise<NamedTask[]> {
  const chosen = small
    ? CASES.filter(({ name }) => ['dpo, 4 pairs', 'score, 250 pairs', 'generate, batch 8'].includes(name)).map(smaller)
    : CASES;
  return Promise.all(
    chosen.map(async (one) => ({
      ...(await inputsOf(one, model)),
      ...one.work,
      policy: 'fp32' as const,
      name: one.name,
      kind: one.ours[1] as NamedTask['kind'], // as ours.js names it
    })),
  );
}

step(async () => {
  const [model, file, size] = process.argv.slice(2) as [string, string, string?];
  const small = size === 'small';
  const given: TaskFile = { tasks: await tasksFor(model, small), repetitions: small ? 3 : 20, mostSeconds: 4 };
  writeFileSync(file, JSON.stringify(given));
});
