/** This library's generation as a contender of bench.ts. */
import type { Task } from './cases';
import { inTurns } from './protocol';
import { generation } from './repeats';

void generation(JSON.parse(process.argv[2]!) as Task).then(inTurns);
