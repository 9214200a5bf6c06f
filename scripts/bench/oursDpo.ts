/**
 * This library's DPO as a contender of bench.ts: one step a turn, the reference's log-probs known, or asked in each
 * step if the last argument is `live`.
 */
import type { Task } from './cases';
import { inTurns } from './protocol';
import { dpoSteps } from './repeats';

const [, , task, way] = process.argv;
void dpoSteps(JSON.parse(task!) as Task, way === 'live').then(inTurns);
