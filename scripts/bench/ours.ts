/**
 * This library's work as a contender of bench.ts: node ours.js TASK generate|score|dpo [live]. For dpo, one step per
 * turn; the reference's log-probs are known or, with `live`, computed in each step.
 */
import type { Task } from './cases';
import { inTurns } from './protocol';
import { dpoSteps, generation, scoring, type Repeat } from './repeats';

const [task, kind, way] = process.argv.slice(2) as [string, keyof typeof works, string?];
const works = {
  generate: generation,
  score: scoring,
  dpo: (given: Task): Promise<Repeat> => dpoSteps(given, way === 'live'),
};
void works[kind](JSON.parse(task) as Task).then(inTurns);
