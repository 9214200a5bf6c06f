/**
 * This library's DPO as a contender of bench.ts: one step per turn. The reference's log-probs are known or, if the last
 * argument is `live`, computed in each step.
 */
import type { Task } from './cases';
import { inTurns } from './protocol';
import { dpoSteps } from './repeats';

const [, , task, way] = process.argv;
void dpoSteps(JSON.parse(task!) as Task, way === 'live').then(inTurns);
