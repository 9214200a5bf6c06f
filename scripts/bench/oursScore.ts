/** This library's scoring of pairs as a contender of bench.ts. */
import type { Task } from './cases';
import { inTurns } from './protocol';
import { scoring } from './repeats';

void scoring(JSON.parse(process.argv[2]!) as Task).then(inTurns);
